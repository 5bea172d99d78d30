//! The client's side of the engine: connections, requests and what the client receives.

use std::sync::Arc;
use std::time::Duration;

use crate::trace::{Exchange, Open, Outcome, Protocol, Request};
use crate::{ConnectionInfo, HeaderMap, Part, Profile};

use super::super::ReplayError;
use super::super::exchange::Live;
use super::super::failure::CLIENT_LEFT;
use super::super::outcome::{ClosedBy, ExchangeReport};
use super::{Engine, header_map};

impl<'t> Engine<'t> {
    /// Opens a connection of the trace, as the trace describes it or, later, as it was before.
    pub(super) fn open_connection(&mut self, index: usize, open: Option<&'t Open<'t>>) {
        let workers = self.workers.len();
        let closing = &self.connections[self.current[index]];
        if !closing.active.is_empty() {
            let successor = closing.successor();
            let next = self.connections.len();
            self.connections[self.current[index]].next = Some(next);
            self.connections.push(successor);
            self.current[index] = next;
        }
        let connection = &mut self.connections[self.current[index]];
        if let Some(open) = open {
            connection.describe(open);
        }
        if connection.generation == 0 {
            connection.worker = match open.and_then(|open| open.worker) {
                Some(worker) => worker as usize,
                None => self.rng.usize(0..workers),
            };
        }
        connection.generation += 1;
        connection.opened = self.now;
        connection.draining = false;
        // A connection that is opened again is another one, with a number of its own.
        let id = open.and_then(|open| open.id).unwrap_or(self.next_connection_id);
        self.next_connection_id = self.next_connection_id.max(id.saturating_add(1));
        connection.info = Some(Arc::new(ConnectionInfo {
            id,
            source: connection.source.to_owned(),
            protocol: connection.protocol.name().to_owned(),
            ..ConnectionInfo::default()
        }));
    }

    /// A client sends a request, at once or when the one before it on the connection has ended.
    pub(super) fn request(
        &mut self,
        line: u32,
        exchange: &'t Exchange<'t>,
    ) -> Result<(), ReplayError> {
        let connection = &mut self.connections[self.current[exchange.connection.0]];
        if connection.busy() {
            connection.waiting.push_back((line, exchange));
            return Ok(());
        }
        if !connection.usable() {
            self.open_connection(exchange.connection.0, None);
        }
        let index = self.current[exchange.connection.0];
        let worker = self.connections[index].worker;
        let mut live = Live::new(line, exchange, index, self.now, worker, self.options.hash_bodies);
        let multiplexes = self.connections[index].protocol.multiplexes();
        live.keeps_trailers = multiplexes || !self.options.profile.rules().http1_drops_trailers;
        live.upgrade = !multiplexes && exchange.request.asks_for_upgrade();
        let upgrade = live.upgrade;
        live.place = self.connections[index].active.len();
        let slot = self.insert(live);
        self.connections[index].active.push(slot);
        self.open_stream(slot)?;

        let request = &exchange.request;
        let end = request.body.is_empty() && request.trailers.is_empty() && !upgrade;
        let text = |value: &'t Option<crate::trace::Text<'t>>, default: &'t str| {
            value.as_ref().map_or(default, |value| value)
        };
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 8, room(request));
        headers.push(":authority", text(&request.authority, "localhost"));
        headers.push(":path", text(&request.path, "/"));
        headers.push(":method", text(&request.method, "GET"));
        headers.push(":scheme", text(&request.scheme, "http"));
        for (name, value) in &request.headers {
            headers.push(&**name, &**value);
        }
        let now = self.now;
        // Who asks to leave HTTP waits for the answer.
        if let (false, Some(live)) = (end || upgrade, self.at(slot)) {
            live.upload_at = live.next_upload(now);
        }
        self.touch(slot);
        self.request_in(slot, Part::Headers { map: headers, end })?;
        if upgrade && self.options.profile.rules().upgrade_begins_empty {
            self.request_in(slot, Part::Body { bytes: Vec::new(), end: false })?;
        }
        Ok(())
    }

    /// The client sends its next chunk, or its trailers.
    pub(super) fn upload(&mut self, slot: u32) -> Result<(), ReplayError> {
        let now = self.now;
        let mut bytes = Vec::new();
        let Some(live) = self.at(slot) else { return Ok(()) };
        let request = &live.spec.request;
        let part = if live.upload.pause(&request.body).is_some() {
            live.upload.advance(&request.body, &mut bytes);
            let last = live.upload.pause(&request.body).is_none();
            let end = last && request.trailers.is_empty() && !live.upgrade;
            live.upload_at = if end { None } else { live.next_upload(now) };
            Part::Body { bytes, end }
        } else {
            live.upload_at = None;
            match live.keeps_trailers {
                true => Part::Trailers(header_map(&request.trailers)),
                // What is dropped still comes after the body, and tells its end.
                false => Part::Body { bytes, end: true },
            }
        };
        self.request_in(slot, part)
    }

    /// A part of the response leaves the proxy.
    pub(super) fn response_out(&mut self, slot: u32, part: Part) {
        let now = self.now;
        let Some(live) = self.at(slot) else { return };
        let ended = match part {
            Part::Headers { map: mut headers, end } => {
                live.client.status = headers.text(":status").and_then(|status| status.parse().ok());
                headers.remove(":status");
                live.client.headers_at = now;
                let closes = self.take_close_signal(slot, &mut headers);
                if let Some(live) = self.at(slot) {
                    live.closes = closes;
                    live.client.headers = headers;
                    if live.left_http() {
                        live.upload_at = live.next_upload(now);
                        self.touch(slot);
                    }
                }
                end
            }
            Part::Body { bytes, end } => {
                if !bytes.is_empty() {
                    live.client.body_at.get_or_insert(now);
                    live.client.body.add(&bytes);
                }
                end
            }
            Part::Trailers(map) => {
                if live.keeps_trailers {
                    live.client.trailers = map;
                }
                true
            }
        };
        if ended {
            self.ended.push((slot, Outcome::Complete));
        }
    }

    /// Carries out what the response's headers say about the connection, and leaves in them what the
    /// client gets to see; returns whether this response announces the close.
    fn take_close_signal(&mut self, slot: u32, headers: &mut HeaderMap) -> bool {
        let Some((index, worker, stream)) =
            self.at(slot).map(|live| (live.connection, live.worker, live.stream))
        else {
            return false;
        };
        let http1 = self.connections[index].protocol == Protocol::Http1;
        let wants_close = match self.options.profile {
            Profile::Envoy => {
                // Envoy removes what filters and upstreams say about the connection;
                // the bridge acts on its own marker and takes it off, which the filter can see later.
                headers.remove("connection");
                // Whoever answers before an HTTP/1 request has ended does not wait for the rest of it.
                let torn = http1 && self.at(slot).is_some_and(|live| live.interrupted());
                let marked =
                    self.options.bridge.as_ref().filter(|bridge| {
                        headers.find(&bridge.header) == Some(bridge.value.as_bytes())
                    });
                if let Some(bridge) = marked {
                    headers.remove(&bridge.header);
                    let vm = self.workers[worker].vm.as_mut();
                    let logged = vm.zip(stream).and_then(|(vm, s)| vm.logged_response_headers(s));
                    if let Some(logged) = logged {
                        logged.remove(&bridge.header);
                    }
                }
                let closes = marked.is_some() || torn;
                if http1 && closes {
                    headers.push("connection", "close");
                }
                closes
            }
            Profile::Generic => {
                http1
                    && headers
                        .text("connection")
                        .is_some_and(|value| value.trim().eq_ignore_ascii_case("close"))
            }
        };
        let connection = &mut self.connections[index];
        let announces = wants_close && !connection.draining;
        connection.draining |= wants_close;
        announces
    }

    /// The client closes a connection of the trace and with it whatever is under way on it, also on one
    /// that the proxy is closing.
    pub(super) fn client_closes(&mut self, index: usize) -> Result<(), ReplayError> {
        let mut following = Some(index);
        while let Some(at) = following {
            following = self.connections[at].next;
            if self.connections[at].info.is_none() {
                continue;
            }
            for slot in self.connections[at].active.clone() {
                self.explain(slot, CLIENT_LEFT);
                self.ended.push((slot, Outcome::Client));
            }
            for (line, exchange) in std::mem::take(&mut self.connections[at].waiting) {
                let worker = self.connections[at].worker;
                let mut live = Live::new(line, exchange, at, self.now, worker, false);
                self.report(&mut live, Outcome::Client);
            }
            self.end_exchanges()?;
            self.close_connection(at, ClosedBy::Client);
        }
        Ok(())
    }

    fn close_connection(&mut self, index: usize, by: ClosedBy) {
        let now = self.now;
        let connection = &mut self.connections[index];
        if connection.info.is_some() {
            self.report.connection(connection, Some((now, by)));
            connection.info = None;
            connection.draining = false;
        }
    }

    /// Ends the exchanges that are over, and begins those that waited for them.
    pub(super) fn end_exchanges(&mut self) -> Result<(), ReplayError> {
        while let Some((slot, outcome)) = self.ended.pop() {
            self.end(slot, outcome)?;
        }
        Ok(())
    }

    fn end(&mut self, slot: u32, outcome: Outcome) -> Result<(), ReplayError> {
        let Some(mut live) = self.remove(slot) else { return Ok(()) };
        self.close_stream(&mut live)?;
        let index = live.connection;
        // A response that ends before its request leaves an HTTP/1 connection in the middle of a
        // message; nothing else can be sent on it.
        let torn = outcome == Outcome::Cut || live.upload_at.is_some() || live.upgrade;
        let connection = &mut self.connections[index];
        connection.active.swap_remove(live.place);
        if let Some(moved) = connection.active.get(live.place)
            && let Some(moved) = &mut self.live[*moved as usize]
        {
            moved.place = live.place;
        }
        let unusable = torn && !connection.protocol.multiplexes();
        let drained = connection.draining && connection.active.is_empty();
        self.report(&mut live, outcome);
        if drained || unusable {
            self.close_connection(index, ClosedBy::Proxy);
        } else if live.spec.own_connection {
            self.close_connection(index, ClosedBy::Client);
        }
        if let Some((line, exchange)) = self.connections[index].waiting.pop_front() {
            self.request(line, exchange)?;
        }
        Ok(())
    }

    /// Reports an exchange that nothing ended.
    pub(super) fn leave_open(&mut self, slot: u32) {
        if let Some(mut live) = self.remove(slot) {
            self.report(&mut live, Outcome::Open);
        }
    }

    fn report(&mut self, live: &mut Live<'t>, outcome: Outcome) {
        let connection = &self.connections[live.connection];
        let (opening, name) = (connection.generation, connection.name);
        let report = ExchangeReport::new(live, outcome, self.now, opening, name);
        self.report.exchanges.push(report);
    }

    fn insert(&mut self, live: Live<'t>) -> u32 {
        self.live_count += 1;
        match self.free.pop() {
            Some(slot) => {
                self.live[slot as usize] = Some(Box::new(live));
                slot
            }
            None => {
                self.live.push(Some(Box::new(live)));
                (self.live.len() - 1) as u32
            }
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Box<Live<'t>>> {
        let live = self.live[slot as usize].take()?;
        self.live_count -= 1;
        self.free.push(slot);
        Some(live)
    }
}

/// Bytes that a request's headers take, and as many as filters commonly add.
fn room(request: &Request<'_>) -> usize {
    let fields = request.headers.iter().map(|(name, value)| name.len() + value.len());
    let path = request.path.as_ref().map_or(0, |path| path.len());
    fields.sum::<usize>() + path + 256
}

impl Live<'_> {
    /// When the client sends its next part: the pause before the next chunk from now on.
    fn next_upload(&self, now: Duration) -> Option<Duration> {
        let request = &self.spec.request;
        match self.upload.pause(&request.body) {
            Some(pause) => Some(now + pause),
            None => (!request.trailers.is_empty()).then_some(now),
        }
    }
}
