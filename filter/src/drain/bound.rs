//! How long a drain lets a stream last, and what the client receives at its end.

use std::borrow::Cow;

use crate::boundary::{BoundaryReader, Framing};
use crate::config::{CloseCode, OnDrain, StreamDrainSpec};

/// How long a stream may take to reach a boundary, and for how long the filter waits for bytes with
/// which it can send a last event or a Close frame, in milliseconds.
pub const PATIENCE_MS: u64 = 1000;

/// The bound of the streams of a route in a drain.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// How long a stream may last after its connection is due, in milliseconds.
    within_ms: u64,
    /// Whether it applies to every stream, and a stream without a boundary ends too. If not, it
    /// applies to event streams and lines only.
    is_firm: bool,
    last_event: Option<Box<str>>,
    close_code: CloseCode,
}

/// Where a stream stands at a moment of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It may last.
    Open,
    /// It ends at the next boundary.
    Due,
    /// It has had [`PATIENCE_MS`] to reach a boundary.
    Overdue,
}

impl Bound {
    /// The bound of a route; `None` if a drain ends none of its streams.
    pub(crate) fn new(spec: &StreamDrainSpec) -> Option<Self> {
        let is_firm = match spec.streams? {
            OnDrain::Wait => return None,
            OnDrain::Cut => false,
            OnDrain::Finish => true,
        };
        Some(Self {
            within_ms: spec.within.map_or(0, |within| within.as_millis()),
            is_firm,
            last_event: spec.last_event.as_ref().map(|event| event.as_str().into()),
            close_code: spec.close_code.unwrap_or(CloseCode::RESTART),
        })
    }

    /// How long a stream may last after its connection is due, in milliseconds; `None` if only
    /// event streams and lines end, at once.
    pub fn within_ms(&self) -> Option<u64> {
        self.is_firm.then_some(self.within_ms)
    }

    /// The word of the configuration.
    pub fn streams(&self) -> OnDrain {
        if self.is_firm { OnDrain::Finish } else { OnDrain::Cut }
    }

    /// Whether every stream ends, with or without a boundary.
    pub fn is_firm(&self) -> bool {
        self.is_firm
    }

    /// The event that an event stream sends before it ends.
    pub fn last_event(&self) -> Option<&str> {
        self.last_event.as_deref()
    }

    /// The code of the Close frame that a WebSocket gets.
    pub fn close_code(&self) -> u16 {
        self.close_code.value()
    }

    /// Whether the bound applies to a response of this framing.
    pub fn applies_to(&self, framing: Framing) -> bool {
        self.is_firm || matches!(framing, Framing::Events | Framing::Lines)
    }

    /// Where a stream stands whose connection has been due for this time, in milliseconds; `None`
    /// if it is not due.
    pub(crate) fn progress(&self, due_for_ms: Option<u64>) -> Progress {
        match due_for_ms.and_then(|due| due.checked_sub(self.within_ms)) {
            None => Progress::Open,
            Some(..PATIENCE_MS) => Progress::Due,
            Some(_) => Progress::Overdue,
        }
    }

    /// The last bytes that the filter adds at a boundary.
    pub(crate) fn farewell(&self, reader: &BoundaryReader) -> Option<Cow<'_, [u8]>> {
        match reader.framing() {
            Framing::Events => Some(Cow::Borrowed(self.last_event.as_ref()?.as_bytes())),
            Framing::WebSocket if !reader.has_closed() => {
                let [high, low] = self.close_code.value().to_be_bytes();
                Some(Cow::Owned(vec![0x88, 2, high, low]))
            }
            _ => None,
        }
    }
}
