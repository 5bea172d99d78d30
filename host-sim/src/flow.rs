//! One direction of one exchange: what has arrived, what the guest was asked, what is held.
//!
//! Pausing and continuing is decided here, without a guest at hand: a flow takes what arrives, says
//! what the guest must be asked next, takes the answer and gives back what may leave. Nothing leaves
//! while the guest holds it, and what leaves, leaves once and in order.

use crate::effect::Part;
use crate::headers::HeaderMap;

/// What the guest must be asked next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Headers { count: u32, end: bool },
    Body { size: u32, end: bool },
    Trailers { count: u32 },
}

/// Bytes of memory that a flow keeps for the next exchange.
const KEPT_BYTES: usize = 64 << 10;

/// One direction of an exchange.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Headers that the guest can see and that have not left.
    headers: Option<HeaderMap>,
    /// Body that the guest has seen and that has not left.
    body: Vec<u8>,
    /// Trailers that the guest can see and that have not left.
    trailers: Option<HeaderMap>,
    /// Body that has arrived and that the guest has not seen.
    incoming: Vec<u8>,
    /// A piece has arrived, which may be empty, that the guest has not seen.
    incoming_piece: bool,
    incoming_end: bool,
    incoming_trailers: Option<HeaderMap>,
    /// Bytes of body that have arrived.
    received: u64,
    /// Headers have arrived.
    started: bool,
    /// Headers have left.
    headers_left: bool,
    /// The guest has been told that nothing follows.
    told_end: bool,
    /// The end has left, or nothing may leave any more.
    finished: bool,
    paused: bool,
    /// Paused in such a way that the guest is not asked about what follows.
    stopped: bool,
    /// The guest was asked about a body that has not left.
    body_open: bool,
}

impl Flow {
    /// Back to the beginning. Memory is kept, unless it is more than most bodies need.
    pub(crate) fn reset(&mut self) {
        let [body, incoming] = [&mut self.body, &mut self.incoming].map(|bytes| {
            let mut bytes = std::mem::take(bytes);
            bytes.clear();
            if bytes.capacity() > KEPT_BYTES { Vec::new() } else { bytes }
        });
        *self = Flow { body, incoming, ..Flow::default() };
    }

    /// Nothing that is held leaves any more, and nothing that arrives is looked at. Gives back headers
    /// that were held.
    pub(crate) fn abandon(&mut self) -> Option<HeaderMap> {
        if self.finished {
            // Everything has left; most exchanges end this way.
            return None;
        }
        let (headers, received) = (self.headers.take(), self.received);
        self.reset();
        (self.received, self.started, self.finished) = (received, true, true);
        headers
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

    /// Headers arrived. A second time, or after the end, they are ignored.
    pub(crate) fn headers(&mut self, map: HeaderMap, end: bool) -> Option<Ask> {
        if self.started {
            return None;
        }
        self.started = true;
        self.told_end = end;
        let count = map.len() as u32;
        self.headers = Some(map);
        Some(Ask::Headers { count, end })
    }

    /// A piece of body arrived.
    pub(crate) fn body(&mut self, bytes: &[u8], end: bool) -> Option<Ask> {
        if !self.open() {
            return None;
        }
        self.received += bytes.len() as u64;
        self.incoming.extend_from_slice(bytes);
        self.incoming_piece = true;
        self.incoming_end = end;
        self.next()
    }

    /// Trailers arrived.
    pub(crate) fn trailers(&mut self, map: HeaderMap) -> Option<Ask> {
        if !self.open() {
            return None;
        }
        self.incoming_trailers = Some(map);
        self.next()
    }

    /// What the guest must be asked about next, if anything.
    pub(crate) fn next(&mut self) -> Option<Ask> {
        if self.stopped || self.finished {
            return None;
        }
        if std::mem::take(&mut self.incoming_piece) {
            if self.body.is_empty() {
                std::mem::swap(&mut self.body, &mut self.incoming);
            } else {
                self.body.append(&mut self.incoming);
            }
            self.body_open = true;
            self.told_end = std::mem::take(&mut self.incoming_end);
            return Some(Ask::Body { size: self.body.len() as u32, end: self.told_end });
        }
        let trailers = self.incoming_trailers.take()?;
        let count = trailers.len() as u32;
        self.trailers = Some(trailers);
        self.told_end = true;
        Some(Ask::Trailers { count })
    }

    /// The guest lets go of everything it has seen.
    pub(crate) fn release(&mut self, mut out: impl FnMut(Part)) {
        (self.paused, self.stopped, self.body_open) = (false, false, false);
        if self.finished || !self.started {
            return;
        }
        // Trailers that hold nothing say no more than the end itself.
        let trailers = self.trailers.take().filter(|map| !map.is_empty());
        let ends_before_trailers = self.told_end && trailers.is_none();
        if let Some(map) = self.headers.take() {
            self.headers_left = true;
            let end = ends_before_trailers && self.body.is_empty();
            self.finished = end;
            out(Part::Headers { map, end });
        }
        if !self.body.is_empty() || (ends_before_trailers && !self.finished) {
            self.finished = ends_before_trailers;
            out(Part::Body { bytes: std::mem::take(&mut self.body), end: ends_before_trailers });
        }
        if let Some(map) = trailers {
            self.finished = true;
            out(Part::Trailers(map));
        }
    }

    /// The guest holds what it was asked about; with `stop` it is not asked about what follows.
    pub(crate) fn hold(&mut self, stop: bool) {
        self.paused = true;
        self.stopped |= stop;
    }

    pub(crate) fn paused(&self) -> bool {
        self.paused
    }

    /// Bytes of body that the guest holds or is asked to decide about.
    pub(crate) fn held(&self) -> usize {
        self.body.len()
    }

    /// The headers, while they can be read and changed.
    pub(crate) fn open_headers(&mut self) -> Option<&mut HeaderMap> {
        self.headers.as_mut()
    }

    /// The headers, while they have not left.
    pub(crate) fn peek_headers(&self) -> Option<&HeaderMap> {
        self.headers.as_ref()
    }

    /// The trailers, while they can be read.
    pub(crate) fn peek_trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// The body, while it can be read.
    pub(crate) fn peek_body(&self) -> Option<&[u8]> {
        self.body_open.then_some(&self.body)
    }

    /// The trailers, while they can be read and changed.
    pub(crate) fn open_trailers(&mut self) -> Option<&mut HeaderMap> {
        self.trailers.as_mut()
    }

    /// The trailers, or new ones for a message that has none where it is about to end.
    pub(crate) fn trailers_to_write(&mut self) -> Option<&mut HeaderMap> {
        if self.body_open && self.told_end {
            return Some(self.trailers.get_or_insert_default());
        }
        self.trailers.as_mut()
    }

    /// The body, while it can be read and changed.
    pub(crate) fn open_body(&mut self) -> Option<&mut Vec<u8>> {
        self.body_open.then_some(&mut self.body)
    }

    /// Whether anything may still arrive.
    fn open(&self) -> bool {
        self.started
            && !self.finished
            && !self.incoming_end
            && self.incoming_trailers.is_none()
            && !self.told_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        [("a", "1")].into_iter().collect()
    }

    fn released(flow: &mut Flow) -> Vec<Part> {
        let mut parts = Vec::new();
        flow.release(|part| parts.push(part));
        parts
    }

    fn body(text: &str, end: bool) -> Part {
        Part::Body { bytes: text.into(), end }
    }

    #[test]
    fn what_is_let_go_at_once_leaves_as_it_came() {
        let mut flow = Flow::default();
        assert_eq!(flow.headers(headers(), false), Some(Ask::Headers { count: 1, end: false }));
        assert_eq!(released(&mut flow), [Part::Headers { map: headers(), end: false }]);
        assert_eq!(flow.body(b"one", false), Some(Ask::Body { size: 3, end: false }));
        assert_eq!(released(&mut flow), [body("one", false)]);
        assert_eq!(flow.body(b"", true), Some(Ask::Body { size: 0, end: true }));
        assert_eq!(released(&mut flow), [body("", true)]);
        assert_eq!(flow.body(b"late", true), None, "nothing follows the end");
    }

    #[test]
    fn a_held_body_is_shown_whole_and_leaves_as_one() {
        let mut flow = Flow::default();
        flow.headers(headers(), false);
        released(&mut flow);
        flow.body(b"one", false);
        flow.hold(false);
        assert_eq!(flow.body(b"two", false), Some(Ask::Body { size: 6, end: false }));
        flow.hold(false);
        assert_eq!(flow.body(b"", true), Some(Ask::Body { size: 6, end: true }));
        assert_eq!(released(&mut flow), [body("onetwo", true)]);
    }

    #[test]
    fn trailers_that_are_let_go_release_the_body_before_them() {
        let mut flow = Flow::default();
        flow.headers(headers(), false);
        flow.hold(false);
        flow.body(b"one", false);
        flow.hold(false);
        assert_eq!(flow.trailers(headers()), Some(Ask::Trailers { count: 1 }));
        assert_eq!(
            released(&mut flow),
            [
                Part::Headers { map: headers(), end: false },
                body("one", false),
                Part::Trailers(headers())
            ]
        );
        assert!(flow.finished());
    }

    #[test]
    fn behind_headers_that_stop_everything_nothing_is_asked_until_they_leave() {
        let mut flow = Flow::default();
        flow.headers(headers(), false);
        flow.hold(true);
        assert_eq!(flow.body(b"one", false), None);
        assert_eq!(flow.body(b"two", true), None);
        assert_eq!(released(&mut flow), [Part::Headers { map: headers(), end: false }]);
        assert_eq!(flow.next(), Some(Ask::Body { size: 6, end: true }));
        assert_eq!(released(&mut flow), [body("onetwo", true)]);
    }

    #[test]
    fn trailers_made_up_at_the_end_of_a_body_follow_it() {
        let mut flow = Flow::default();
        flow.headers(headers(), false);
        released(&mut flow);
        flow.body(b"one", true);
        *flow.trailers_to_write().unwrap() = headers();
        assert_eq!(released(&mut flow), [body("one", false), Part::Trailers(headers())]);
    }

    #[test]
    fn an_abandoned_flow_neither_takes_nor_gives() {
        let mut flow = Flow::default();
        flow.headers(headers(), false);
        flow.hold(false);
        flow.abandon();
        assert_eq!(flow.body(b"one", true), None);
        assert_eq!(released(&mut flow), []);
    }
}
