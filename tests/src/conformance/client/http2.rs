//! A client's connection of HTTP/2: streams beside each other, until a GOAWAY.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use sluice_sim::trace::Outcome;

use super::super::performance::{Run, TRIES};
use super::super::seen::{Seen, sha256, visible};
use super::{Connection, Handle, Request};
use crate::http2::{Client, Response, fields};

/// A connection, and who is on it: the close belongs to an exchange only if that was alone.
#[derive(Clone)]
struct Lane {
    client: Arc<Client>,
    traffic: Arc<Mutex<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    begun: u32,
    active: u32,
}

impl Lane {
    fn open(connection: &Connection, run: &Run) -> Self {
        let client = Arc::new(Client::connect(run.port).patient(run.patience));
        connection.opened(Handle::Http2(client.clone()));
        Self { client, traffic: Arc::default() }
    }

    /// A stream begins; how many have begun, if it is alone.
    fn enter(&self) -> Option<u32> {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.begun += 1;
        traffic.active += 1;
        (traffic.active == 1).then_some(traffic.begun)
    }

    /// A stream ended; whether it was alone all the time.
    fn leave(&self, entered: Option<u32>) -> bool {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.active -= 1;
        entered == Some(traffic.begun)
    }
}

impl Connection {
    pub(super) fn side_by_side(&self, run: &Run) {
        let mut lane: Option<Lane> = None;
        std::thread::scope(|scope| {
            for request in &self.requests {
                run.clock.sleep_until(request.moment);
                if self.is_gone() {
                    run.ended(&request.id, Seen::nothing(Outcome::Client), None);
                    continue;
                }
                let (sent, wall) = (run.clock.now(), Instant::now());
                let open = |lane: &Lane| lane.client.try_open(request.wire(), request.is_bare());
                let first = lane.take().unwrap_or_else(|| Lane::open(self, run));
                let (used, (pending, stream)) = match open(&first) {
                    Ok(stream) => (first, stream),
                    Err(_) => {
                        let next = Lane::open(self, run);
                        let stream = open(&next).expect("a new connection takes streams");
                        (next, stream)
                    }
                };
                lane = Some(used.clone());
                let entered = used.enter();
                scope.spawn(move || {
                    request.upload(stream);
                    let response = used.client.try_finish(pending);
                    let aborted = if self.is_gone() { Outcome::Client } else { Outcome::Cut };
                    let mut seen = Seen::http2(response.as_ref(), aborted);
                    seen.last = run.clock.now() - sent;
                    seen.elapsed = wall.elapsed();
                    let alone = used.leave(entered) && seen.end == Outcome::Complete;
                    seen.closed = alone.then(|| !used.client.takes_streams());
                    let tries = response.as_ref().and_then(|response| response.header(TRIES));
                    run.ended(&request.id, seen, tries);
                });
            }
        });
    }
}

impl Request {
    fn wire(&self) -> http::Request<()> {
        let uri = format!("http://{}{}", self.authority, self.path);
        let mut request = http::Request::builder().method(&*self.method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).expect("a trace has well-formed requests")
    }

    fn is_bare(&self) -> bool {
        self.body.is_empty() && self.trailers.is_empty()
    }

    /// Sends body and trailers, as long as the peer wants them: one that has answered does not.
    fn upload(&self, mut stream: SendStream<Bytes>) {
        for (index, (pause, bytes)) in self.body.iter().enumerate() {
            self.pace.sleep(*pause);
            let ends = index + 1 == self.body.len() && self.trailers.is_empty();
            if stream.send_data(Bytes::copy_from_slice(bytes), ends).is_err() {
                return;
            }
        }
        if !self.trailers.is_empty() {
            let _ = stream.send_trailers(fields(&self.trailers));
        }
    }
}

impl Seen {
    fn http2(response: Option<&Response>, aborted: Outcome) -> Self {
        let Some(response) = response else { return Self::nothing(aborted) };
        let text = |map: &HeaderMap| {
            visible(map.iter().map(|(name, value)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            }))
        };
        Self {
            status: Some(response.status),
            headers: text(&response.headers),
            trailers: response.trailers.as_ref().map(text).unwrap_or_default(),
            body: sha256(&response.body),
            bytes: response.body.len() as u64,
            ..Self::nothing(if response.reset.is_none() { Outcome::Complete } else { aborted })
        }
    }
}
