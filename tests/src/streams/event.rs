//! The wire format of an event. An event carries the time at which it was sent and its turn, so
//! that a client can record the delay without other knowledge.

use std::fmt::{self, Write as _};

use rustix::time::{ClockId, clock_gettime};

/// A numbered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The position in its stream, from 0.
    pub number: u64,
    /// The id of the turn in which it was sent.
    pub turn: u32,
    /// When it was written, by [`now`](Event::now).
    pub sent: u64,
}

impl Event {
    /// The length of an event in bytes: a short chat message, or a price with its history.
    pub const LENGTH: usize = 200;

    /// The turn id of events that are not measured.
    pub const WARM_UP: u32 = 0;

    /// Nanoseconds of a clock that all processes of the machine share.
    pub fn now() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
    }

    /// Parses an event, without the empty line that ends it.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, data) = text.strip_prefix("id: ")?.split_once("\ndata: ")?;
        let mut words = data.split(' ');
        let mut word = || words.next();
        Some(Self {
            number: id.parse().ok()?,
            turn: word()?.parse().ok()?,
            sent: word()?.parse().ok()?,
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(Self::LENGTH);
        write!(text, "id: {}\ndata: {} {} ", self.number, self.turn, self.sent)?;
        write!(f, "{text:.<width$}\n\n", width = Self::LENGTH - 2)
    }
}
