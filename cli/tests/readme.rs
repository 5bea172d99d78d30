//! The README's commands print what the README says. After a change that is meant,
//! `TRYCMD=overwrite cargo test -p sluice-cli --test readme` brings it up to date.

use std::path::Path;

#[test]
fn the_readme_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    assert!(
        root.join("target/sluice_filter.wasm").is_file(),
        "target/sluice_filter.wasm is missing; `cargo xtask build` makes it"
    );
    // The README speaks from the root of the clone.
    std::env::set_current_dir(root).expect("the workspace can be entered");
    trycmd::TestCases::new()
        .register_bin("sluice", Path::new(env!("CARGO_BIN_EXE_sluice")))
        .case("README.md");
}
