//! Every reason for which `sluice` stops without a result. `main` prints the error as one sentence
//! and exits with status 2.

use std::path::PathBuf;

use sluice_filter::ConfigError;
use sluice_sim::ModuleError;
use sluice_sim::replay::ReplayError;
use sluice_sim::trace::{FieldError, ReadError};
use thiserror::Error;

use crate::drain::error::DrainError;
use crate::files::FileError;
use crate::import::error::ImportError;
use crate::request::RequestError;
use crate::yaml::YamlError;

/// Why a command could not run. Each cause keeps its own error.
#[derive(Debug, Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{file}: {source}", file = file.display())]
    Configuration { file: PathBuf, source: ConfigError },
    #[error("{file}: {source}", file = file.display())]
    Yaml { file: PathBuf, source: YamlError },
    #[error(
        "{file}: found no configuration of the filter; expected an object with \"version\": 1, or a file of Envoy, \
         Istio or Envoy Gateway with one",
        file = file.display()
    )]
    NoConfigurationFound { file: PathBuf },
    #[error(
        "{file}: found the file of a proxy, expected a configuration of the filter; `sluice check --to-json` prints \
         the one in the file",
        file = file.display()
    )]
    NotAConfiguration { file: PathBuf },
    #[error("{file}: {source}", file = file.display())]
    Module { file: PathBuf, source: ModuleError },
    #[error("{file}: {source}", file = file.display())]
    Setup { file: PathBuf, source: FieldError },
    #[error(
        "found no expectation, so the replay checked nothing; add \"expect\" to a request, or pass \
         --report-only to print the report and no more"
    )]
    NothingChecked,
    #[error("{file}: {source}", file = file.display())]
    Side { file: PathBuf, source: ReplayError },
    #[error("found no request in the traces, so there was nothing to compare")]
    NothingCompared,
    #[error(
        "{config}: a second configuration: OLD and NEW are configurations already; remove --config, \
         or pass two modules to compare",
        config = config.display()
    )]
    SecondConfiguration { config: PathBuf },
    #[error(
        "{module} is a module and {other} is not; expected two configurations or two modules",
        module = module.display(), other = other.display()
    )]
    DifferentKinds { module: PathBuf, other: PathBuf },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Trace(#[from] ReadError),
    /// A mistake in a later line of a trace. The report has what happened before.
    #[error("{mistake}; the report has what happened before this line")]
    Stopped { mistake: String },
    /// The plugin rejected the empty configuration of a command without `--config`.
    #[error("{source}; pass one with --config FILE")]
    NoConfiguration { source: ReplayError },
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Drain(Box<DrainError>),
}

impl From<DrainError> for CliError {
    fn from(error: DrainError) -> Self {
        Self::Drain(Box::new(error))
    }
}
