//! Embeds the filter's module into the program, so that `sluice` works outside of a clone. A build
//! for wasm32 is not started here, because not every machine has that target: `cargo xtask build`
//! is. Without its result, the program has no module and asks for a file.

use std::path::Path;
use std::{env, fs};

fn main() {
    let Some(out) = env::var_os("OUT_DIR") else { return };
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target/sluice_filter.wasm");
    println!("cargo::rerun-if-changed={}", module.display());
    let expression = match module.is_file() {
        true => format!("Some(include_bytes!({module:?}))"),
        false => "None".to_owned(),
    };
    let written = fs::write(Path::new(&out).join("embedded_filter.rs"), expression);
    written.expect("cargo's folder for the output of build scripts can be written");
}
