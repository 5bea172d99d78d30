//! `sluice schema`: the JSON Schema of the configuration, for editors and validators.

use crate::files::{self, FileError};
use crate::verdict::Verdict;

pub(crate) fn run() -> Result<Verdict, FileError> {
    files::print(|out| {
        serde_json::to_writer_pretty(&mut *out, &sluice_filter::config::schema())?;
        writeln!(out)
    })?;
    Ok(Verdict::Passed)
}
