//! Whether the filter can hold headers until a body arrives, which depends on the host.
//!
//! In Envoy, the plugin option `allow_on_headers_stop_iteration` decides whether a filter receives
//! the body while it holds the headers. No host call returns the option, and without it a filter
//! that waits for the body waits forever. So the filter tries: it holds the headers of one message,
//! for at most one refresh. If a part of the body arrives meanwhile, the filter can hold headers.
//! If a part arrives at the moment at which the filter continues the message, the host had kept it
//! back, and the filter cannot.
//!
//! The filter tries this with uploads first, because a client usually sends the body at once. It
//! then knows the answer before the response to that request.

use crate::host::Direction;
use crate::idle_timers::TimerId;

/// How long after the message was continued a kept part of the body arrives at the latest, in
/// nanoseconds. Envoy delivers it right after the callback, but opens a connection to the upstream
/// before, which took more than a millisecond on a machine with two cores.
const AT_ONCE_NS: u64 = 10_000_000;

/// What is known about the host.
#[derive(Debug, Default)]
pub(crate) enum Holding {
    #[default]
    Unknown,
    Trying(Trial),
    Possible,
    Impossible,
}

/// The message whose headers are held to learn about the host.
#[derive(Debug)]
pub(crate) struct Trial {
    context: u32,
    direction: Direction,
    /// Its timer, if it has one.
    timer: Option<TimerId>,
    ticks: u64,
    /// When the message was continued.
    continued_ns: Option<u64>,
}

/// What a part of the body shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The headers are held, and the body arrives.
    Possible,
    /// The host had kept the body back.
    Impossible,
    /// The message was continued before its body arrived.
    Nothing,
}

impl Holding {
    /// Whether to hold the headers of a message. Only one message is tried at a time.
    pub(crate) fn begin(
        &mut self,
        context: u32,
        direction: Direction,
        timer: Option<TimerId>,
    ) -> bool {
        match self {
            Self::Possible => direction == Direction::Response,
            Self::Trying(_) | Self::Impossible => false,
            Self::Unknown => {
                let continued_ns = None;
                *self = Self::Trying(Trial { context, direction, timer, ticks: 0, continued_ns });
                true
            }
        }
    }

    /// The first part of the body of the tried message arrived. `now_ns` is the host's clock.
    pub(crate) fn body_arrived(
        &mut self,
        context: u32,
        now_ns: impl FnOnce() -> Option<u64>,
    ) -> Finding {
        let Self::Trying(trial) = self else { return Finding::Nothing };
        if trial.context != context {
            return Finding::Nothing;
        }
        let Some(continued_ns) = trial.continued_ns else {
            *self = Self::Possible;
            return Finding::Possible;
        };
        let passed_ns = now_ns().and_then(|now| now.checked_sub(continued_ns));
        if passed_ns.is_some_and(|passed| passed <= AT_ONCE_NS) {
            *self = Self::Impossible;
            return Finding::Impossible;
        }
        *self = Self::Unknown;
        Finding::Nothing
    }

    /// A part of a body arrived while the filter held its headers, for another purpose than a trial.
    pub(crate) fn body_arrived_while_held(&mut self) {
        // A tried message has to be continued first.
        if matches!(self, Self::Unknown) {
            *self = Self::Possible;
        }
    }

    pub(crate) fn is_possible(&self) -> bool {
        matches!(self, Self::Possible)
    }

    pub(crate) fn is_impossible(&self) -> bool {
        matches!(self, Self::Impossible)
    }

    /// Whether a message is tried. If not, ticks have nothing to do.
    pub(crate) fn is_trying(&self) -> bool {
        matches!(self, Self::Trying(_))
    }

    /// A tick. Returns the message to continue, if it has been held for one refresh.
    pub(crate) fn tick(
        &mut self,
        now_ns: Option<u64>,
        ticks_per_refresh: u64,
    ) -> Option<(u32, Direction, Option<TimerId>)> {
        let Self::Trying(trial) = self else { return None };
        if trial.continued_ns.is_some() {
            *self = Self::Unknown;
            return None;
        }
        trial.ticks += 1;
        if trial.ticks < ticks_per_refresh {
            return None;
        }
        let message = (trial.context, trial.direction, trial.timer);
        match now_ns {
            Some(_) => trial.continued_ns = now_ns,
            None => *self = Self::Unknown,
        }
        Some(message)
    }

    /// A stream has ended.
    pub(crate) fn stream_ended(&mut self, context: u32) {
        if matches!(self, Self::Trying(trial) if trial.context == context) {
            *self = Self::Unknown;
        }
    }
}
