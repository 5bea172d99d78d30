//! The configuration file that `check` and `explain` read.

use std::path::Path;

use sluice_filter::Loaded;

use crate::error::CliError;
use crate::files;

pub(crate) fn load(file: &Path) -> Result<Loaded, CliError> {
    let text = files::read(file)?;
    sluice_filter::load(&text)
        .map_err(|source| CliError::Configuration { file: file.to_owned(), source })
}
