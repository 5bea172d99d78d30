//! The commands in the README and in three pages of the documentation print the output that the pages
//! show. After an intended change, `TRYCMD=overwrite cargo test -p sluice-cli --test cli readme`
//! updates the pages.

use std::fs;
use std::path::Path;

use sluice_test_kit::program::{cache, module, root};

#[test]
fn documented_commands_print_what_the_pages_show() {
    // Without the module, the commands would fail with a less helpful message.
    module();
    // The commands use paths relative to the root of the repository.
    std::env::set_current_dir(root()).expect("the root can be entered");
    // A command of docs/review.md writes a file there.
    fs::create_dir_all("target").expect("the root can be written");
    trycmd::TestCases::new()
        .register_bin("sluice", Path::new(env!("CARGO_BIN_EXE_sluice")))
        .env("XDG_CACHE_HOME", cache().to_str().expect("cargo's folders are UTF-8"))
        .case("README.md")
        .case("docs/command-line.md")
        .case("docs/review.md")
        .case("docs/traces.md");
}

#[test]
fn the_first_trace_of_the_reference_is_the_file_next_to_it() {
    let read = |file: &str| fs::read_to_string(root().join("docs").join(file));
    let page = read("traces.md").expect("the reference");
    let file = read("first-trace.jsonl").expect("the trace");
    assert!(page.contains(&format!("```jsonl\n{file}```\n")), "docs/traces.md shows another trace");
}
