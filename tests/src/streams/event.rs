//! An event as it stands on the wire. It carries when it was sent and in which slice of the measurement, so that a client needs no
//! other knowledge to say what it saw.

use std::fmt::{self, Write as _};

use rustix::time::{ClockId, clock_gettime};

/// A numbered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The stream's first one has 0, the next one 1.
    pub number: u64,
    /// The slice of the measurement that it belongs to.
    pub slice: u32,
    /// When it was written, by [`now`](Event::now).
    pub sent: u64,
}

impl Event {
    /// Bytes of an event on the wire: a short message of a chat, a price with its history.
    pub const LENGTH: usize = 200;

    /// The slice of events that only warm up.
    pub const UNCOUNTED: u32 = 0;

    /// Nanoseconds of a clock that all processes of the machine share.
    pub fn now() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
    }

    /// Reads an event, without the empty line that ends it.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, data) = text.strip_prefix("id: ")?.split_once("\ndata: ")?;
        let mut words = data.split(' ');
        let mut word = || words.next();
        Some(Self {
            number: id.parse().ok()?,
            slice: word()?.parse().ok()?,
            sent: word()?.parse().ok()?,
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(Self::LENGTH);
        write!(text, "id: {}\ndata: {} {} ", self.number, self.slice, self.sent)?;
        write!(f, "{text:.<width$}\n\n", width = Self::LENGTH - 2)
    }
}
