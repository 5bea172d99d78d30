//! The simulator and a real Envoy agree: on the traces of `tests/traces/conformance/`, where every difference
//! that was found is kept, and on random ones.

use std::fs;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sluice_tests::conformance::{Stage, generator};
use sluice_tests::root;

/// How many random traces run under each configuration; `SLUICE_CONFORMANCE_CASES` asks for more.
const CASES: u32 = 40;

/// How many smaller traces are tried for one that differs.
const SHRINKS: u32 = 60;

#[test]
fn they_agree_on_the_kept_traces() {
    let mut stages: Vec<Stage> = generator::configurations().iter().map(Stage::start).collect();
    let folder = root().join("tests/traces/conformance");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the folder of kept traces")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no trace in {}", folder.display());
    let mut differences = Vec::new();
    for name in names {
        let text = fs::read_to_string(&name).expect("a trace");
        for stage in &mut stages {
            for difference in stage.differences(&text) {
                differences.push(format!("{}: {difference}", name.display()));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn they_agree_on_random_traces() {
    let cases = std::env::var("SLUICE_CONFORMANCE_CASES").ok();
    let cases = cases.map_or(CASES, |text| text.parse().expect("a number of cases"));
    let mut report = String::new();
    for configuration in generator::configurations() {
        let mut stage = Stage::start(&configuration);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        for case in 0..cases {
            let tree = generator::traces().new_tree(&mut runner).expect("a generated trace");
            let differences = stage.differences(&tree.current());
            if !differences.is_empty() {
                let smallest = smallest(tree, &mut stage);
                report += &format!(
                    "case {case} under {configuration}:\n{}\nand in small:\n{smallest}\n",
                    differences.join("\n")
                );
            }
        }
    }
    assert!(report.is_empty(), "{report}");
}

/// The smallest trace that still differs, with its differences.
fn smallest(mut tree: impl ValueTree<Value = String>, stage: &mut Stage) -> String {
    let mut smallest = String::new();
    for _ in 0..SHRINKS {
        let text = tree.current();
        let differences = stage.differences(&text);
        let goes_on = match differences.is_empty() {
            true => tree.complicate(),
            false => {
                smallest = format!("{text}{}", differences.join("\n"));
                tree.simplify()
            }
        };
        if !goes_on {
            break;
        }
    }
    smallest
}
