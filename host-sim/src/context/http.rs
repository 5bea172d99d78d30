//! An HTTP exchange: its two directions, and which of its maps and bodies the guest can access.

use std::time::Duration;

use crate::abi::MapType;
use crate::details::ResponseDetails;
use crate::effect::Direction;
use crate::flow::Flow;
use crate::headers::HeaderMap;
use crate::local_reply::RequestKind;
use crate::options::StreamInfo;

/// An HTTP exchange.
#[derive(Debug, Default)]
pub(crate) struct Http {
    pub(crate) info: StreamInfo,
    /// When the stream was opened, as time since the epoch.
    pub(crate) opened: Duration,
    pub(crate) request: Flow,
    pub(crate) response: Flow,
    pub(crate) request_kind: RequestKind,
    /// The forwarded maps, for `on_log`: request headers, request trailers, response headers,
    /// response trailers.
    pub(crate) logged: [HeaderMap; 4],
    pub(crate) details: Option<ResponseDetails>,
    /// The status of the response, once it has arrived.
    pub(crate) status: Option<u32>,
    /// Whether the final callbacks have begun.
    pub(crate) closing: bool,
    /// Whether the guest can read the maps in `logged`.
    pub(crate) shows_logged_maps: bool,
    /// Whether the last callback for headers or body, of either direction, announced the end.
    pub(crate) end_of_stream: bool,
    /// The maps of `logged` that the guest can still change, without an effect, because something
    /// else than their own callback continued them.
    pub(crate) continued: [bool; 4],
    /// Whether the request ends only after the first callback of a local reply.
    pub(crate) request_outlives_reply: bool,
    /// Whether the guest has continued the request, which ends its access to the maps.
    pub(crate) request_continued: bool,
    /// As `continued`, for the bodies of request and response.
    pub(crate) continued_bodies: [Option<Vec<u8>>; 2],
    /// Whether the stream is reset in both directions.
    pub(crate) reset: bool,
}

impl Http {
    pub(crate) fn flow(&mut self, direction: Direction) -> &mut Flow {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Response => &mut self.response,
        }
    }

    pub(crate) fn add_details(&mut self, details: ResponseDetails) {
        self.details = Some(details.merge(self.details.take()));
    }

    /// The map, if it is not forwarded yet.
    pub(crate) fn open_map(&self, kind: MapType) -> Option<&HeaderMap> {
        match kind {
            MapType::HttpRequestHeaders | MapType::HttpRequestTrailers
                if self.request_continued =>
            {
                None
            }
            MapType::HttpRequestHeaders => self.request.headers(),
            MapType::HttpRequestTrailers => {
                self.request.trailers().or_else(|| self.continued_map(1))
            }
            MapType::HttpResponseHeaders => {
                self.response.headers().or_else(|| self.continued_map(2))
            }
            MapType::HttpResponseTrailers => {
                self.response.trailers().or_else(|| self.continued_map(3))
            }
            _ => None,
        }
    }

    fn continued_map(&self, index: usize) -> Option<&HeaderMap> {
        self.continued[index].then_some(&self.logged[index])
    }

    /// The map, if the guest can change it now. At the end of a body, this adds trailers.
    pub(crate) fn map_mut(&mut self, kind: MapType, end_is_shared: bool) -> Option<&mut HeaderMap> {
        let end = end_is_shared.then_some(self.end_of_stream);
        let (direction, is_trailers) = match kind {
            MapType::HttpRequestHeaders => (Direction::Request, false),
            MapType::HttpRequestTrailers => (Direction::Request, true),
            MapType::HttpResponseHeaders => (Direction::Response, false),
            MapType::HttpResponseTrailers => (Direction::Response, true),
            _ => return None,
        };
        if direction == Direction::Request && self.request_continued {
            return None;
        }
        let index = direction.headers_index() + usize::from(is_trailers);
        let Self { request, response, logged, continued, continued_bodies, .. } = self;
        let flow = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        // Envoy adds trailers also to a message that it has sent, and replaces those that it had.
        let adds = is_trailers && end == Some(true) && continued_bodies[index / 2].is_some();
        if adds && !std::mem::replace(&mut continued[index], true) {
            logged[index].clear();
        }
        if continued[index] {
            return Some(&mut logged[index]);
        }
        match is_trailers {
            false => flow.headers_mut(),
            true if flow.trailers().is_some() => flow.trailers_mut(),
            true => flow.insert_trailers(end),
        }
    }

    /// Keeps what the guest can access although it is forwarded now: the body and, with `maps`, the
    /// headers and trailers of a response.
    pub(crate) fn keep_access(&mut self, direction: Direction, maps: bool) {
        let index = direction.headers_index();
        let flow = self.flow(direction);
        let (headers, trailers) = (flow.headers().is_some(), flow.trailers().is_some());
        let body = flow.kept_body();
        if maps && direction == Direction::Response {
            self.continued[index] |= headers;
            self.continued[index + 1] |= trailers;
        }
        if body.is_some() {
            self.continued_bodies[index / 2] = body;
        }
    }

    /// The body, if the guest can read it now.
    pub(crate) fn open_body(&self, direction: Direction) -> Option<&[u8]> {
        let [request, response] = &self.continued_bodies;
        match direction {
            Direction::Request => self.request.body().or(request.as_deref()),
            Direction::Response => self.response.body().or(response.as_deref()),
        }
    }

    /// The body, if the guest can change it now.
    pub(crate) fn open_body_mut(&mut self, direction: Direction) -> Option<&mut Vec<u8>> {
        let [request, response] = &mut self.continued_bodies;
        match direction {
            Direction::Request => self.request.body_mut().or(request.as_mut()),
            Direction::Response => self.response.body_mut().or(response.as_mut()),
        }
    }

    /// The request headers for properties: available until they are forwarded, and again when
    /// [`shows_logged_maps`](Self::shows_logged_maps) is set.
    pub(crate) fn request_headers(&self) -> Option<&HeaderMap> {
        self.open_map(MapType::HttpRequestHeaders).or_else(|| self.logged_map(0))
    }

    /// The response headers for properties; see [`request_headers`](Self::request_headers).
    pub(crate) fn response_headers(&self) -> Option<&HeaderMap> {
        self.open_map(MapType::HttpResponseHeaders).or_else(|| self.logged_map(2))
    }

    /// The response trailers for properties; see [`request_headers`](Self::request_headers).
    pub(crate) fn response_trailers(&self) -> Option<&HeaderMap> {
        self.open_map(MapType::HttpResponseTrailers).or_else(|| self.logged_map(3))
    }

    fn logged_map(&self, index: usize) -> Option<&HeaderMap> {
        Some(&self.logged[index]).filter(|map| self.shows_logged_maps && !map.is_empty())
    }

    /// Discards one direction. `on_log` still sees its headers and trailers.
    pub(crate) fn discard(&mut self, direction: Direction) {
        let Self { request, response, logged, .. } = self;
        let flow = match direction {
            Direction::Request => request,
            Direction::Response => response,
        };
        if let Some(trailers) = flow.unsent_trailers() {
            logged[direction.headers_index() + 1].clone_from(trailers);
        }
        if let Some(headers) = flow.discard() {
            logged[direction.headers_index()].clone_from(headers);
        }
    }

    /// The bytes of headers, bodies and trailers that the exchange keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        let logged: usize = self.logged.iter().map(HeaderMap::serialized_len).sum();
        let bodies: usize = self.continued_bodies.iter().flatten().map(Vec::len).sum();
        self.request.kept_bytes() + self.response.kept_bytes() + logged + bodies
    }

    /// Prepares the exchange for a new stream and keeps its allocations.
    pub(super) fn reopen(&mut self, info: StreamInfo, opened: Duration) {
        self.info = info;
        self.opened = opened;
        self.request.reset();
        self.response.reset();
        self.request_kind = RequestKind::default();
        self.logged.iter_mut().for_each(HeaderMap::clear);
        (self.details, self.status) = (None, None);
        (self.closing, self.shows_logged_maps, self.reset) = (false, false, false);
        (self.end_of_stream, self.request_continued) = (false, false);
        self.request_outlives_reply = false;
        self.continued = [false; 4];
        self.continued_bodies = [None, None];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a guest could keep a body in each stream beyond the limit of its VM.
    #[test]
    fn bodies_that_the_guest_keeps_after_continuing_are_counted() {
        let mut http = Http::default();
        http.response.on_headers(HeaderMap::new(), false);
        http.response.pause(false);
        http.response.on_body(b"one", false);
        http.keep_access(Direction::Response, true);
        http.response.forward(|_| {});
        assert_eq!(http.kept_bytes(), 0);
        let body = http.open_body_mut(Direction::Response);
        body.expect("the guest keeps its access").extend_from_slice(b"four");
        assert_eq!(http.kept_bytes(), 4);
    }
}
