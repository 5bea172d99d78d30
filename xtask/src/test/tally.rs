//! The number of tests that `cargo test` ran: it prints one result line for each binary and never
//! the sum, and the sum is what tells a run that tested everything from one that tested little.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Tests passed and failed, over all test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// Runs `cargo test`, passing on what it prints, and adds what it counts; whether it succeeded.
    pub(crate) fn add_run(&mut self, mut tests: Command) -> Result<bool> {
        let mut child = tests.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
        let output = child.stdout.take().expect("the output is piped");
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read what cargo test prints")?;
            println!("{line}");
            self.add(&line);
        }
        Ok(child.wait()?.success())
    }

    /// Counts a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) =
            line.strip_prefix("test result: ").and_then(|result| result.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_all_binaries_are_summed_and_nothing_else() {
        let mut tally = Tally::default();
        for line in [
            "test passes ... ok",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            "a test printed: 99 passed; 99 failed",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2 });
    }
}
