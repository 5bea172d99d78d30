//! Files import downwards: no files of the filter import each other in a circle.

use std::path::Path;

use sluice_test_kit::imports::Imports;

#[test]
fn files_import_in_one_direction() {
    let imports = Imports::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let imports = imports.expect("the sources are readable");
    assert!(imports.files() > 30, "{} files were read", imports.files());
    let circles = imports.circles();
    assert!(circles.is_empty(), "files import each other:\n{}", circles.join("\n"));
}
