//! Runs the commands in the README and in two pages of the documentation, and compares their output. After
//! an intended change, `TRYCMD=overwrite cargo test -p sluice-cli --test readme` updates the pages.

use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

#[test]
fn documented_commands_print_what_the_pages_show() {
    assert!(
        root().join("target/sluice_filter.wasm").is_file(),
        "target/sluice_filter.wasm is missing; run `cargo xtask build`"
    );
    // The commands use paths relative to the root of the clone.
    std::env::set_current_dir(root()).expect("the workspace can be entered");
    trycmd::TestCases::new()
        .register_bin("sluice", Path::new(env!("CARGO_BIN_EXE_sluice")))
        .case("README.md")
        .case("docs/command-line.md")
        .case("docs/traces.md");
}

#[test]
fn the_first_trace_of_the_reference_is_the_file_next_to_it() {
    let read = |file: &str| std::fs::read_to_string(root().join("docs").join(file));
    let page = read("traces.md").expect("the reference");
    let file = read("first-trace.jsonl").expect("the trace");
    assert!(page.contains(&format!("```jsonl\n{file}```\n")), "docs/traces.md shows another trace");
}
