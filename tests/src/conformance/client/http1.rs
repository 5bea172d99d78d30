//! An HTTP/1.1 connection of a client: one request after the other.

use std::io::Write;
use std::time::{Duration, Instant};

use sluice_sim::trace::Outcome;

use super::super::observation::{Observation, sha256, visible};
use super::super::playback::{ATTEMPT_COUNT, Playback};
use super::super::upstream::pairs;
use super::{Connection, Handle, Request};
use crate::http1::{Body, Client, Response};

impl Connection {
    pub(super) fn send_sequentially(&self, playback: &Playback) {
        let mut client: Option<Client> = None;
        for request in &self.requests {
            playback.clock.sleep_until(request.at);
            if self.is_closed() {
                playback.ended(&request.id, Observation::no_response(Outcome::Client), None);
                continue;
            }
            let connection = client.get_or_insert_with(|| {
                let client = Client::connect(playback.port)
                    .with_timeout(playback.timeout)
                    .with_version(self.protocol.name());
                self.add_socket(Handle::Http1(client.handle()));
                client
            });
            let (sent, wall) = (playback.clock.now(), Instant::now());
            let (mut last_byte, mut elapsed) = (Duration::ZERO, Duration::ZERO);
            let (response, sent_all) = request.exchange(connection, || {
                (last_byte, elapsed) = (playback.clock.now() - sent, wall.elapsed());
            });
            let aborted = if self.is_closed() { Outcome::Client } else { Outcome::Cut };
            let mut observed = Observation::http1(response.as_ref(), aborted);
            (observed.last_byte, observed.elapsed) = (last_byte, elapsed);
            let reusable = observed.end == Outcome::Complete && sent_all;
            let closes = response.as_ref().is_some_and(Response::closes);
            observed.closed = reusable.then_some(closes);
            if !reusable || closes {
                client = None;
            }
            let attempt_count =
                response.as_ref().and_then(|response| response.header(ATTEMPT_COUNT));
            playback.ended(&request.id, observed, attempt_count);
        }
    }
}

impl Request {
    /// Returns the response, if one began, and whether the socket accepted the whole request. Calls
    /// `over` when the response has ended.
    fn exchange(&self, client: &mut Client, over: impl FnOnce()) -> (Option<Response>, bool) {
        let sent = self.send(client);
        let mut response = client.try_receive();
        match response.as_mut().filter(|response| response.status == 101) {
            Some(response) => self.tunnel(client, &mut response.body, over),
            None => over(),
        }
        (response, sent)
    }

    /// Sends the body while bytes are read until the connection ends.
    fn tunnel(&self, client: &mut Client, received: &mut Body, over: impl FnOnce()) {
        let mut socket = client.handle();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                self.body.iter().all(|(pause, bytes)| {
                    self.exchange_clock.sleep(*pause);
                    socket.write_all(bytes).is_ok()
                })
            });
            (received.bytes, received.complete) = (client.read_to_end(), false);
            over();
        });
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(found, _)| found.eq_ignore_ascii_case(name))
    }

    /// Whether the body follows the response. `h2c` is not an upgrade.
    fn upgrades(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("upgrade") && !value.eq_ignore_ascii_case("h2c")
        })
    }

    /// Sends headers and body; returns whether the socket accepted all of it. For an upgrade
    /// request, sends only the headers; the body follows the response.
    fn send(&self, client: &mut Client) -> bool {
        let empty = self.body.is_empty() && self.trailers.is_empty();
        let upgrades = self.upgrades();
        let chunked = !self.has("content-length") && !empty && !upgrades;
        let mut headers = pairs(&self.headers);
        headers.push(("host", &self.authority));
        if chunked {
            headers.push(("transfer-encoding", "chunked"));
        }
        if !client.try_send(&self.method, &self.path, &headers) {
            return false;
        }
        if upgrades {
            return true;
        }
        for (pause, bytes) in &self.body {
            self.exchange_clock.sleep(*pause);
            let mut wire = Vec::new();
            match chunked {
                true => {
                    wire.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                    wire.extend_from_slice(bytes);
                    wire.extend_from_slice(b"\r\n");
                }
                false => wire.extend_from_slice(bytes),
            }
            if !client.try_write(&wire) {
                return false;
            }
        }
        let trailers = self.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        !chunked
            || client.try_write(format!("0\r\n{}\r\n", trailers.collect::<String>()).as_bytes())
    }
}

impl Observation {
    fn http1(response: Option<&Response>, aborted: Outcome) -> Self {
        let Some(response) = response else { return Self::no_response(aborted) };
        Self {
            status: Some(response.status),
            headers: visible(response.headers.fields.iter().cloned()),
            body: sha256(&response.body.bytes),
            bytes: response.body.bytes.len() as u64,
            ..Self::no_response(if response.body.complete { Outcome::Complete } else { aborted })
        }
    }
}
