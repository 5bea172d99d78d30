//! `sluice schema` describes the configurations that the filter accepts.

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::Value;

use super::invalid_configurations;
use sluice_test_kit::program::{root, run};

fn validator() -> Validator {
    let run = run(["schema"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));
    let schema: Value = serde_json::from_str(&run.stdout).expect("the schema is JSON");
    jsonschema::validator_for(&schema).expect("the schema is valid")
}

#[test]
fn the_schema_accepts_every_example_of_the_repository() {
    let validator = validator();
    let examples = examples();
    assert!(examples.len() >= 10, "{} examples were found", examples.len());
    for (place, example) in examples {
        let errors: Vec<String> =
            validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{place}: {errors:?}");
    }
}

#[test]
fn the_schema_rejects_invalid_configurations() {
    let validator = validator();
    for invalid in invalid_configurations::all().into_iter().filter(|one| one.by_schema) {
        let document: Value = serde_json::from_str(&invalid.document).expect("it is JSON");
        assert!(!validator.is_valid(&document), "the schema accepts {}", invalid.document);
    }
}

/// The configurations in files, and those in Markdown: JSON objects with a version.
fn examples() -> Vec<(String, Value)> {
    let mut examples = Vec::new();
    for path in files(root()) {
        let text = fs::read_to_string(&path).expect("a file of the repository");
        let place = path.strip_prefix(root()).expect("below the root").display().to_string();
        if place.ends_with(".config.json") {
            examples.push((place, serde_json::from_str(&text).expect("it is JSON")));
        } else {
            let blocks = text.match_indices(['{']).filter_map(|(at, _)| {
                let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter();
                values.next()?.ok().filter(|value: &Value| value.get("version") == Some(&1.into()))
            });
            examples.extend(blocks.map(|value| (place.clone(), value)));
        }
    }
    examples
}

/// The configurations of the traces, and the Markdown files.
fn files(root: &Path) -> Vec<PathBuf> {
    let folders = ["tests/traces", "docs", "."];
    let entries =
        folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder"));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.to_str()
                .is_some_and(|name| name.ends_with(".config.json") || name.ends_with(".md"))
        })
        .collect();
    files.sort();
    files
}
