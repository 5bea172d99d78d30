//! An HTTP/2 connection of a client: concurrent streams, until a GOAWAY.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use sluice_sim::trace::Outcome;

use super::super::observation::{Observation, sha256, visible};
use super::super::playback::{ATTEMPT_COUNT, Playback};
use super::{Connection, Handle, Request};
use crate::http2::{Client, Response, fields};

/// A connection and its streams. A GOAWAY is attributed to an exchange only if no other stream was
/// open meanwhile.
#[derive(Clone)]
struct SharedConnection {
    client: Arc<Client>,
    traffic: Arc<Mutex<Traffic>>,
}

#[derive(Default)]
struct Traffic {
    begun: u32,
    active: u32,
}

impl SharedConnection {
    fn open(connection: &Connection, playback: &Playback) -> Self {
        let client = Arc::new(Client::connect(playback.port).with_timeout(playback.timeout));
        connection.add_socket(Handle::Http2(client.clone()));
        Self { client, traffic: Arc::default() }
    }

    /// Counts a new stream; returns the number of streams so far if no other stream is open.
    fn stream_begins(&self) -> Option<u32> {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.begun += 1;
        traffic.active += 1;
        (traffic.active == 1).then_some(traffic.begun)
    }

    /// Counts the end of a stream; returns whether no other stream was open during its life.
    fn stream_ends(&self, begun: Option<u32>) -> bool {
        let mut traffic = self.traffic.lock().unwrap_or_else(PoisonError::into_inner);
        traffic.active -= 1;
        begun == Some(traffic.begun)
    }
}

impl Connection {
    pub(super) fn send_concurrently(&self, playback: &Playback) {
        let mut shared: Option<SharedConnection> = None;
        std::thread::scope(|scope| {
            for request in &self.requests {
                playback.clock.sleep_until(request.at);
                if self.is_closed() {
                    playback.ended(&request.id, Observation::no_response(Outcome::Client), None);
                    continue;
                }
                let (sent, wall) = (playback.clock.now(), Instant::now());
                let open = |shared: &SharedConnection| {
                    shared.client.try_open(request.wire(), request.is_empty())
                };
                let first = shared.take().unwrap_or_else(|| SharedConnection::open(self, playback));
                let (used, (pending, stream)) = match open(&first) {
                    Ok(stream) => (first, stream),
                    Err(_) => {
                        let next = SharedConnection::open(self, playback);
                        let stream = open(&next).expect("a new connection accepts streams");
                        (next, stream)
                    }
                };
                shared = Some(used.clone());
                let begun = used.stream_begins();
                scope.spawn(move || {
                    request.upload(stream);
                    let response = used.client.try_finish(pending);
                    let aborted = if self.is_closed() { Outcome::Client } else { Outcome::Cut };
                    let mut observed = Observation::http2(response.as_ref(), aborted);
                    observed.last_byte = playback.clock.now() - sent;
                    observed.elapsed = wall.elapsed();
                    let alone = used.stream_ends(begun) && observed.end == Outcome::Complete;
                    observed.closed = alone.then(|| !used.client.accepts_streams());
                    let attempt_count =
                        response.as_ref().and_then(|response| response.header(ATTEMPT_COUNT));
                    playback.ended(&request.id, observed, attempt_count);
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

    fn is_empty(&self) -> bool {
        self.body.is_empty() && self.trailers.is_empty()
    }

    /// Sends body and trailers until the peer resets the stream, which it may do after its
    /// response.
    fn upload(&self, mut stream: SendStream<Bytes>) {
        for (index, (pause, bytes)) in self.body.iter().enumerate() {
            self.exchange_clock.sleep(*pause);
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

impl Observation {
    fn http2(response: Option<&Response>, aborted: Outcome) -> Self {
        let Some(response) = response else { return Self::no_response(aborted) };
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
            ..Self::no_response(if response.reset.is_none() { Outcome::Complete } else { aborted })
        }
    }
}
