//! Files and standard output, with errors that name the file.

use std::io::{self, BufWriter, Read as _, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use thiserror::Error;

/// Why a file or standard output could not be used.
#[derive(Debug, Error)]
pub(crate) enum FileError {
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: longer than {limit} bytes; is it the right file?", path = path.display())]
    TooLong { path: PathBuf, limit: u64 },
    #[error("{path}: not valid UTF-8 at byte {at}; expected JSON Lines", path = path.display())]
    NotUtf8 { path: PathBuf, at: usize },
    #[error("{path}: cannot be written: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{path}: this command reads the file; expected another file for -o", path = path.display())]
    OutputOverInput { path: PathBuf },
    #[error(
        "found no target/{FILTER} in this folder or above; build it with `cargo xtask build`, or name a module with --wasm"
    )]
    NoFilter,
}

/// The module that `cargo xtask build` writes to `target`.
const FILTER: &str = "sluice_filter.wasm";

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// Reads a file of at most `limit` bytes. Longer files are not read to their end, because a device
/// may not have one.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let fail = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit => Ok(bytes),
        _ => Err(FileError::TooLong { path: path.to_owned(), limit }),
    }
}

pub(crate) fn read_text(path: &Path) -> Result<String, FileError> {
    String::from_utf8(read(path)?).map_err(|error| FileError::NotUtf8 {
        path: path.to_owned(),
        at: error.utf8_error().valid_up_to(),
    })
}

/// Finds the built filter in a `target` folder: of the current folder or one above it, or the one
/// in which cargo built this program.
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

/// Fails if `output` is one of the `inputs`, even under another name. Commands call it before they
/// write. The input `-` is standard input.
pub(crate) fn reject_output_over_input<'p>(
    output: Option<&Path>,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Result<(), FileError> {
    let Some(path) = output else { return Ok(()) };
    // A file that does not exist is not an input, and writing to a terminal or a pipe destroys
    // nothing.
    let Some(target) = identity(path) else { return Ok(()) };
    let mut inputs = inputs.into_iter().map(|input| match input.as_os_str() == "-" {
        true => Path::new("/dev/stdin"),
        false => input,
    });
    match inputs.any(|input| identity(input) == Some(target)) {
        true => Err(FileError::OutputOverInput { path: path.to_owned() }),
        false => Ok(()),
    }
}

/// The device and inode of a regular file, which are the same under each of its names. The file is
/// not opened, because a pipe can be opened only once.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok().filter(|file| file.is_file())?;
    Some((file.dev(), file.ino()))
}

/// Writes to a file, or to standard output if `path` is `None`.
pub(crate) fn write_to(
    path: Option<&Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), FileError> {
    let Some(path) = path else { return print(write) };
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mut out = BufWriter::new(fs::File::create(path).map_err(failed)?);
    write(&mut out).and_then(|()| out.flush()).map_err(failed)
}

/// Writes to standard output.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        // A reader such as `head` closes the pipe when it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(source) => Err(FileError::Write { path: PathBuf::from("standard output"), source }),
        Ok(()) => Ok(()),
    }
}
