//! The timeouts of whole streams, which the connection manager applies: without a byte in either
//! direction, for the request, and for the stream.

use crate::replay::error::ReplayError;
use crate::replay::failure::Failure;
use crate::trace::EndedBy;

use super::Engine;

impl Engine<'_> {
    /// Starts the timeouts of an exchange whose request headers arrive now.
    pub(super) fn start_stream_timeouts(&mut self, slot: u32) {
        let now = self.now;
        let Some(settings) = &self.settings else { return };
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return };
        exchange.idle_timeout = settings.idle_timeout();
        exchange.request_deadline = settings.request_timeout.map(|timeout| now + timeout);
        exchange.stream_deadline = settings.max_stream_duration.map(|timeout| now + timeout);
    }

    /// Restarts the idle timeout: a part passes in either direction.
    pub(super) fn restart_idle_timeout(&mut self, slot: u32) {
        let now = self.now;
        if let Some(exchange) = self.exchange(slot) {
            exchange.idle_deadline = exchange.idle_timeout.map(|timeout| now + timeout);
        }
    }

    /// Ends the exchange if one of these timeouts has expired.
    pub(super) fn expire_stream(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        let incomplete = exchange.is_request_incomplete();
        if !incomplete {
            exchange.request_deadline = None;
        }
        let is_due = |at: Option<std::time::Duration>| at.is_some_and(|at| at <= now);
        let failure = if is_due(exchange.request_deadline) {
            Failure::SlowRequest
        } else if is_due(exchange.stream_deadline) {
            Failure::StreamDuration { incomplete }
        } else if is_due(exchange.idle_deadline) {
            Failure::StreamIdle { incomplete }
        } else {
            return Ok(());
        };
        exchange.request_deadline = None;
        exchange.stream_deadline = None;
        (exchange.idle_timeout, exchange.idle_deadline) = (None, None);
        exchange.deadline = None;
        exchange.abandon_attempt();
        match exchange.ended_by {
            Some(_) => self.cut(slot, EndedBy::Proxy, failure),
            None => self.reply(slot, failure, 0),
        }
    }
}
