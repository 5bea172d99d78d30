//! What one VM knows of the drain, and what it decides from that for each connection.
//!
//! Connections are numbered upwards over the process, so "existed when the epoch began" is one comparison: not above the
//! highest number seen when the epoch was learned.

use std::cmp::Ordering;

use super::record::{Record, RecordError};
use super::spread;
use super::watermark::Watermark;
use crate::config::DrainMode;

/// One VM's knowledge. It outlives configurations: they come and go in the same VM while connections stay.
#[derive(Debug, Default)]
pub struct Worker {
    record: Option<Record>,
    /// The highest connection that was known, to any worker, when the epoch of `record` was learned.
    watermark: Option<u64>,
    /// How many more looks exchange the watermark: workers learn an epoch up to one look apart, and connections of all of them
    /// are numbered together, so the one that learned first has to ask again.
    exchanges: u8,
    /// The highest connection seen so far.
    newest: Option<u64>,
    /// The value in shared data that was judged last, and whether it says less than we know.
    judged: Option<(Vec<u8>, bool)>,
    /// The time of the last look.
    now_ms: u64,
}

/// The look that learns an epoch and the one after it.
const EXCHANGES: u8 = 2;

/// What a look at shared data led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// A higher epoch was learned: report it, and exchange the watermark.
    pub learned: bool,
    /// What stands there is older than what we know, or not a record; told once for each value.
    pub stale: bool,
    /// Why it is not a record, told together with `stale`.
    pub error: Option<RecordError>,
    /// What must stand there instead: write it with the number under which the value was read, and look again on a mismatch.
    pub write: Option<String>,
}

/// How a record that somebody asks for stands to the one in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its epoch is higher: it shall be in force.
    Higher,
    /// It is in force already.
    Known,
    /// Its epoch is in force, and means something else: the first writer's meaning stays.
    Taken,
    /// Its epoch is lower: it is ignored.
    Lower,
}

impl Worker {
    /// The record in force, whether it closes anything or not.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// The drain in force, if it closes anything.
    pub fn in_force(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.mode != DrainMode::Off)
    }

    /// A connection that carries a request.
    pub fn saw(&mut self, connection: u64) {
        self.newest = self.newest.max(Some(connection));
    }

    /// Compares what stands in shared data with what this worker knows, and learns the greater one.
    pub fn look(&mut self, shared: Option<&[u8]>, now_ms: u64) -> Look {
        self.now_ms = now_ms;
        let Some(bytes) = shared else {
            return Look { write: self.record.as_ref().map(Record::to_json), ..Look::default() };
        };
        if let Some((judged, behind)) = &self.judged
            && judged == bytes
        {
            let write = self.record.as_ref().filter(|_| *behind).map(Record::to_json);
            return Look { write, ..Look::default() };
        }
        let look = match Record::parse(bytes) {
            Ok(shared) => self.meet(shared),
            Err(error) => Look {
                stale: true,
                error: Some(error),
                write: self.record.as_ref().map(Record::to_json),
                learned: false,
            },
        };
        self.judged = Some((bytes.to_vec(), look.write.is_some()));
        look
    }

    fn meet(&mut self, shared: Record) -> Look {
        let Some(known) = &self.record else { return self.learn(shared) };
        let behind = shared.order(known) == Ordering::Less;
        match shared.epoch.cmp(&known.epoch) {
            Ordering::Greater => self.learn(shared),
            _ if behind => Look {
                stale: shared.epoch < known.epoch,
                write: Some(known.to_json()),
                ..Look::default()
            },
            // The same epoch with the same or an earlier start: what stands there is what everybody follows.
            _ => {
                self.record = Some(shared);
                Look::default()
            }
        }
    }

    fn learn(&mut self, record: Record) -> Look {
        self.record = Some(record);
        self.watermark = self.newest;
        self.exchanges = EXCHANGES;
        Look { learned: true, ..Look::default() }
    }

    /// How a drain that somebody asks for stands to what this worker knows, after a look at shared data.
    pub fn judge(&self, wanted: &Record) -> Standing {
        let Some(known) = &self.record else { return Standing::Higher };
        match wanted.epoch.cmp(&known.epoch) {
            Ordering::Greater => Standing::Higher,
            Ordering::Equal if wanted.agrees(known) => Standing::Known,
            Ordering::Equal => Standing::Taken,
            Ordering::Less => Standing::Lower,
        }
    }

    /// Learns a record that this worker has written itself.
    pub fn wrote(&mut self, record: Record) -> Look {
        // What was judged before stands below this one now, which is nobody's fault.
        if let Some((_, behind)) = &mut self.judged {
            *behind = true;
        }
        self.learn(record)
    }

    /// Whether this look should exchange the watermark.
    pub fn begins_exchange(&mut self) -> bool {
        let more = self.exchanges > 0;
        self.exchanges = self.exchanges.saturating_sub(1);
        more
    }

    /// Exchanges the watermark with shared data: takes the higher of what this worker knows and what stands there, and returns what must
    /// stand there instead, if anything.
    ///
    /// A worker of a new VM, which has seen no connection, also takes what an earlier epoch left: those connections are older still.
    pub fn exchange_watermark(&mut self, shared: Option<&[u8]>) -> Option<String> {
        let epoch = self.record.as_ref()?.epoch;
        let published = shared.and_then(Watermark::parse);
        let usable = published.filter(|found| found.epoch == epoch || self.watermark.is_none());
        self.watermark = self.watermark.max(usable.map(|found| found.connection));
        let own = Watermark { epoch, connection: self.watermark? };
        (Some(own) > published).then(|| own.to_json())
    }

    /// Whether a terminate is in force.
    pub fn terminating(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.mode == DrainMode::Terminate)
    }

    /// Whether the response to a request of `route` on `connection` shall close it. `now_ms` is asked only when the answer depends on it.
    pub fn closes(
        &self,
        connection: u64,
        route: Option<&str>,
        now_ms: impl FnOnce() -> Option<u64>,
    ) -> bool {
        let Some(record) = &self.record else { return false };
        let old = Some(connection) <= self.watermark;
        let meant = match record.mode {
            DrainMode::Off => false,
            DrainMode::Terminate => true,
            DrainMode::Reload => old,
            DrainMode::Rebalance => {
                let percent = record.percent.map_or(0, |percent| percent.value());
                old && spread::is_chosen(connection, record.epoch, percent)
            }
        };
        let routed = record.routes.as_ref().is_none_or(|routes| {
            route.is_some_and(|route| routes.iter().any(|name| name.as_str() == route))
        });
        meant && routed && {
            let offset = spread::offset_ms(connection, record.epoch, record.window_ms);
            let moment = record.started_ms.saturating_add(offset);
            moment <= self.now_ms || now_ms().is_some_and(|now| moment <= now)
        }
    }
}
