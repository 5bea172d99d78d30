//! Files and standard output, with errors that name the file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, IntoInnerError, IsTerminal, Read as _, StdoutLock, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
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
    #[error("{path}: not a WebAssembly module; expected a file that begins with the bytes \\0asm", path = path.display())]
    NotWasm { path: PathBuf },
    #[error("{path}: this command reads the file; expected another file for -o", path = path.display())]
    OutputOverInput { path: PathBuf },
    #[error("{path}: not a file that can be read twice; {fix}", path = path.display())]
    ReadOnce { path: PathBuf, fix: &'static str },
    #[error(
        "found no target/{name} in this folder or above, and this program was built without one; build it with \
         `cargo xtask build`, or name a module with --wasm"
    )]
    NoFilter { name: &'static str },
}

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
    let mut output = Output::create(path)?;
    output.write(write)?;
    output.commit()
}

/// Writes to standard output.
pub(crate) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    write_to(None, write)
}

/// Where a command writes: standard output, or a file that appears when it is complete.
pub(crate) struct Output {
    path: PathBuf,
    target: Target,
}

enum Target {
    Stdout(BufWriter<StdoutLock<'static>>),
    /// The reader of standard output, such as `head`, has read enough.
    Closed,
    /// A device or a pipe.
    Direct(BufWriter<File>),
    /// Is renamed to the path.
    Temporary(BufWriter<NamedTempFile>),
}

impl Output {
    /// Opens standard output, or a file next to `path`.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, FileError> {
        let Some(path) = path else {
            let target = Target::Stdout(BufWriter::new(io::stdout().lock()));
            return Ok(Self { path: PathBuf::from("standard output"), target });
        };
        let failed = |source| FileError::Write { path: path.to_owned(), source };
        // The target of a symbolic link is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let existing = fs::metadata(&path).ok();
        if existing.as_ref().is_some_and(|file| !file.is_file()) {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed)?;
            return Ok(Self { path, target: Target::Direct(BufWriter::new(file)) });
        }
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // The process's umask applies to these permissions, as to those of any new file.
        let permissions = Permissions::from_mode(0o666);
        let mut builder = tempfile::Builder::new();
        let file = builder.permissions(permissions).tempfile_in(folder).map_err(failed)?;
        if let Some(existing) = existing {
            fs::set_permissions(file.path(), existing.permissions()).map_err(failed)?;
        }
        Ok(Self { path, target: Target::Temporary(BufWriter::new(file)) })
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.target, Target::Stdout(_)) && io::stdout().is_terminal()
    }

    /// Writes a part. After the reader of standard output has closed it, this has no effect.
    pub(crate) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), FileError> {
        let result = match &mut self.target {
            Target::Closed => return Ok(()),
            Target::Stdout(out) => match write(out) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.target = Target::Closed;
                    return Ok(());
                }
                result => result,
            },
            Target::Direct(out) => write(out),
            Target::Temporary(out) => write(out),
        };
        result.map_err(|source| FileError::Write { path: self.path.clone(), source })
    }

    /// Completes the output. Without this, no file appears.
    pub(crate) fn commit(self) -> Result<(), FileError> {
        let Self { path, target } = self;
        let result = match target {
            Target::Temporary(out) => out
                .into_inner()
                .map_err(IntoInnerError::into_error)
                .and_then(|file| file.persist(&path).map_err(|error| error.error))
                .map(drop),
            Target::Direct(mut out) => out.flush(),
            Target::Stdout(mut out) => match out.flush() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                result => result,
            },
            Target::Closed => Ok(()),
        };
        result.map_err(|source| FileError::Write { path, source })
    }
}
