//! The drain as one VM knows it, and the connections that it closes.
//!
//! Connection ids increase over the whole process. A connection is older than the drain if its id
//! is not above the watermark, the highest id that a VM of the process had seen when the first of
//! them learned the epoch.

use std::cmp::Ordering;

use super::connections::NewestConnection;
use super::epoch;
use super::error::RecordError;
use super::record::{EpochOrdering, Record};
use super::spread;
use super::watermark::Watermark;
use crate::config::DrainMode;

/// The drain as one VM knows it. It outlives plugin configurations: they change while connections
/// stay open.
#[derive(Debug, Default)]
pub struct DrainView {
    record: Option<Record>,
    /// The highest connection id that existed when the epoch of `record` was learned.
    watermark: Option<u64>,
    /// Whether shared data may have another watermark for the epoch of `record`.
    needs_watermark: bool,
    newest: NewestConnection,
    /// The shared value that was merged last, and whether it is behind `record`.
    merged: Option<(Vec<u8>, bool)>,
    /// The time of the last merge.
    now_ms: u64,
}

/// The result of reading the shared record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merge {
    /// A higher epoch is in force now. The caller reports it, and exchanges the newest connection
    /// and then the watermark.
    pub learned: bool,
    /// The shared value was ignored: it is not a record, or its epoch is lower. True once for each
    /// value.
    pub ignored: bool,
    /// Why the ignored value is not a record.
    pub error: Option<RecordError>,
    /// The value to write. If the write fails with a mismatch, the caller reads and merges again.
    pub write: Option<String>,
}

impl DrainView {
    /// The record in force, in any mode.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// The epoch in force; 0 without a record.
    pub fn epoch(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.epoch)
    }

    /// The record in force, if its mode closes connections.
    pub fn active(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.mode != DrainMode::Off)
    }

    /// Whether a terminate is in force and has started. Calls `now_ms` only if the result depends
    /// on it.
    pub fn is_terminating(&self, now_ms: impl FnOnce() -> Option<u64>) -> bool {
        let terminate = self.record.as_ref().filter(|record| record.mode == DrainMode::Terminate);
        terminate.is_some_and(|record| self.is_past(record.started_ms, now_ms))
    }

    /// Whether the moment has passed. Calls `now_ms` only if the result depends on it.
    fn is_past(&self, moment_ms: u64, now_ms: impl FnOnce() -> Option<u64>) -> bool {
        moment_ms <= self.now_ms || now_ms().is_some_and(|now| moment_ms <= now)
    }

    /// Records a connection that carries a request. Returns whether to publish it with
    /// [`exchange_connections`](Self::exchange_connections).
    pub fn observe_connection(&mut self, connection: u64) -> bool {
        self.newest.observe(connection)
    }

    /// Whether a connection is still to be published.
    pub fn has_unpublished_connection(&self) -> bool {
        self.newest.is_unpublished()
    }

    /// Adopts the newest connection of the process from shared data. Returns the value to write, if
    /// this VM knows a newer one.
    pub fn exchange_connections(&mut self, shared: Option<&[u8]>) -> Option<String> {
        self.newest.exchange(shared)
    }

    /// Records that the value of [`exchange_connections`](Self::exchange_connections) was not
    /// written.
    pub fn keep_connection_unpublished(&mut self) {
        self.newest.keep_unpublished();
    }

    /// Merges the value in shared data with the record of this view, and keeps the greater one.
    pub fn merge(&mut self, shared: Option<&[u8]>, now_ms: u64) -> Merge {
        self.now_ms = now_ms;
        let Some(bytes) = shared else {
            return Merge { write: self.json(), ..Merge::default() };
        };
        if let Some((merged, is_behind)) = &self.merged
            && merged == bytes
        {
            let write = if *is_behind { self.json() } else { None };
            return Merge { write, ..Merge::default() };
        }
        let merge = match Record::parse(bytes) {
            Ok(shared) => match epoch::check(shared.epoch, self.epoch(), now_ms) {
                Ok(()) => self.merge_record(shared),
                Err(error) => self.ignore(RecordError::Epoch(error)),
            },
            Err(error) => self.ignore(error),
        };
        self.merged = Some((bytes.to_vec(), merge.write.is_some()));
        merge
    }

    fn ignore(&self, error: RecordError) -> Merge {
        Merge { ignored: true, error: Some(error), write: self.json(), ..Merge::default() }
    }

    fn merge_record(&mut self, shared: Record) -> Merge {
        let Some(record) = &self.record else { return self.learn(shared) };
        let ordering = shared.compare(record);
        if ordering == EpochOrdering::Higher {
            return self.learn(shared);
        }
        if shared.precedence(record) == Ordering::Less {
            let ignored = ordering == EpochOrdering::Lower;
            return Merge { ignored, write: Some(record.to_json()), ..Merge::default() };
        }
        // The same epoch with the same or an earlier start: every VM follows the shared record.
        self.record = Some(shared);
        Merge::default()
    }

    fn learn(&mut self, record: Record) -> Merge {
        self.record = Some(record);
        self.watermark = self.newest.id();
        self.needs_watermark = true;
        Merge { learned: true, ..Merge::default() }
    }

    /// Compares a record with the one in force.
    pub fn compare(&self, wanted: &Record) -> EpochOrdering {
        self.record.as_ref().map_or(EpochOrdering::Higher, |record| wanted.compare(record))
    }

    /// Takes over a record that this VM has written to shared data.
    pub fn record_written(&mut self, record: Record) -> Merge {
        // The previously merged value is now behind. That is not an error of its writer.
        if let Some((_, is_behind)) = &mut self.merged {
            *is_behind = true;
        }
        self.learn(record)
    }

    /// Whether to exchange the watermark: until the one in shared data is that of the epoch in
    /// force.
    pub fn needs_watermark(&self) -> bool {
        self.needs_watermark
    }

    /// Adopts the watermark in shared data if it is that of the epoch in force. Otherwise returns
    /// the value to write, if any.
    ///
    /// The first VM that learns an epoch decides which connections are old. A connection whose
    /// first request arrives at that moment may not be known to it, and is then new for all VMs.
    pub fn exchange_watermark(&mut self, shared: Option<&[u8]>) -> Option<String> {
        let epoch = self.record.as_ref()?.epoch;
        let found = shared.and_then(Watermark::parse);
        match found.map(|found| (found.epoch.cmp(&epoch), found.connection)) {
            Some((Ordering::Equal, connection)) => {
                self.watermark = connection;
                self.needs_watermark = false;
                None
            }
            // Another VM is ahead. The next merge learns its epoch.
            Some((Ordering::Greater, _)) => None,
            // The connections of an earlier drain are older still.
            Some((Ordering::Less, connection)) => {
                self.watermark = self.watermark.max(self.newest.id()).max(connection);
                Some(Watermark { epoch, connection: self.watermark }.to_json())
            }
            None => {
                self.watermark = self.watermark.max(self.newest.id());
                Some(Watermark { epoch, connection: self.watermark }.to_json())
            }
        }
    }

    /// Whether a response of `route` on `connection` closes the connection. Calls `now_ms` only if
    /// the result depends on it.
    pub fn closes(
        &self,
        connection: u64,
        route: Option<&str>,
        now_ms: impl FnOnce() -> Option<u64>,
    ) -> bool {
        self.due_ms(connection, route).is_some_and(|due| self.is_past(due, now_ms))
    }

    /// When a connection is due to close after a response of `route`, in milliseconds since the
    /// Unix epoch; `None` if the drain does not close it.
    pub fn due_ms(&self, connection: u64, route: Option<&str>) -> Option<u64> {
        let record = self.record.as_ref()?;
        let is_old = Some(connection) <= self.watermark;
        let is_selected = match record.mode {
            DrainMode::Off => false,
            DrainMode::Terminate => true,
            DrainMode::Reload => is_old,
            DrainMode::Rebalance => {
                let percent = record.percent.map_or(0, |percent| percent.value());
                is_old && spread::is_chosen(connection, record.epoch, percent)
            }
        };
        let is_routed = record.routes.as_ref().is_none_or(|routes| {
            route.is_some_and(|route| routes.iter().any(|name| name.as_str() == route))
        });
        (is_selected && is_routed).then(|| {
            let offset = spread::offset_ms(connection, record.epoch, record.window_ms);
            record.started_ms.saturating_add(offset)
        })
    }

    fn json(&self) -> Option<String> {
        self.record.as_ref().map(Record::to_json)
    }
}
