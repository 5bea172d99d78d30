//! Embeds the filter's module. The module is not built here, because not every machine has the target
//! for wasm32: `cargo xtask build` does it. Without its result, the program has no module and asks
//! for a file.

use std::path::Path;
use std::{env, fs};

fn main() {
    let Some(out) = env::var_os("OUT_DIR") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let Some(module) = root.map(|root| root.join("target/sluice_filter.wasm")) else { return };
    println!("cargo::rerun-if-changed={}", module.display());
    let expression = match module.is_file() {
        true => format!("Some(include_bytes!({module:?}))"),
        false => "None".to_owned(),
    };
    let written = fs::write(Path::new(&out).join("embedded_filter.rs"), expression);
    written.expect("cargo's folder for the output of build scripts can be written");
}
