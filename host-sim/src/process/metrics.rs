//! The metrics of a process. VMs that define the same name and kind share the metric.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::abi::{MetricKind, Status};
use crate::limits::Limits;
use crate::profile::Rules;

/// The bits of an id that are the kind of the metric.
const KIND_BITS: u32 = 2;

/// How many times as many definitions as metrics a process can have.
const DEFINITIONS: usize = 100;

/// A metric of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The kind.
    pub kind: MetricKind,
    /// The name, as the guest defined it.
    pub name: String,
    /// The value of a counter or gauge, or the sum of the values of a histogram.
    pub value: u64,
    /// The number of values of a histogram; 0 for other kinds.
    pub recorded: u64,
}

/// All metrics of a process. The first definition of a metric gives it an id: its position, starting
/// at 1. With [`Rules::each_definition_has_id`], so does each further definition; a kind counts its
/// own definitions, and the lowest two bits are the kind.
#[derive(Debug)]
pub(crate) struct Metrics {
    metrics: Vec<Metric>,
    positions: HashMap<(MetricKind, String), usize>,
    /// The positions of the metrics that were defined, for each kind.
    defined: [Vec<u32>; 3],
    limit: usize,
    name_limit: usize,
    rules: &'static Rules,
}

impl Metrics {
    pub(crate) fn new(limits: &Limits, rules: &'static Rules) -> Metrics {
        Metrics {
            metrics: Vec::new(),
            positions: HashMap::new(),
            defined: Default::default(),
            limit: limits.metrics,
            name_limit: limits.metric_name_bytes,
            rules,
        }
    }

    pub(crate) fn define(&mut self, kind: MetricKind, name: &[u8]) -> Result<u32, Status> {
        if name.len() > self.name_limit {
            return Err(Status::InternalFailure);
        }
        let position = self.position(kind, String::from_utf8_lossy(name).into_owned())?;
        if !self.rules.each_definition_has_id {
            return Ok(position as u32 + 1);
        }
        let defined = &mut self.defined[kind as usize];
        if defined.len() >= DEFINITIONS * self.limit {
            return Err(Status::InternalFailure);
        }
        defined.push(position as u32);
        Ok((defined.len() as u32) << KIND_BITS | kind as u32)
    }

    /// The position of a metric, which is added if it is new.
    fn position(&mut self, kind: MetricKind, name: String) -> Result<usize, Status> {
        let new = self.metrics.len();
        let vacant = match self.positions.entry((kind, name)) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(vacant) => vacant,
        };
        if new >= self.limit {
            return Err(Status::InternalFailure);
        }
        let name = vacant.key().1.clone();
        self.metrics.push(Metric { kind, name, value: 0, recorded: 0 });
        Ok(*vacant.insert(new))
    }

    pub(crate) fn record(&mut self, id: u32, value: u64) -> Result<(), Status> {
        let adds = self.rules.record_adds_to_counter;
        let index = self.index(id, true)?;
        let metric = &mut self.metrics[index];
        match metric.kind {
            MetricKind::Counter if adds => metric.value = metric.value.wrapping_add(value),
            MetricKind::Counter | MetricKind::Gauge => metric.value = value,
            MetricKind::Histogram => {
                metric.value = metric.value.wrapping_add(value);
                metric.recorded += 1;
            }
        }
        Ok(())
    }

    pub(crate) fn increment(&mut self, id: u32, delta: i64) -> Result<(), Status> {
        let rejects_zero = self.rules.counter_rejects_zero;
        let index = self.index(id, false)?;
        let metric = &mut self.metrics[index];
        match metric.kind {
            MetricKind::Counter if delta < 0 || (delta == 0 && rejects_zero) => {
                return Err(Status::BadArgument);
            }
            MetricKind::Counter | MetricKind::Gauge => {
                metric.value = metric.value.wrapping_add_signed(delta);
            }
            MetricKind::Histogram => return Err(Status::BadArgument),
        }
        Ok(())
    }

    /// The value of a counter or gauge. Histograms have no value that a guest can read.
    pub(crate) fn value(&self, id: u32) -> Result<u64, Status> {
        let metric = self.index(id, false).map(|index| &self.metrics[index])?;
        match metric.kind {
            MetricKind::Counter | MetricKind::Gauge => Ok(metric.value),
            MetricKind::Histogram => Err(Status::BadArgument),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.metrics.iter()
    }

    pub(crate) fn snapshot(&self) -> Vec<Metric> {
        self.metrics.clone()
    }

    /// The position of the metric with an id. Envoy looks at the kind in the id first: an id of a
    /// kind that the call does not support is a bad argument, whether or not the metric exists.
    fn index(&self, id: u32, histograms: bool) -> Result<usize, Status> {
        if !self.rules.each_definition_has_id {
            let index = (id as usize).checked_sub(1).ok_or(Status::NotFound)?;
            return self.metrics.get(index).map(|_| index).ok_or(Status::NotFound);
        }
        let kind = id & ((1 << KIND_BITS) - 1);
        let is_known = match MetricKind::from_abi(kind) {
            Some(MetricKind::Histogram) => histograms,
            Some(MetricKind::Counter | MetricKind::Gauge) => true,
            None => histograms,
        };
        if !is_known {
            return Err(Status::BadArgument);
        }
        let defined = self.defined.get(kind as usize).map_or(&[][..], Vec::as_slice);
        let position = ((id >> KIND_BITS) as usize).checked_sub(1).and_then(|at| defined.get(at));
        position.map(|position| *position as usize).ok_or(Status::NotFound)
    }
}
