//! One direction of an exchange: its state between arrival and forwarding.
//!
//! A [`Flow`] decides which callback comes next and what may be forwarded, without calling the
//! guest itself. Nothing is forwarded while the guest pauses the flow. Parts are forwarded in
//! order, and once.

use crate::effect::Part;
use crate::headers::HeaderMap;

/// The next callback of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callback {
    Headers { count: u32, end: bool },
    Body { size: u32, end: bool },
    Trailers { count: u32 },
}

/// The capacity, in bytes, up to which `reset` keeps the allocation of a body.
const KEPT_BYTES: usize = 64 << 10;

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Headers that are not forwarded yet.
    headers: Option<HeaderMap>,
    /// Body that the guest has received and that is not forwarded yet.
    body: Vec<u8>,
    /// Trailers that are not forwarded yet.
    trailers: Option<HeaderMap>,
    /// Body that the guest has not received yet.
    incoming: Vec<u8>,
    /// Whether a chunk, possibly empty, is waiting for its callback.
    chunk_waits: bool,
    incoming_end: bool,
    incoming_trailers: Option<HeaderMap>,
    /// Bytes of body that arrived.
    received: u64,
    /// Bytes of body that were forwarded.
    forwarded: u64,
    /// Whether headers arrived.
    started: bool,
    headers_left: bool,
    /// Whether a callback has announced the end of the message.
    end_announced: bool,
    /// Whether the end is forwarded, or the flow is discarded.
    finished: bool,
    paused: bool,
    /// Whether no callbacks are made until the guest continues the flow.
    stopped: bool,
    /// Whether the callbacks are those for what arrived while the flow was stopped.
    catching_up: bool,
    /// Whether the body is not forwarded.
    body_lost: bool,
    /// Whether the guest can access the body.
    body_open: bool,
}

impl Flow {
    /// Prepares the flow for the next exchange. Keeps allocations that are not unusually large.
    pub(crate) fn reset(&mut self) {
        let [body, incoming] = [&mut self.body, &mut self.incoming].map(|bytes| {
            let mut bytes = std::mem::take(bytes);
            bytes.clear();
            if bytes.capacity() > KEPT_BYTES { Vec::new() } else { bytes }
        });
        *self = Flow { body, incoming, ..Flow::default() };
    }

    /// Forwards nothing more, and accepts nothing more. The guest can still read and change what
    /// it has received and what was not forwarded. Returns the headers if they were not forwarded.
    pub(crate) fn discard(&mut self) -> Option<&HeaderMap> {
        if self.finished {
            // The common case: the whole message is forwarded.
            return None;
        }
        self.incoming.clear();
        (self.chunk_waits, self.incoming_end, self.incoming_trailers) = (false, false, None);
        (self.started, self.finished) = (true, true);
        self.headers.as_ref()
    }

    /// The bytes that are not forwarded yet.
    pub(crate) fn kept_bytes(&self) -> usize {
        let maps = [&self.headers, &self.trailers, &self.incoming_trailers];
        let maps: usize = maps.into_iter().flatten().map(HeaderMap::serialized_len).sum();
        maps + self.body.len() + self.incoming.len()
    }

    pub(crate) fn started(&self) -> bool {
        self.started
    }

    pub(crate) fn headers_left(&self) -> bool {
        self.headers_left
    }

    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn forwarded(&self) -> u64 {
        self.forwarded
    }

    /// Accepts the headers. Ignores them if headers arrived before.
    pub(crate) fn on_headers(&mut self, map: HeaderMap, end: bool) -> Option<Callback> {
        if self.started {
            return None;
        }
        self.started = true;
        self.end_announced = end;
        let count = map.len() as u32;
        self.headers = Some(map);
        Some(Callback::Headers { count, end })
    }

    /// Accepts a chunk of the body.
    pub(crate) fn on_body(&mut self, bytes: &[u8], end: bool) -> Option<Callback> {
        if !self.accepts() {
            return None;
        }
        self.received += bytes.len() as u64;
        self.catching_up = false;
        self.incoming.extend_from_slice(bytes);
        self.chunk_waits = true;
        self.incoming_end = end;
        self.next_callback()
    }

    /// Accepts the trailers.
    pub(crate) fn on_trailers(&mut self, map: HeaderMap) -> Option<Callback> {
        if !self.accepts() {
            return None;
        }
        self.incoming_trailers = Some(map);
        self.catching_up = false;
        self.next_callback()
    }

    pub(crate) fn next_callback(&mut self) -> Option<Callback> {
        if self.stopped || self.finished {
            return None;
        }
        if std::mem::take(&mut self.chunk_waits) {
            if self.body.is_empty() {
                std::mem::swap(&mut self.body, &mut self.incoming);
            } else {
                self.body.append(&mut self.incoming);
            }
            self.body_open = true;
            self.end_announced = std::mem::take(&mut self.incoming_end);
            return Some(Callback::Body { size: self.body.len() as u32, end: self.end_announced });
        }
        let trailers = self.incoming_trailers.take()?;
        let count = trailers.len() as u32;
        self.trailers = Some(trailers);
        self.end_announced = true;
        Some(Callback::Trailers { count })
    }

    /// Continues the flow: forwards everything that the guest has received.
    pub(crate) fn forward(&mut self, mut out: impl FnMut(Part)) {
        self.catching_up |= self.stopped;
        (self.paused, self.stopped, self.body_open) = (false, false, false);
        if std::mem::take(&mut self.body_lost) {
            self.body.clear();
        }
        if self.finished || !self.started {
            return;
        }
        // Empty trailers are not forwarded; the message ends without them.
        let trailers = self.trailers.take().filter(|map| !map.is_empty());
        let ends_before_trailers = self.end_announced && trailers.is_none();
        if let Some(map) = self.headers.take() {
            self.headers_left = true;
            let end = ends_before_trailers && self.body.is_empty();
            self.finished = end;
            out(Part::Headers { map, end });
        }
        if !self.body.is_empty() || (ends_before_trailers && !self.finished) {
            self.finished = ends_before_trailers;
            self.forwarded += self.body.len() as u64;
            out(Part::Body { bytes: std::mem::take(&mut self.body), end: ends_before_trailers });
        }
        if let Some(map) = trailers {
            self.finished = true;
            out(Part::Trailers(map));
        }
    }

    /// Pauses the flow. With `stop`, no callbacks are made until the guest continues it.
    pub(crate) fn pause(&mut self, stop: bool) {
        self.paused = true;
        self.stopped |= stop;
    }

    /// The body that the guest keeps when it is forwarded now: nothing, or all of a body that is not
    /// forwarded. `None` if the guest has no access to it.
    pub(crate) fn kept_body(&self) -> Option<Vec<u8>> {
        let lost = if self.body_lost { &self.body[..] } else { &[] };
        self.body().map(|_| lost.to_vec())
    }

    /// Returns whether the guest added trailers to a body that arrived while the headers were
    /// paused; then they get a callback of their own.
    pub(crate) fn receive_added_trailers(&mut self) -> bool {
        let receives = self.catching_up && self.trailers.is_some();
        if receives {
            self.incoming_trailers = self.trailers.take();
            self.end_announced = false;
        }
        receives
    }

    /// Forwards nothing of the body that the guest has received.
    pub(crate) fn lose_body(&mut self) {
        self.body_lost = true;
    }

    /// Loses a paused body when the guest continues the trailers, if body and trailers arrived while
    /// the headers were paused. Returns the callback for the trailers, which is repeated then.
    pub(crate) fn repeat_trailers(&mut self) -> Option<Callback> {
        if !(self.catching_up && self.paused) {
            return None;
        }
        self.catching_up = false;
        self.lose_body();
        let count = self.trailers.as_ref()?.len() as u32;
        Some(Callback::Trailers { count })
    }

    pub(crate) fn paused(&self) -> bool {
        self.paused
    }

    /// Bytes of body that the guest has received and that are not forwarded yet.
    pub(crate) fn buffered(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.headers.as_ref()
    }

    pub(crate) fn headers_mut(&mut self) -> Option<&mut HeaderMap> {
        self.headers.as_mut()
    }

    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The trailers, whether the guest has received them or not.
    pub(crate) fn unsent_trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref().or(self.incoming_trailers.as_ref())
    }

    pub(crate) fn trailers_mut(&mut self) -> Option<&mut HeaderMap> {
        self.trailers.as_mut()
    }

    /// Adds trailers to a message without trailers while the guest can access the end of its body.
    /// `end` replaces what the flow knows of the end.
    pub(crate) fn insert_trailers(&mut self, end: Option<bool>) -> Option<&mut HeaderMap> {
        let may_insert = self.body_open && end.unwrap_or(self.end_announced);
        may_insert.then(|| self.trailers.get_or_insert_default())
    }

    pub(crate) fn body(&self) -> Option<&[u8]> {
        self.body_open.then_some(&self.body)
    }

    pub(crate) fn body_mut(&mut self) -> Option<&mut Vec<u8>> {
        self.body_open.then_some(&mut self.body)
    }

    /// Whether more of the message may arrive.
    fn accepts(&self) -> bool {
        self.started
            && !self.finished
            && !self.incoming_end
            && self.incoming_trailers.is_none()
            && !self.end_announced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        [("a", "1")].into_iter().collect()
    }

    fn forwarded(flow: &mut Flow) -> Vec<Part> {
        let mut parts = Vec::new();
        flow.forward(|part| parts.push(part));
        parts
    }

    fn body(text: &str, end: bool) -> Part {
        Part::Body { bytes: text.into(), end }
    }

    #[test]
    fn chunks_pass_unchanged() {
        let mut flow = Flow::default();
        let callback = flow.on_headers(headers(), false);
        assert_eq!(callback, Some(Callback::Headers { count: 1, end: false }));
        assert_eq!(forwarded(&mut flow), [Part::Headers { map: headers(), end: false }]);
        assert_eq!(flow.on_body(b"one", false), Some(Callback::Body { size: 3, end: false }));
        assert_eq!(forwarded(&mut flow), [body("one", false)]);
        assert_eq!(flow.on_body(b"", true), Some(Callback::Body { size: 0, end: true }));
        assert_eq!(forwarded(&mut flow), [body("", true)]);
        assert_eq!(flow.on_body(b"late", true), None, "the message has ended");
    }

    #[test]
    fn paused_body_is_merged_and_forwarded_as_one_chunk() {
        let mut flow = Flow::default();
        flow.on_headers(headers(), false);
        forwarded(&mut flow);
        flow.on_body(b"one", false);
        flow.pause(false);
        assert_eq!(flow.on_body(b"two", false), Some(Callback::Body { size: 6, end: false }));
        flow.pause(false);
        assert_eq!(flow.on_body(b"", true), Some(Callback::Body { size: 6, end: true }));
        assert_eq!(forwarded(&mut flow), [body("onetwo", true)]);
    }

    #[test]
    fn continuing_at_the_trailers_forwards_the_paused_body_first() {
        let mut flow = Flow::default();
        flow.on_headers(headers(), false);
        flow.pause(false);
        flow.on_body(b"one", false);
        flow.pause(false);
        assert_eq!(flow.on_trailers(headers()), Some(Callback::Trailers { count: 1 }));
        assert_eq!(
            forwarded(&mut flow),
            [
                Part::Headers { map: headers(), end: false },
                body("one", false),
                Part::Trailers(headers())
            ]
        );
        assert!(flow.finished());
    }

    #[test]
    fn stopped_flow_makes_no_callbacks_until_it_continues() {
        let mut flow = Flow::default();
        flow.on_headers(headers(), false);
        flow.pause(true);
        assert_eq!(flow.on_body(b"one", false), None);
        assert_eq!(flow.on_body(b"two", true), None);
        assert_eq!(forwarded(&mut flow), [Part::Headers { map: headers(), end: false }]);
        assert_eq!(flow.next_callback(), Some(Callback::Body { size: 6, end: true }));
        assert_eq!(forwarded(&mut flow), [body("onetwo", true)]);
    }

    #[test]
    fn trailers_added_at_the_end_of_a_body_follow_it() {
        let mut flow = Flow::default();
        flow.on_headers(headers(), false);
        forwarded(&mut flow);
        flow.on_body(b"one", true);
        *flow.insert_trailers(None).unwrap() = headers();
        assert_eq!(forwarded(&mut flow), [body("one", false), Part::Trailers(headers())]);
    }

    #[test]
    fn discarded_flow_accepts_and_forwards_nothing() {
        let mut flow = Flow::default();
        flow.on_headers(headers(), false);
        flow.pause(false);
        flow.discard();
        assert_eq!(flow.on_body(b"one", true), None);
        assert_eq!(forwarded(&mut flow), []);
    }
}
