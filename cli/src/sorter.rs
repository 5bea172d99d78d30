//! Sorts more records than fit into memory.
//!
//! Records are collected in a buffer. A full buffer is sorted and appended to a temporary file as a
//! run; at the end, the runs are merged. The file has no name, so it disappears with the process.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

/// The order of records. Records with the same key keep the order in which they were added.
pub(crate) type Key = [u64; 4];

/// The bytes of a run.
const RUN: usize = 16 << 20;

/// The bytes that are read at once from a run.
const READ: usize = 32 << 10;

/// The bytes before each record in a run: its key and its length.
const PREFIX: usize = size_of::<Key>() + size_of::<u64>();

/// Collects records and sorts them.
#[derive(Default)]
pub(crate) struct Sorter {
    bytes: Vec<u8>,
    /// The records in `bytes`: key, start and end.
    records: Vec<(Key, usize, usize)>,
    /// The temporary file, and the ends of the runs in it.
    file: Option<(BufWriter<File>, Vec<u64>)>,
}

impl Sorter {
    /// Adds the record that `write` writes.
    ///
    /// # Errors
    /// If `write` fails, or the temporary file cannot be written.
    pub(crate) fn add(
        &mut self,
        key: Key,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        self.records.push((key, start, self.bytes.len()));
        let index = self.records.len() * size_of::<(Key, usize, usize)>();
        if self.bytes.len() + index >= RUN {
            self.write_run().map_err(in_temporary_file)
        } else {
            Ok(())
        }
    }

    /// The sorted records.
    ///
    /// # Errors
    /// If the temporary file cannot be written or read.
    pub(crate) fn sorted(mut self) -> io::Result<Sorted> {
        if self.file.is_none() {
            self.records.sort_by_key(|(key, ..)| *key);
            let Self { bytes, records, .. } = self;
            return Ok(Sorted::Memory { bytes, records: records.into_iter() });
        }
        self.merge().map_err(in_temporary_file)
    }

    fn write_run(&mut self) -> io::Result<()> {
        self.records.sort_by_key(|(key, ..)| *key);
        let (out, ends) = match &mut self.file {
            Some(file) => file,
            None => self.file.insert((BufWriter::new(tempfile::tempfile()?), Vec::new())),
        };
        let mut end = ends.last().copied().unwrap_or(0);
        for (key, start, stop) in self.records.drain(..) {
            key.iter().try_for_each(|part| out.write_all(&part.to_le_bytes()))?;
            out.write_all(&((stop - start) as u64).to_le_bytes())?;
            out.write_all(&self.bytes[start..stop])?;
            end += (PREFIX + stop - start) as u64;
        }
        ends.push(end);
        self.bytes.clear();
        Ok(())
    }

    fn merge(mut self) -> io::Result<Sorted> {
        self.write_run()?;
        let Some((out, ends)) = self.file else { return Ok(Sorted::empty()) };
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let runs = starts.zip(&ends).map(|(start, end)| Run::new(start, *end));
        let mut merge = Merge { file, runs: runs.collect(), next: BinaryHeap::new(), last: None };
        for index in 0..merge.runs.len() {
            merge.advance(index)?;
        }
        Ok(Sorted::Merge(merge))
    }
}

/// Sorted records.
pub(crate) enum Sorted {
    Memory { bytes: Vec<u8>, records: std::vec::IntoIter<(Key, usize, usize)> },
    Merge(Merge),
}

impl Sorted {
    fn empty() -> Self {
        Self::Memory { bytes: Vec::new(), records: Vec::new().into_iter() }
    }

    /// The next record, if its key passes `is_next`.
    ///
    /// # Errors
    /// If the temporary file cannot be read.
    pub(crate) fn next_if(
        &mut self,
        is_next: impl FnOnce(&Key) -> bool,
    ) -> io::Result<Option<(Key, &[u8])>> {
        match self {
            Self::Memory { bytes, records } => {
                let next = records.as_slice().first().copied();
                let Some((key, start, end)) = next.filter(|(key, ..)| is_next(key)) else {
                    return Ok(None);
                };
                records.next();
                Ok(Some((key, &bytes[start..end])))
            }
            Self::Merge(merge) => merge.next_if(is_next).map_err(in_temporary_file),
        }
    }
}

/// A merge of runs.
pub(crate) struct Merge {
    file: File,
    runs: Vec<Run>,
    /// The key of the next record of each run that has one.
    next: BinaryHeap<Reverse<(Key, usize)>>,
    /// The run whose record was returned last.
    last: Option<usize>,
}

impl Merge {
    fn next_if(&mut self, is_next: impl FnOnce(&Key) -> bool) -> io::Result<Option<(Key, &[u8])>> {
        if let Some(run) = self.last.take() {
            self.advance(run)?;
        }
        let next = self.next.peek().map(|Reverse(next)| *next);
        let Some((key, run)) = next.filter(|(key, _)| is_next(key)) else { return Ok(None) };
        self.next.pop();
        self.last = Some(run);
        Ok(Some((key, &self.runs[run].record)))
    }

    /// Reads the next record of a run.
    fn advance(&mut self, run: usize) -> io::Result<()> {
        if let Some(key) = self.runs[run].read(&self.file)? {
            self.next.push(Reverse((key, run)));
        }
        Ok(())
    }
}

struct Run {
    /// The part of the file that was not read yet.
    start: u64,
    end: u64,
    buffer: Vec<u8>,
    /// The part of the buffer before it has been used.
    used: usize,
    record: Vec<u8>,
}

impl Run {
    fn new(start: u64, end: u64) -> Self {
        Self { start, end, buffer: Vec::new(), used: 0, record: Vec::new() }
    }

    /// Reads the next record. Returns its key, or `None` at the end of the run.
    fn read(&mut self, file: &File) -> io::Result<Option<Key>> {
        if self.used == self.buffer.len() && self.start == self.end {
            // Frees the memory, because another run may be much longer.
            (self.buffer, self.record, self.used) = (Vec::new(), Vec::new(), 0);
            return Ok(None);
        }
        let mut prefix = [0; PREFIX];
        self.fill(file, &mut prefix)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&prefix[at * 8..at * 8 + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.resize(number(4) as usize, 0);
        let read = self.fill(file, &mut record);
        self.record = record;
        read.map(|()| Some(std::array::from_fn(number)))
    }

    fn fill(&mut self, file: &File, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            if self.used == self.buffer.len() {
                let length = (self.end - self.start).min(READ as u64) as usize;
                self.buffer.resize(length, 0);
                file.read_exact_at(&mut self.buffer, self.start)?;
                self.start += length as u64;
                self.used = 0;
            }
            let length = out.len().min(self.buffer.len() - self.used);
            let (now, later) = out.split_at_mut(length);
            now.copy_from_slice(&self.buffer[self.used..self.used + length]);
            self.used += length;
            out = later;
        }
        Ok(())
    }
}

fn in_temporary_file(error: io::Error) -> io::Error {
    let folder = std::env::temp_dir();
    let text = format!(
        "a temporary file in {}: {error}; set TMPDIR to a folder with more space",
        folder.display()
    );
    io::Error::new(error.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sorts this many records with a scrambled order, each of `size` bytes.
    fn sorted(count: u64, size: usize) -> Vec<(Key, Vec<u8>)> {
        let mut sorter = Sorter::default();
        for index in 0..count {
            let scrambled = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count;
            let key = [scrambled / 7, 0, 0, 0];
            sorter
                .add(key, |out| {
                    out.extend(index.to_le_bytes());
                    out.resize(out.len() + size, scrambled as u8);
                    Ok(())
                })
                .expect("a temporary file");
        }
        let mut sorted = sorter.sorted().expect("a temporary file");
        let mut records = Vec::new();
        while let Some((key, record)) = sorted.next_if(|_| true).expect("a temporary file") {
            records.push((key, record.to_vec()));
        }
        records
    }

    #[test]
    fn records_are_sorted_in_memory_and_on_disk() {
        for (count, size) in [(0, 0), (1, 5), (1000, 3), (50_000, 700), (3, 20 << 20)] {
            let records = sorted(count, size);
            assert_eq!(records.len() as u64, count);
            let order = |record: &(Key, Vec<u8>)| {
                let mut index = [0; 8];
                index.copy_from_slice(&record.1[..8]);
                (record.0, u64::from_le_bytes(index))
            };
            assert!(records.is_sorted_by_key(order), "equal keys keep their order");
            assert!(records.iter().all(|(_, record)| record.len() == size + 8));
        }
    }
}
