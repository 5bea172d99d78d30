//! When the faults of a run really happened, and what the filter reported. The verdict needs both.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A read of a count that takes longer shows that the process does not run.
const STALL: Duration = Duration::from_millis(300);

/// The events of a run.
#[derive(Debug, Default)]
pub(super) struct Timeline(Mutex<Events>);

#[derive(Debug, Default, Clone)]
pub(super) struct Events {
    /// From the first request that crashes a VM to the last response to one.
    pub(super) crashes: Vec<Span>,
    /// The process was suspended, or did not reply to a read of the health or admin path for
    /// [`STALL`], for example because the machine was overloaded.
    pub(super) suspensions: Vec<Span>,
    /// From the start of the next process to the end of the old one's listeners.
    pub(super) handovers: Vec<Span>,
    /// The counts that the filter reported.
    pub(super) samples: Vec<Sample>,
}

/// A time in which something happens at a proxy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) proxy: usize,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// A number of in-flight requests that the filter reported.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) proxy: usize,
    pub(super) place: Place,
    /// When its connection was opened.
    pub(super) opened: Duration,
    /// When it was requested and when it arrived.
    pub(super) asked: Duration,
    pub(super) answered: Duration,
    pub(super) in_flight: u64,
}

/// Where the filter reports the number of in-flight requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Health,
    Admin,
    Metric,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Health, Self::Admin, Self::Metric];
}

impl Timeline {
    pub(super) fn record(&self, record: impl FnOnce(&mut Events)) {
        record(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn record_sample(&self, sample: Sample) {
        let Sample { proxy, asked: from, answered: to, .. } = sample;
        self.record(|events| {
            events.samples.push(sample);
            // The main thread of Envoy, which replies with metrics, may be busy while workers run.
            if sample.place != Place::Metric && to - from > STALL {
                events.suspensions.push(Span { proxy, from, to });
            }
        });
    }

    /// A copy of all events. Samples that were answered before `until` are removed.
    pub(super) fn cut(&self, until: Duration) -> Events {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut cut = events.clone();
        cut.samples.retain(|sample| sample.answered < until);
        events.samples.retain(|sample| sample.answered >= until);
        cut
    }
}

impl Span {
    pub(super) fn overlaps(&self, from: Duration, to: Duration) -> bool {
        self.from <= to && from <= self.to
    }
}

impl Events {
    /// The part of a time in which the process of a proxy was not suspended.
    pub(super) fn active_time(&self, proxy: usize, from: Duration, to: Duration) -> Duration {
        let of_proxy = self.suspensions.iter().filter(|span| span.proxy == proxy);
        let within = |span: &Span| (span.from.max(from), span.to.min(to));
        let mut spans: Vec<_> = of_proxy.map(within).filter(|(from, to)| from < to).collect();
        spans.sort_unstable();
        let (mut active, mut last) = (Duration::ZERO, from);
        for (from, to) in spans {
            active += from.saturating_sub(last);
            last = last.max(to);
        }
        active + to.saturating_sub(last)
    }

    pub(super) fn crashes_of(&self, proxy: usize) -> impl Iterator<Item = &Span> {
        self.crashes.iter().filter(move |span| span.proxy == proxy)
    }

    /// Whether the same process serves connections that were opened at these times; unknown, and
    /// false, for a time within a handover.
    pub(super) fn is_same_process(&self, proxy: usize, one: Duration, other: Duration) -> bool {
        self.handovers.iter().filter(|span| span.proxy == proxy).all(|span| {
            (one < span.from && other < span.from) || (one > span.to && other > span.to)
        })
    }
}
