//! When the faults of a run really happened, and what the filter reported. The verdict needs both.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The events of a run.
#[derive(Debug, Default)]
pub(super) struct Timeline(Mutex<Events>);

#[derive(Debug, Default, Clone)]
pub(super) struct Events {
    /// From the first request that crashes a VM to the last response to one.
    pub(super) crashes: Vec<Span>,
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
        let suspended = |span: &Span| span.to.min(to).saturating_sub(span.from.max(from));
        let of_proxy = self.suspensions.iter().filter(|span| span.proxy == proxy);
        to.saturating_sub(from).saturating_sub(of_proxy.map(suspended).sum())
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
