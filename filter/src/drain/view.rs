//! The drain as one VM knows it, and the connections that it closes.
//!
//! Connection ids increase over the whole process. A connection is older than the drain if its id
//! is not above the watermark, the highest id that was seen when the epoch was learned.

use std::cmp::Ordering;

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
    /// The highest connection id that any worker had seen when it learned the epoch of `record`.
    watermark: Option<u64>,
    /// The number of merges that still exchange the watermark. Workers learn an epoch up to one
    /// refresh apart, and their connection ids come from one sequence. The first worker therefore
    /// has to read the watermark again.
    exchanges: u8,
    /// The highest connection id so far.
    newest: Option<u64>,
    /// The shared value that was merged last, and whether it is behind `record`.
    merged: Option<(Vec<u8>, bool)>,
    /// The time of the last merge.
    now_ms: u64,
}

/// The merge that learns an epoch and the one after it.
const EXCHANGES: u8 = 2;

/// The result of reading the shared record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merge {
    /// A higher epoch is in force now. The caller reports it and exchanges the watermark.
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

    /// Whether a terminate is in force.
    pub fn is_terminating(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.mode == DrainMode::Terminate)
    }

    /// Records a connection that carries a request.
    pub fn observe_connection(&mut self, connection: u64) {
        self.newest = self.newest.max(Some(connection));
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
            Ok(shared) => self.merge_record(shared),
            Err(error) => {
                Merge { ignored: true, error: Some(error), write: self.json(), ..Merge::default() }
            }
        };
        self.merged = Some((bytes.to_vec(), merge.write.is_some()));
        merge
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
        self.watermark = self.newest;
        self.exchanges = EXCHANGES;
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

    /// Whether to exchange the watermark after this merge.
    pub fn needs_watermark_exchange(&mut self) -> bool {
        let is_needed = self.exchanges > 0;
        self.exchanges = self.exchanges.saturating_sub(1);
        is_needed
    }

    /// Adopts the higher of this view's watermark and the shared one. Returns the value to write,
    /// if any.
    ///
    /// A new VM has seen no connection. It also adopts the watermark of an earlier epoch, because
    /// those connections are older still.
    pub fn exchange_watermark(&mut self, shared: Option<&[u8]>) -> Option<String> {
        let epoch = self.record.as_ref()?.epoch;
        let published = shared.and_then(Watermark::parse);
        let usable = published.filter(|found| found.epoch == epoch || self.watermark.is_none());
        self.watermark = self.watermark.max(usable.map(|found| found.connection));
        let own = Watermark { epoch, connection: self.watermark? };
        (Some(own) > published).then(|| own.to_json())
    }

    /// Whether a response of `route` on `connection` closes the connection. Calls `now_ms` only if
    /// the result depends on it.
    pub fn closes(
        &self,
        connection: u64,
        route: Option<&str>,
        now_ms: impl FnOnce() -> Option<u64>,
    ) -> bool {
        let Some(record) = &self.record else { return false };
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
        is_selected && is_routed && {
            let offset = spread::offset_ms(connection, record.epoch, record.window_ms);
            let moment = record.started_ms.saturating_add(offset);
            moment <= self.now_ms || now_ms().is_some_and(|now| moment <= now)
        }
    }

    fn json(&self) -> Option<String> {
        self.record.as_ref().map(Record::to_json)
    }
}
