//! The metrics of a process. VMs that define the same name and kind share the metric.

use std::collections::HashMap;

use crate::abi::{MetricKind, Status};
use crate::limits::Limits;
use crate::profile::Rules;

/// The bits of an id that are the kind of the metric.
const KIND_BITS: u32 = 2;

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

/// All metrics of a process. The id of a metric is its position, starting at 1; with
/// [`Rules::metric_ids_have_kind`], the lowest two bits are its kind.
#[derive(Debug)]
pub(crate) struct Metrics {
    metrics: Vec<Metric>,
    ids: HashMap<(MetricKind, String), u32>,
    limit: usize,
    name_limit: usize,
    rules: &'static Rules,
}

impl Metrics {
    pub(crate) fn new(limits: &Limits, rules: &'static Rules) -> Metrics {
        Metrics {
            metrics: Vec::new(),
            ids: HashMap::new(),
            limit: limits.metrics,
            name_limit: limits.metric_name_bytes,
            rules,
        }
    }

    pub(crate) fn define(&mut self, kind: MetricKind, name: &[u8]) -> Result<u32, Status> {
        if name.len() > self.name_limit {
            return Err(Status::InternalFailure);
        }
        let name = String::from_utf8_lossy(name).into_owned();
        if let Some(&id) = self.ids.get(&(kind, name.clone())) {
            return Ok(id);
        }
        if self.metrics.len() >= self.limit {
            return Err(Status::InternalFailure);
        }
        self.metrics.push(Metric { kind, name: name.clone(), value: 0, recorded: 0 });
        let position = self.metrics.len() as u32;
        let id = match self.rules.metric_ids_have_kind {
            true => position << KIND_BITS | kind as u32,
            false => position,
        };
        self.ids.insert((kind, name), id);
        Ok(id)
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

    /// The position of a metric. Envoy looks at the kind in the id first: an id of a kind that the
    /// call does not support is a bad argument, whether or not the metric exists.
    fn index(&self, id: u32, histograms: bool) -> Result<usize, Status> {
        let position = match self.rules.metric_ids_have_kind {
            true => {
                let kind = MetricKind::from_abi(id & ((1 << KIND_BITS) - 1));
                if !histograms && !matches!(kind, Some(MetricKind::Counter | MetricKind::Gauge)) {
                    return Err(Status::BadArgument);
                }
                id >> KIND_BITS
            }
            false => id,
        };
        let index = (position as usize).checked_sub(1).ok_or(Status::NotFound)?;
        match self.metrics.get(index) {
            Some(_) => Ok(index),
            None => Err(Status::NotFound),
        }
    }
}
