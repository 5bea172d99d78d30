//! Reads a trace on a thread of its own, a little ahead of the replay.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::vec;

use super::error::ReadError;
use super::owned::OwnedEvent;
use super::reader::TraceReader;

/// The number of events that the threads pass on at once.
const BATCH: usize = 256;

/// The number of batches that wait.
const WAITING: usize = 4;

type Batch = Vec<Result<OwnedEvent, ReadError>>;

/// The events of a reader, which a thread reads.
pub(crate) struct ReadAhead {
    batches: Receiver<Batch>,
    current: vec::IntoIter<Result<OwnedEvent, ReadError>>,
}

impl ReadAhead {
    /// Starts the thread. It ends with the trace, or after this value is dropped and the input has
    /// returned.
    pub(crate) fn start<R: BufRead + Send + 'static>(mut reader: TraceReader<R>) -> Self {
        let (sender, batches) = sync_channel(WAITING);
        thread::spawn(move || {
            loop {
                let batch: Batch = reader.by_ref().take(BATCH).collect();
                let ends = batch.len() < BATCH;
                // Without a receiver, nobody needs the rest.
                if sender.send(batch).is_err() || ends {
                    return;
                }
            }
        });
        Self { batches, current: Vec::new().into_iter() }
    }
}

impl Iterator for ReadAhead {
    type Item = Result<OwnedEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.current.next() {
                return Some(event);
            }
            self.current = self.batches.recv().ok()?.into_iter();
        }
    }
}
