//! An input that may never send anything more, such as a pipe, for a command whose time is limited.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use sluice_sim::replay::Interrupt;

/// The bytes that are read at once; as many as a pipe of Linux keeps.
const PART: usize = 64 << 10;

/// The number of parts that wait.
const WAITING: usize = 4;

/// The time between two looks at the interrupt while nothing arrives.
const PAUSE: Duration = Duration::from_millis(20);

/// Reads on a thread of its own, so that an interrupt ends a read for which nothing arrives. The
/// read then fails with the reason of the interrupt.
pub(crate) struct WaitingInput {
    parts: Receiver<io::Result<Vec<u8>>>,
    part: Cursor<Vec<u8>>,
    interrupt: Interrupt,
}

impl WaitingInput {
    /// Starts the thread, which also opens the input: a named pipe opens when its writer does.
    pub(crate) fn start(
        open: impl FnOnce() -> io::Result<Box<dyn Read + Send>> + Send + 'static,
        interrupt: Interrupt,
    ) -> Self {
        let (sender, parts) = sync_channel(WAITING);
        // The thread ends with the input, or with the program.
        thread::spawn(move || {
            let send = |part: io::Result<Vec<u8>>| part.is_ok() & sender.send(part).is_ok();
            let mut input = match open() {
                Ok(input) => input,
                Err(error) => {
                    send(Err(error));
                    return;
                }
            };
            while let Some(part) = next_part(&mut input).transpose() {
                if !send(part) {
                    return;
                }
            }
        });
        Self { parts, part: Cursor::default(), interrupt }
    }
}

/// Waits for the next part. Returns `None` at the end.
fn next_part(input: &mut dyn Read) -> io::Result<Option<Vec<u8>>> {
    let mut part = vec![0; PART];
    loop {
        match input.read(&mut part) {
            Ok(0) => return Ok(None),
            Ok(length) => {
                part.truncate(length);
                return Ok(Some(part));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl Read for WaitingInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.part.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.parts.recv_timeout(PAUSE) {
                Ok(part) => self.part = Cursor::new(part?),
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(reason) = self.interrupt.reason() {
                        return Err(io::Error::other(reason.to_owned()));
                    }
                }
            }
        }
    }
}
