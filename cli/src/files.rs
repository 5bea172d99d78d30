//! Files and standard output: where the program reads and writes, with errors that name the file.

use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use thiserror::Error;

/// Why a file or standard output could not be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    /// A file that cannot be read.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is longer than what belongs there.
    #[error("{path}: more than {most} bytes; is it the right file?", path = path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes.
        most: u64,
    },
    /// A trace that is not text.
    #[error("{path}: not UTF-8 after {valid} bytes; expected JSON Lines", path = path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// How much of it is text.
        valid: usize,
    },
    /// A file that cannot be written.
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An output that would destroy an input.
    #[error("{path}: is read by this command; expected another file for -o", path = path.display())]
    OverInput {
        /// The output.
        path: PathBuf,
    },
    /// No module where it should be.
    #[error(
        "no filter: found no target/{name} here or above; build it with `cargo xtask build`, or name a module with --wasm",
        name = FILTER
    )]
    NoFilter,
}

/// The module that `cargo xtask build` leaves in `target`.
const FILTER: &str = "sluice_filter.wasm";

/// Reads a file's bytes.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Reads the bytes of a file that should have at most `most` of them; some files never end.
pub(crate) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let fail = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(fail)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= most => Ok(bytes),
        _ => Err(FileError::TooLong { path: path.to_owned(), most }),
    }
}

/// Reads a file's text.
pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|error| FileError::NotText {
        path: path.to_owned(),
        valid: error.utf8_error().valid_up_to(),
    })
}

/// Finds the built filter: in `target` of the current folder or one above it, or above the program
/// itself, which cargo builds into `target` as well.
pub(crate) fn built_filter() -> Result<PathBuf, FileError> {
    let here = env::current_dir().ok();
    let program = env::current_exe().ok();
    let above_here = here.iter().flat_map(|path| path.ancestors()).map(|dir| dir.join("target"));
    let above_program = program.iter().flat_map(|path| path.ancestors()).skip(1).take(3);
    above_here
        .chain(above_program.map(Path::to_owned))
        .map(|dir| dir.join(FILTER))
        .find(|path| path.is_file())
        .ok_or(FileError::NoFilter)
}

/// Refuses an output that is one of the `inputs`, by whatever name, before anything is written. `-` is
/// standard input.
pub(crate) fn spare_inputs<'p>(
    output: Option<&Path>,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Result<(), FileError> {
    let Some(path) = output else { return Ok(()) };
    // What is not there yet is no input; a terminal or a pipe loses nothing.
    let Some(target) = identity(path) else { return Ok(()) };
    let mut inputs = inputs.into_iter().map(|input| match input.as_os_str() == "-" {
        true => Path::new("/dev/stdin"),
        false => input,
    });
    match inputs.any(|input| identity(input) == Some(target)) {
        true => Err(FileError::OverInput { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// What a file is, under any of its names. It is not opened, because a pipe can be opened only once.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok().filter(|file| file.is_file())?;
    Some((file.dev(), file.ino()))
}

/// Writes to a file, or to standard output without one.
pub(crate) fn write_to(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let Some(path) = path else { return print_raw(write) };
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mut out = BufWriter::new(fs::File::create(path).map_err(failed)?);
    write(&mut out).and_then(|()| out.flush()).map_err(failed)
}

fn print_raw(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        // Whoever reads our output may have seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(FileError::Write { path: PathBuf::from("standard output"), source }),
        Ok(()) => Ok(()),
    }
}

/// Writes to standard output, for commands whose only errors are sentences.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), String> {
    print_raw(write).map_err(|error| error.to_string())
}
