//! The module that a command runs: a file, or the filter that was built into this program.

use std::borrow::Cow;
use std::env;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};

/// The module that `cargo xtask build` writes to `target`.
const FILTER: &str = "sluice_filter.wasm";

/// The environment variable that names a module.
const VARIABLE: &str = "SLUICE_WASM";

/// The bytes of a module.
pub(crate) struct FilterModule {
    /// The name in errors.
    pub(crate) file: PathBuf,
    pub(crate) wasm: Cow<'static, [u8]>,
}

impl FilterModule {
    /// The module in `file`, else in the file that [`VARIABLE`] names. Without both, the filter: as
    /// built in a `target` folder, so that a clone runs what it has built last, else as built into
    /// this program.
    pub(crate) fn find(file: Option<&Path>) -> Result<Self, FileError> {
        let file = file.map(Path::to_owned);
        match (file.or_else(from_environment).or_else(built_filter), sluice_embedded::FILTER) {
            (Some(file), _) => {
                let wasm = files::read(&file)?;
                match wasm.starts_with(b"\0asm") {
                    true => Ok(Self { file, wasm: wasm.into() }),
                    false => Err(FileError::NotWasm { path: file }),
                }
            }
            (None, Some(wasm)) => {
                Ok(Self { file: PathBuf::from("the filter in this program"), wasm: wasm.into() })
            }
            (None, None) => Err(FileError::NoFilter { name: FILTER }),
        }
    }
}

/// The file in [`VARIABLE`].
pub(crate) fn from_environment() -> Option<PathBuf> {
    env::var_os(VARIABLE).filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Finds the built filter in a `target` folder: of the current folder or one above it, or the one
/// in which cargo built this program.
fn built_filter() -> Option<PathBuf> {
    let here = env::current_dir().ok();
    let program = env::current_exe().ok();
    let above_here = here.iter().flat_map(|path| path.ancestors()).map(|dir| dir.join("target"));
    let above_program = program.iter().flat_map(|path| path.ancestors()).skip(1).take(3);
    above_here
        .chain(above_program.map(Path::to_owned))
        .map(|dir| dir.join(FILTER))
        .find(|path| path.is_file())
}
