//! The traces that `sluice replay` reads: files, pipes, and standard input.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sluice_sim::replay::Interrupt;

use crate::files::FileError;
use crate::gzip::Decompressed;
use crate::waiting_input::WaitingInput;

/// The bytes that are read at once.
const READ: usize = 256 << 10;

/// A trace that exists. It is not opened, because a pipe can be opened only once.
pub(crate) struct Input {
    path: PathBuf,
    /// `None` if the length is unknown, because it is not a regular file.
    bytes: Option<u64>,
    /// Ends the command.
    interrupt: Option<Interrupt>,
}

/// A trace that is read.
pub(crate) struct OpenInput {
    pub(crate) name: String,
    pub(crate) reader: BufReader<Decompressed<Counted<Box<dyn Read + Send>>>>,
    /// The bytes of the whole trace, if they are known.
    pub(crate) bytes: Option<u64>,
    /// The bytes so far.
    pub(crate) read: Arc<AtomicU64>,
}

impl Input {
    /// Finds a trace. If it is not a file, `interrupt` also ends a read for which nothing arrives.
    pub(crate) fn find(path: &Path, interrupt: Option<Interrupt>) -> Result<Self, FileError> {
        let path = path.to_owned();
        if path.as_os_str() == "-" {
            return Ok(Self { path, bytes: None, interrupt });
        }
        match fs::metadata(&path) {
            Ok(file) => Ok(Self { path, bytes: file.is_file().then_some(file.len()), interrupt }),
            Err(source) => Err(FileError::Read { path, source }),
        }
    }

    /// The name in reports and errors.
    pub(crate) fn name(&self) -> String {
        match self.path.as_os_str() == "-" {
            true => "standard input".to_owned(),
            false => self.path.display().to_string(),
        }
    }

    pub(crate) fn open(&self) -> Result<OpenInput, FileError> {
        let (path, name) = (self.path.clone(), self.name());
        let input: Box<dyn Read + Send> = match (&self.interrupt, self.bytes) {
            (Some(interrupt), None) => {
                Box::new(WaitingInput::start(move || open(&path), interrupt.clone()))
            }
            _ => open(&path).map_err(|source| FileError::Read { path, source })?,
        };
        let read = Arc::default();
        let counted = Counted { input, read: Arc::clone(&read) };
        let decompressed = Decompressed::new(counted)
            .map_err(|source| FileError::Read { path: name.clone().into(), source })?;
        let reader = BufReader::with_capacity(READ, decompressed);
        Ok(OpenInput { name, reader, bytes: self.bytes, read })
    }

    /// Opens the trace, which is opened once more later. `fix` completes the error of a trace that
    /// can be read only once.
    pub(crate) fn open_first(&self, fix: &'static str) -> Result<OpenInput, FileError> {
        match self.bytes {
            Some(_) => self.open(),
            None => Err(FileError::ReadOnce { path: self.path.clone(), fix }),
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    Ok(match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path)?),
    })
}

/// An input that counts its bytes.
pub(crate) struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
