//! The client's side of the engine: connections, requests, and the responses that clients receive.

use std::rc::Rc;
use std::sync::Arc;

use crate::local_reply::RequestKind;
use crate::proxy_headers;
use crate::replay::admission::{self, Admission, Rejection};
use crate::replay::connections::{Connection, Openings};
use crate::replay::error::ReplayError;
use crate::replay::exchange::{ActiveExchange, Cursor, Spec};
use crate::replay::failure::{CLIENT_DISCONNECT, WRONG_LENGTH};
use crate::replay::framing::Length;
use crate::replay::report::ClosedBy;
use crate::replay::verdict::{self, Facts};
use crate::trace::{ConnectionIndex, EndedBy, Open, Outcome, Protocol, Request, Text};
use crate::{ConnectionInfo, Direction, HeaderMap, Part};

use super::{Engine, header_map};

/// The address to which clients connect.
const DESTINATION: &str = "127.0.0.1:80";

/// The first port of clients whose address the trace does not state, and the number of such ports.
const FIRST_PORT: u64 = 32_768;
const PORTS: u64 = 28_232;

impl Engine<'_> {
    /// Opens a connection with the properties of the trace, or again with those that it had before.
    /// Returns the slot of the connection, which is another one if the proxy is draining this.
    pub(super) fn open_connection(&mut self, mut slot: usize, open: Option<&Open<'_>>) -> usize {
        let workers = self.workers.len();
        let closing = &self.connections[slot];
        if !closing.active.is_empty() {
            let (index, successor) = (closing.index, closing.to_successor());
            let next = self.connections.insert(successor);
            if let Some(openings) = self.openings.get_mut(&index) {
                openings.draining.push(slot);
                openings.current = next;
            }
            slot = next;
        }
        let connection = &mut self.connections[slot];
        if let Some(open) = open {
            connection.describe(open);
        }
        if connection.opening == 0 {
            connection.worker = match open.and_then(|open| open.worker) {
                Some(worker) => worker as usize,
                None => self.rng.usize(0..workers),
            };
        }
        connection.opening += 1;
        connection.opened = self.now;
        connection.draining = false;
        // Each time that a client opens a connection, it gets a new id.
        let id = open.and_then(|open| open.id).unwrap_or(self.next_connection_id);
        self.next_connection_id = self.next_connection_id.max(id.saturating_add(1));
        connection.info = Some(Arc::new(ConnectionInfo {
            id,
            source: match &connection.source {
                None => format!("127.0.0.1:{}", FIRST_PORT + id % PORTS),
                Some(source) => (**source).to_owned(),
            },
            destination: DESTINATION.to_owned(),
            protocol: connection.protocol.name().to_owned(),
            ..ConnectionInfo::default()
        }));
        slot
    }

    /// The slot of a connection of the trace, which is closed if the trace has not used it before.
    /// `own` is whether the connection is for one exchange only.
    pub(super) fn connection(&mut self, index: ConnectionIndex, name: &str, own: bool) -> usize {
        if let Some(openings) = self.openings.get(&index) {
            return openings.current;
        }
        let slot = self.connections.insert(Connection::new(index, name, own));
        if !own {
            self.openings.insert(index, Openings { current: slot, draining: Vec::new() });
        }
        slot
    }

    /// Forgets a closed connection that the trace cannot use again.
    fn release_connection(&mut self, slot: usize) {
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.info.is_some() || !connection.active.is_empty() {
            return;
        }
        if !connection.own {
            let Some(openings) = self.openings.get_mut(&connection.index) else { return };
            if openings.current == slot {
                return;
            }
            openings.draining.retain(|draining| *draining != slot);
        }
        self.connections.remove(slot);
    }

    /// A client sends a request: now, or when the previous exchange of the connection has ended.
    pub(super) fn request(&mut self, spec: Spec) -> Result<(), ReplayError> {
        let exchange = spec.get();
        let own = exchange.connection_name.is_none();
        let mut index = self.connection(exchange.connection, exchange.connection_name(), own);
        let connection = &mut self.connections[index];
        if connection.is_busy() {
            connection.waiting.push_back(spec);
            return Ok(());
        }
        if !connection.is_usable() {
            index = self.open_connection(index, None);
        }
        let (line, request) = (spec.line, spec.request());
        let rules = self.options.profile.rules();
        let connection = &mut self.connections[index];
        let multiplexes = connection.protocol.multiplexes();
        let mut exchange = ActiveExchange::new(
            spec.clone(),
            index,
            self.now,
            connection.worker,
            self.options.hash_bodies,
        );
        exchange.keeps_trailers = multiplexes || !rules.http1_drops_trailers;
        exchange.position = connection.active.len();
        let mut headers = request_headers(request, connection.protocol);
        exchange.request_kind = RequestKind::of(&headers);
        let admitted = admission::admit(
            self.settings.as_ref(),
            connection.protocol,
            connection.source.as_deref().unwrap_or_default(),
            request,
            &mut headers,
            &mut self.request_ids,
        );
        let Admission { upgrade, closes } = *admitted.as_ref().unwrap_or(&Admission::default());
        (exchange.upgrade, exchange.closes_connection) = (upgrade, closes);
        exchange.multiplexes = multiplexes;
        exchange.separate_end = rules.http1_end_is_separate && !multiplexes && !upgrade;
        if !upgrade {
            exchange.upload_length = request_length(request);
        }
        let slot = self.exchanges.insert(Box::new(exchange)) as u32;
        self.connections[index].active.push(slot);
        if request.method.as_deref() == Some("CONNECT") {
            self.warn(Some(line), "CONNECT is simulated as an ordinary request".to_owned());
        }
        if let Err(rejection) = admitted {
            self.reject(slot, &rejection);
            return Ok(());
        }
        self.start_stream_timeouts(slot);
        self.open_stream(slot)?;

        let length = self.exchange(slot).map(|exchange| exchange.upload_length);
        let announces_body = length.is_some_and(Length::is_short);
        let end =
            request.body.is_empty() && request.trailers.is_empty() && !upgrade && !announces_body;
        let now = self.now;
        // A client that requests an upgrade waits for the response.
        if let (false, Some(exchange)) = (end || upgrade, self.exchange(slot)) {
            exchange.upload_at = exchange.next_upload(now);
        }
        self.mark_ready(slot);
        self.request_in(slot, Part::Headers { map: headers, end })?;
        if upgrade && rules.upgrade_sends_empty_chunk {
            self.request_in(slot, Part::Body { bytes: Vec::new(), end: false })?;
        }
        Ok(())
    }

    /// Replies to a request that no filter sees. The caller ends the exchange, because the next
    /// request of the connection may be one of these too.
    fn reject(&mut self, slot: u32, rejection: &Rejection) {
        let rules = self.options.profile.rules();
        let Some(exchange) = self.exchange(slot) else { return };
        exchange.ended_by = Some(EndedBy::Proxy);
        let Rejection::Reply(reply) = rejection else {
            self.ended.push((slot, Outcome::Cut));
            return;
        };
        let request = exchange.spec.request();
        // The client has not sent the rest of its request, or waits for an upgrade.
        let waits = !request.body.is_empty() || request.is_upgrade();
        exchange.closes_connection |= waits || reply.closes;
        let kind = exchange.request_kind;
        let (map, body) = reply.local_reply().message(kind, rules.local_reply_adds_headers);
        let end = body.is_empty();
        self.response_out(slot, Part::Headers { map, end });
        if !end {
            self.response_out(slot, Part::Body { bytes: body, end: true });
        }
    }

    /// The client sends its next chunk, or its trailers.
    pub(super) fn upload(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        let mut bytes = Vec::new();
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        let spec = exchange.spec.clone();
        let request = spec.request();
        let part = if exchange.upload.pause(&request.body).is_some() {
            exchange.upload.advance(&request.body, &mut bytes);
            let exceeds = exchange.upload_length.count(&mut bytes);
            let last = exchange.upload.pause(&request.body).is_none() || exceeds;
            if (exceeds || last && exchange.upload_length.is_short()) && exchange.multiplexes {
                return self.reset_wrong_length(slot);
            }
            let end = last
                && request.trailers.is_empty()
                && !exchange.upgrade
                && !exchange.separate_end
                && !exchange.upload_length.is_short();
            exchange.upload_at = match () {
                () if end => None,
                // The rest of the body is not part of this request.
                () if exceeds => Some(now),
                () => exchange.next_upload(now),
            };
            if exceeds {
                exchange.upload = Cursor::at_end(&request.body);
            }
            Part::Body { bytes, end }
        } else {
            exchange.upload_at = None;
            if exchange.upload_length.is_short() {
                // Over HTTP/1, the proxy waits for the rest.
                return match exchange.multiplexes {
                    true => self.reset_wrong_length(slot),
                    false => Ok(()),
                };
            }
            match exchange.keeps_trailers && !request.trailers.is_empty() {
                true => Part::Trailers(header_map(&request.trailers)),
                // The end of a body of unknown length arrives by itself, also if the proxy drops
                // the trailers.
                false => Part::Body { bytes, end: true },
            }
        };
        self.request_in(slot, part)
    }

    /// Resets a request over HTTP/2 whose body has another length than its headers announce.
    fn reset_wrong_length(&mut self, slot: u32) -> Result<(), ReplayError> {
        self.set_response_details(slot, WRONG_LENGTH);
        if let Some(exchange) = self.exchange(slot) {
            exchange.abandon_attempt();
            exchange.upload_at = None;
            exchange.ended_by = Some(EndedBy::Proxy);
        }
        self.ended.push((slot, Outcome::Cut));
        self.end_exchanges()
    }

    /// The client receives a part of the response.
    pub(super) fn response_out(&mut self, slot: u32, part: Part) {
        self.restart_idle_timeout(slot);
        let (now, clock) = (self.now, self.process.now());
        let adds_headers = self.options.profile.rules().adds_proxy_headers;
        let bridge = self.options.drain_bridge.as_ref().map(|bridge| &*bridge.header);
        let Some(exchange) = self.exchange(slot) else { return };
        let ended = match part {
            Part::Headers { map: mut headers, end } => {
                exchange.client.status =
                    headers.text(":status").and_then(|status| status.parse().ok());
                exchange.client.headers_at = now;
                if adds_headers {
                    let upgraded = exchange.client.status == Some(101);
                    proxy_headers::finish_response(&mut headers, upgraded, clock);
                }
                let announces_close = self.take_close_signal(slot, &mut headers, end);
                if let Some(exchange) = self.exchanges.get_mut(slot as usize) {
                    let worker = &mut self.workers[exchange.worker];
                    if let Some(logged) =
                        worker.logged_headers(exchange.stream, Direction::Response)
                    {
                        show_changes(logged, &headers, bridge);
                    }
                    headers.remove(":status");
                    exchange.client.length = response_length(exchange, &headers);
                    exchange.announces_close = announces_close;
                    exchange.client.headers = headers;
                    if exchange.is_upgraded() {
                        exchange.upload_at = exchange.next_upload(now);
                        self.mark_ready(slot);
                    }
                }
                end
            }
            Part::Body { mut bytes, end } => {
                let exceeds = exchange.client.length.count(&mut bytes);
                exchange.client.excess |= exceeds;
                if (exceeds || (end && exchange.client.length.is_short())) && exchange.multiplexes {
                    // The client resets the stream instead of taking the chunk.
                    bytes.clear();
                }
                if !bytes.is_empty() {
                    exchange.client.body_at.get_or_insert(now);
                    exchange.client.body.add(&bytes);
                }
                if exchange.client.length.is_full() {
                    exchange.client.whole_at.get_or_insert(now);
                }
                end
            }
            Part::Trailers(map) => {
                // A client that resets the stream does not receive them.
                let client = &mut exchange.client;
                if exchange.keeps_trailers && !client.excess && !client.length.is_short() {
                    client.trailers = map;
                }
                true
            }
        };
        let Some(exchange) = self.exchange(slot) else { return };
        let (excess, short) = (exchange.client.excess, ended && exchange.client.length.is_short());
        match exchange.multiplexes {
            // The client of HTTP/2 resets the stream (RFC 9113, section 8.1.1).
            true if excess || short => self.ended.push((slot, Outcome::Cut)),
            // The client of HTTP/1 waits for the rest.
            false if short => self.ended.push((slot, Outcome::Open)),
            _ if ended => self.ended.push((slot, Outcome::Complete)),
            _ => {}
        }
    }

    /// Reads from the response headers whether the connection closes, and removes the headers that
    /// the client does not receive. Returns whether this response announces the close.
    fn take_close_signal(&mut self, slot: u32, headers: &mut HeaderMap, end: bool) -> bool {
        let Some(exchange) = self.exchange(slot) else { return false };
        let (index, incomplete) = (exchange.connection, exchange.is_request_incomplete());
        let mut closes_after = exchange.closes_connection;
        let protocol = self.connections[index].protocol;
        let http1 = !protocol.multiplexes();
        // HTTP/1.0 has no chunked body: only the close ends a body without a length.
        closes_after |=
            protocol == Protocol::Http10 && !end && headers.find("content-length").is_none();
        closes_after &= http1;
        let closes = if self.options.profile.rules().connection_header_closes {
            let value = headers.text("connection");
            http1 && value.is_some_and(|value| value.trim().eq_ignore_ascii_case("close"))
        } else {
            headers.remove("connection");
            // A proxy that responds before an HTTP/1 request has ended does not read the rest of
            // it.
            let closes = self.take_drain_marker(headers) || closes_after || (http1 && incomplete);
            if http1 && closes {
                headers.push("connection", "close");
            }
            closes
        };
        let connection = &mut self.connections[index];
        let announces = closes && !connection.draining;
        connection.draining |= closes;
        announces
    }

    /// Removes the drain marker; returns whether the response had it.
    fn take_drain_marker(&self, headers: &mut HeaderMap) -> bool {
        let Some(bridge) = &self.options.drain_bridge else { return false };
        let marked = headers.find(&bridge.header) == Some(bridge.value.as_bytes());
        if marked {
            headers.remove(&bridge.header);
        }
        marked
    }

    /// The client closes a connection of the trace and aborts its exchanges, also those of a
    /// connection that the proxy is draining. The trace cannot use the connection again. Returns its
    /// name.
    pub(super) fn client_closes(
        &mut self,
        index: ConnectionIndex,
    ) -> Result<Option<Rc<str>>, ReplayError> {
        let Some(openings) = self.openings.get(&index) else { return Ok(None) };
        let name = Rc::clone(&self.connections[openings.current].name);
        let slots: Vec<usize> =
            openings.draining.iter().copied().chain([openings.current]).collect();
        for slot in slots {
            // The end of its last exchange may have closed it.
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            if connection.info.is_some() {
                let waiting = std::mem::take(&mut connection.waiting);
                for exchange in connection.active.clone() {
                    self.set_response_details(exchange, CLIENT_DISCONNECT);
                    self.ended.push((exchange, Outcome::Client));
                }
                let reason = "the client closed the connection before its previous exchange ended";
                self.report_unsent(slot, waiting, Outcome::Client, reason);
                self.end_exchanges()?;
                self.close_connection(slot, ClosedBy::Client);
            }
            if slot != self.openings[&index].current {
                self.release_connection(slot);
            }
        }
        if let Some(openings) = self.openings.remove(&index) {
            self.connections.try_remove(openings.current);
        }
        Ok(Some(name))
    }

    /// Reports requests that waited on a connection until its end.
    fn report_unsent(
        &mut self,
        slot: usize,
        waiting: impl IntoIterator<Item = Spec>,
        outcome: Outcome,
        reason: &str,
    ) {
        for spec in waiting {
            let worker = self.connections[slot].worker;
            let mut exchange = ActiveExchange::new(spec, slot, self.now, worker, false);
            self.report(&mut exchange, outcome, Some(reason));
        }
    }

    fn close_connection(&mut self, slot: usize, by: ClosedBy) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if let Some(report) = connection.report(Some((self.now, by))) {
            self.report.add_connection(report);
            connection.info = None;
            connection.draining = false;
        }
    }

    /// Removes the exchanges that have ended, and starts the requests that waited for them.
    pub(super) fn end_exchanges(&mut self) -> Result<(), ReplayError> {
        while let Some((slot, outcome)) = self.ended.pop() {
            self.end(slot, outcome)?;
        }
        Ok(())
    }

    fn end(&mut self, slot: u32, outcome: Outcome) -> Result<(), ReplayError> {
        if outcome == Outcome::Open {
            return self.finish_in_proxy(slot);
        }
        let Some(mut exchange) = self.exchanges.try_remove(slot as usize) else { return Ok(()) };
        self.close_stream(&mut exchange)?;
        let index = exchange.connection;
        // An HTTP/1 connection in the middle of a message cannot carry another one.
        let incomplete =
            outcome == Outcome::Cut || exchange.is_request_incomplete() || exchange.upgrade;
        let connection = &mut self.connections[index];
        connection.active.swap_remove(exchange.position);
        if let Some(moved) = connection.active.get(exchange.position)
            && let Some(moved) = self.exchanges.get_mut(*moved as usize)
        {
            moved.position = exchange.position;
        }
        let unusable = incomplete && !connection.protocol.multiplexes();
        let drained = connection.draining && connection.active.is_empty();
        self.report(&mut exchange, outcome, None);
        if drained || unusable {
            self.close_connection(index, ClosedBy::Proxy);
        } else if self.connections[index].own || exchange.client.excess {
            // A client that receives bytes after a response closes the connection.
            self.close_connection(index, ClosedBy::Client);
        }
        if let Some(spec) = self.connections[index].waiting.pop_front() {
            self.request(spec)?;
        }
        self.release_connection(index);
        Ok(())
    }

    /// Ends the stream of an exchange whose response is complete for the proxy, but not for its
    /// client. The connection stays busy.
    fn finish_in_proxy(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        exchange.abandon_attempt();
        exchange.stop_timeouts();
        let (worker, stream) = (exchange.worker, exchange.stream.take());
        if let (Some(stream), Some(vm)) = (stream, self.workers[worker].vm.as_mut()) {
            vm.close_http(stream);
            self.drain_effects(worker)?;
        }
        Ok(())
    }

    /// Reports the exchanges that are open at the end of the trace, and the requests that waited
    /// for them.
    pub(super) fn report_open(&mut self) {
        let open: Vec<usize> = self.exchanges.iter().map(|(slot, _)| slot).collect();
        for slot in open {
            let mut exchange = self.exchanges.remove(slot);
            self.report(&mut exchange, Outcome::Open, None);
        }
        let waiting = self.connections.iter_mut();
        let waiting =
            waiting.map(|(slot, connection)| (slot, std::mem::take(&mut connection.waiting)));
        for (slot, waiting) in waiting.collect::<Vec<_>>() {
            let reason = "the previous exchange of its connection did not end";
            self.report_unsent(slot, waiting, Outcome::Open, reason);
        }
    }

    fn report(&mut self, exchange: &mut ActiveExchange, outcome: Outcome, unsent: Option<&str>) {
        let opening = self.connections[exchange.connection].opening;
        let spec = exchange.spec.clone();
        let mut report = exchange.report(&spec, outcome, self.now, opening);
        if let Some(expect) = &spec.get().expect {
            let facts = Facts {
                forwarded: &exchange.forwarded,
                trap: exchange.trap.as_deref(),
                unsent,
                endless: exchange.is_endless(),
            };
            verdict::judge(&mut report, &facts, expect);
        }
        report.upstream.headers = exchange.forwarded.headers.take().unwrap_or_default();
        self.report.add_exchange(report);
    }
}

/// Changes the headers that `on_log` reads as the proxy changed those of the client, after it added
/// its own.
fn show_changes(logged: &mut HeaderMap, sent: &HeaderMap, bridge: Option<&str>) {
    if let Some(bridge) = bridge.filter(|bridge| sent.find(bridge).is_none()) {
        logged.remove(bridge);
    }
    if let Some(connection) = sent.find("connection") {
        logged.set("connection", connection);
    }
}

/// The length that a request announces. The trace has been checked.
fn request_length(request: &Request<'_>) -> Length {
    let values = request.headers.iter().filter(|(name, _)| is_content_length(name));
    Length::parse(values.map(|(_, value)| value.as_bytes())).unwrap_or_default()
}

fn is_content_length(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length")
}

/// The length that the client of an exchange expects, as the headers of its response announce it.
fn response_length(exchange: &ActiveExchange, headers: &HeaderMap) -> Length {
    if exchange.is_head() || matches!(exchange.client.status, Some(101 | 204 | 304)) {
        return Length::default();
    }
    Length::parse(headers.find("content-length").into_iter()).unwrap_or_default()
}

/// The headers of a request. The order of its pseudo-headers is Envoy's for HTTP/1, and that of RFC
/// 9113, section 8.3.1, for the others, where clients choose it.
fn request_headers(request: &Request<'_>, protocol: Protocol) -> HeaderMap {
    fn text<'r>(value: &'r Option<Text<'_>>, default: &'r str) -> &'r str {
        value.as_ref().map_or(default, |value| value)
    }
    let fields = request.headers.iter().map(|(name, value)| name.len() + value.len());
    let path = text(&request.path, "/");
    // Room for the pseudo-headers, and for as many headers as filters commonly add.
    let bytes = fields.sum::<usize>() + path.len() + 256;
    let mut headers = HeaderMap::with_capacity(request.headers.len() + 8, bytes);
    let pseudo = [
        (":authority", text(&request.authority, "localhost")),
        (":path", path),
        (":method", text(&request.method, "GET")),
        (":scheme", text(&request.scheme, "http")),
    ];
    let order = if protocol.multiplexes() { [2, 3, 0, 1] } else { [0, 1, 2, 3] };
    for (name, value) in order.map(|at| pseudo[at]) {
        headers.push(name, value);
    }
    for (name, value) in &request.headers {
        headers.push(&**name, &**value);
    }
    headers
}
