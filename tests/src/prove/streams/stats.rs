//! The number of streams that clients requested, and how these streams ended.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use super::ending::Ending;

/// The number of clients of streams, and the lengths of completions.
#[derive(Debug, Clone, Copy)]
pub struct StreamLoad {
    /// Clients with one event stream each; half of them over HTTP/2.
    pub events: usize,
    /// Clients with one WebSocket each.
    pub sockets: usize,
    /// Clients that request one completion after the other; half of them over HTTP/2.
    pub completions: usize,
    /// How long a completion takes.
    pub lengths: Lengths,
}

/// A range of times.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// The shortest time.
    pub shortest: Duration,
    /// The longest time.
    pub longest: Duration,
}

/// The streams that proxies have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cut {
    /// After a whole event, or with a Close frame.
    pub at_boundary: usize,
    /// Anywhere else.
    pub torn: usize,
}

/// The streams of one client, or of all clients of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Event streams.
    pub events: Cut,
    /// WebSockets.
    pub sockets: Cut,
    /// Completions.
    pub completions: usize,
    /// Completions without their end.
    pub lost: usize,
}

impl Default for StreamLoad {
    fn default() -> Self {
        let lengths =
            Lengths { shortest: Duration::from_secs(5), longest: Duration::from_secs(40) };
        Self { events: 50, sockets: 50, completions: 50, lengths }
    }
}

impl StreamLoad {
    /// The number of clients.
    pub(super) fn clients(&self) -> usize {
        self.events + self.sockets + self.completions
    }
}

impl Cut {
    pub(super) fn record(&mut self, ending: Ending) {
        match ending {
            Ending::Whole => {}
            Ending::AtBoundary => self.at_boundary += 1,
            Ending::Torn => self.torn += 1,
        }
    }
}

impl StreamStats {
    /// The event streams and WebSockets that proxies have ended.
    pub fn cut(&self) -> Cut {
        let mut both = self.events;
        both += self.sockets;
        both
    }
}

impl AddAssign for Cut {
    fn add_assign(&mut self, other: Self) {
        self.at_boundary += other.at_boundary;
        self.torn += other.torn;
    }
}

impl AddAssign for StreamStats {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.sockets += other.sockets;
        self.completions += other.completions;
        self.lost += other.lost;
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_boundary, torn } = self;
        write!(f, "{} cut, {at_boundary} of them at a boundary", at_boundary + torn)
    }
}

impl fmt::Display for StreamStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, sockets, completions, lost } = self;
        write!(
            f,
            "event streams: {events}; WebSockets: {sockets}; {lost} of {completions} completions \
             lost"
        )
    }
}
