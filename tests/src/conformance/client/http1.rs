//! A client's connection of HTTP/1.1: one request after the other.

use std::io::Write;
use std::time::{Duration, Instant};

use sluice_sim::trace::Outcome;

use super::super::performance::{Run, TRIES};
use super::super::seen::{Seen, sha256, visible};
use super::super::upstream::pairs;
use super::{Connection, Handle, Request};
use crate::http1::{Client, Response};
use crate::message::Body;

impl Connection {
    pub(super) fn one_by_one(&self, run: &Run) {
        let mut client: Option<Client> = None;
        for request in &self.requests {
            run.clock.sleep_until(request.moment);
            if self.is_gone() {
                run.ended(&request.id, Seen::nothing(Outcome::Client), None);
                continue;
            }
            let connection = client.get_or_insert_with(|| {
                let client = Client::connect(run.port).patient(run.patience);
                self.opened(Handle::Http1(client.handle()));
                client
            });
            let (sent, wall) = (run.clock.now(), Instant::now());
            let (mut last, mut elapsed) = (Duration::ZERO, Duration::ZERO);
            let (response, sent_all) = request.exchange(connection, || {
                (last, elapsed) = (run.clock.now() - sent, wall.elapsed());
            });
            let aborted = if self.is_gone() { Outcome::Client } else { Outcome::Cut };
            let mut seen = Seen::http1(response.as_ref(), aborted);
            (seen.last, seen.elapsed) = (last, elapsed);
            let reusable = seen.end == Outcome::Complete && sent_all;
            let closes = response.as_ref().is_some_and(Response::closes);
            seen.closed = reusable.then_some(closes);
            if !reusable || closes {
                client = None;
            }
            let tries = response.as_ref().and_then(|response| response.header(TRIES));
            run.ended(&request.id, seen, tries);
        }
    }
}

impl Request {
    /// The response, if one began, and whether the proxy took all of the request. Tells when the response is over.
    fn exchange(&self, client: &mut Client, over: impl FnOnce()) -> (Option<Response>, bool) {
        let sent = self.send(client);
        let mut response = client.try_receive();
        match response.as_mut().filter(|response| response.status == 101) {
            Some(response) => self.go_on(client, &mut response.body, over),
            None => over(),
        }
        (response, sent)
    }

    /// Both sides talk as they like until the connection ends.
    fn go_on(&self, client: &mut Client, heard: &mut Body, over: impl FnOnce()) {
        let mut line = client.handle();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                self.body.iter().all(|(pause, bytes)| {
                    self.pace.sleep(*pause);
                    line.write_all(bytes).is_ok()
                })
            });
            (heard.bytes, heard.complete) = (client.rest(), false);
            over();
        });
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    /// Sends head and body; whether the proxy took all of it. After the head of one that asks to leave HTTP the answer is waited for.
    fn send(&self, client: &mut Client) -> bool {
        let bare = self.body.is_empty() && self.trailers.is_empty();
        let upgrades = self.has("upgrade");
        let chunked = !self.has("content-length") && !bare && !upgrades;
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
            self.pace.sleep(*pause);
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

impl Seen {
    fn http1(response: Option<&Response>, aborted: Outcome) -> Self {
        let Some(response) = response else { return Self::nothing(aborted) };
        Self {
            status: Some(response.status),
            headers: visible(response.head.headers.iter().cloned()),
            body: sha256(&response.body.bytes),
            bytes: response.body.bytes.len() as u64,
            ..Self::nothing(if response.body.complete { Outcome::Complete } else { aborted })
        }
    }
}
