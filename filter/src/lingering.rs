//! Replies that wait for the rest of an upload, as nginx's `lingering_close` does it.
//!
//! A client that writes its whole body before it reads loses a reply that comes earlier: the proxy
//! closes the connection with unread bytes, which resets it, and the client's system then discards
//! the reply. So the filter receives the rest, discards it, and replies at its end.

use crate::config::{LingeringSpec, Span};
use crate::reply::LocalReply;

/// How much of an upload is received after the filter has refused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lingering {
    /// The most bytes.
    pub max_bytes: u64,
    /// The longest time.
    pub timeout: Span,
}

impl Lingering {
    const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
    /// The default of nginx's `lingering_time`.
    const DEFAULT_TIMEOUT: Span = Span::from_millis(30_000);

    pub(crate) fn new(spec: &LingeringSpec) -> Self {
        Self {
            max_bytes: spec.max_bytes.map_or(Self::DEFAULT_MAX_BYTES, |bytes| bytes.value()),
            timeout: spec.timeout.map_or(Self::DEFAULT_TIMEOUT, |timeout| timeout.span()),
        }
    }
}

/// The replies of a VM that wait for a body.
#[derive(Debug, Default)]
pub(crate) struct WaitingReplies(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    context: u32,
    /// In milliseconds since the Unix epoch.
    since_ms: u64,
    longest_ms: u64,
    reply: LocalReply,
}

impl WaitingReplies {
    /// Sends `reply` to the stream `context` after this time, unless it is taken before.
    pub(crate) fn add(&mut self, context: u32, now_ms: u64, longest_ms: u64, reply: LocalReply) {
        self.0.push(Waiting { context, since_ms: now_ms, longest_ms, reply });
    }

    /// Changes the time after which the reply is sent.
    pub(crate) fn extend(&mut self, context: u32, longest_ms: u64) {
        let waiting = self.0.iter_mut().find(|waiting| waiting.context == context);
        if let Some(waiting) = waiting {
            waiting.longest_ms = longest_ms;
        }
    }

    /// Removes and returns the reply to a stream.
    pub(crate) fn take(&mut self, context: u32) -> Option<LocalReply> {
        let position = self.0.iter().position(|waiting| waiting.context == context)?;
        Some(self.0.swap_remove(position).reply)
    }

    /// Removes and returns the replies that have waited for too long, at most `limit` of them.
    pub(crate) fn expire(&mut self, now_ms: u64, limit: usize) -> Vec<(u32, LocalReply)> {
        let is_expired =
            |waiting: &mut Waiting| now_ms.abs_diff(waiting.since_ms) > waiting.longest_ms;
        let expired = self.0.extract_if(.., is_expired).take(limit);
        expired.map(|waiting| (waiting.context, waiting.reply)).collect()
    }
}
