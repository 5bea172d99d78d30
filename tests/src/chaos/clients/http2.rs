//! The HTTP/2 clients: each has one connection with several concurrent streams. All of them share
//! one thread.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{CLOSED_BY, DETAILS, READ_TIMEOUT, Shared, between};
use crate::chaos::journal::{Close, ConnectionId, Failure, RequestId};

/// The concurrent streams of a client.
const STREAMS: usize = 12;

const NAME: &str = "HTTP/2";

#[derive(Clone)]
struct Client {
    proxy: usize,
    port: u16,
    connection: Arc<Mutex<Option<Connection>>>,
    shared: Arc<Shared>,
}

struct Connection {
    sender: SendRequest<Bytes>,
    id: ConnectionId,
}

/// A request whose response is awaited.
struct Started {
    response: ResponseFuture,
    body: SendStream<Bytes>,
    connection: ConnectionId,
    request: RequestId,
}

/// Runs one client for each proxy index, port and seed until the run is over.
pub(super) fn work(clients: Vec<(usize, u16, Rng)>, shared: &Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut streams = JoinSet::new();
        for (proxy, port, mut rng) in clients {
            let client = Client { proxy, port, connection: Arc::default(), shared: shared.clone() };
            for _ in 0..STREAMS {
                streams.spawn(client.clone().work(rng.fork()));
            }
        }
        streams.join_all().await;
    });
}

impl Client {
    async fn work(self, mut rng: Rng) {
        while !self.shared.is_over() {
            sleep(between(&mut rng, 0, 300)).await;
            match rng.u8(..20) {
                _ if self.shared.is_quick() => self.exchange("/", None).await,
                0 => self.exchange(&format!("/wait/{}", rng.u64(3000..=4000)), None).await,
                1 => {
                    let pause = between(&mut rng, 50, 350);
                    self.exchange("/upload", Some(pause)).await;
                }
                _ => self.exchange("/", None).await,
            }
        }
    }

    /// Sends one request, with a body in ten parts if there is a pause between them.
    async fn exchange(&self, path: &str, pause: Option<Duration>) {
        let journal = &self.shared.journal;
        let sent = journal.now();
        let started = match self.start(path, pause.is_some()).await {
            Ok(started) => started,
            Err(failure) => {
                return journal.failed_without_record(NAME, self.proxy, sent, failure);
            }
        };
        let Started { response, mut body, connection, request } = started;
        if let Some(pause) = pause {
            for part in (0..10).rev() {
                sleep(pause).await;
                // This fails if the proxy has reset the stream or replied; the response tells.
                let _ = body.send_data(Bytes::from_static(&[b'x'; 500]), part == 0);
            }
        }
        match receive(response).await {
            Ok(Close::No) if self.is_going_away(connection).await => {
                journal.response_received(connection, request, Close::ByEnvoy);
            }
            Ok(close) => journal.response_received(connection, request, close),
            Err(failure) => journal.request_failed(NAME, request, failure),
        }
    }

    /// Whether the connection accepts no new stream.
    async fn is_going_away(&self, id: ConnectionId) -> bool {
        let current = self.connection.lock().await;
        let Some(connection) = current.as_ref().filter(|current| current.id == id) else {
            return true;
        };
        let mut sender = connection.sender.clone();
        let ready = poll_fn(|context| Poll::Ready(sender.poll_ready(context))).await;
        matches!(ready, Poll::Ready(Err(_)))
    }

    /// Sends the request. If the connection has received a GOAWAY, nothing was sent on it, and a
    /// new connection carries the request.
    async fn start(&self, path: &str, has_body: bool) -> Result<Started, Failure> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.take() {
            let id = connection.id;
            match self.start_on(connection, path, has_body, &mut current).await {
                Ok(started) => return Ok(started),
                Err(_) => self.shared.journal.connection_closed(id),
            }
        }
        let sender = connect(self.port).await.ok_or(Failure::NoConnection)?;
        let id = self.shared.journal.connection_opened(self.proxy, NAME);
        let started = self.start_on(Connection { sender, id }, path, has_body, &mut current).await;
        started.map_err(|_| Failure::NotWritten)
    }

    async fn start_on(
        &self,
        connection: Connection,
        path: &str,
        has_body: bool,
        current: &mut Option<Connection>,
    ) -> Result<Started, h2::Error> {
        let Connection { sender, id } = connection;
        let mut sender = sender.ready().await?;
        let method = if has_body { "POST" } else { "GET" };
        let request = Request::builder().method(method).uri(format!("http://example.com{path}"));
        let request = request.body(()).expect("a well-formed request");
        let (response, body) = sender.send_request(request, !has_body)?;
        let request = self.shared.journal.request_sent(id, has_body);
        *current = Some(Connection { sender, id });
        Ok(Started { response, body, connection: id, request })
    }
}

async fn receive(response: ResponseFuture) -> Result<Close, Failure> {
    let response = timeout(READ_TIMEOUT, response).await.map_err(|_| Failure::NoResponse)?;
    let (parts, mut body) = response.map_err(|_| Failure::NoResponse)?.into_parts();
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| Failure::Cut)?;
        body.flow_control().release_capacity(data.len()).map_err(|_| Failure::Cut)?;
    }
    match parts.status.as_u16() {
        200 if parts.headers.contains_key(CLOSED_BY) => Ok(Close::ByFilter),
        200 => Ok(Close::No),
        status => {
            let details = parts.headers.get(DETAILS).and_then(|value| value.to_str().ok());
            Err(Failure::Status(status, details.unwrap_or_default().to_owned()))
        }
    }
}

async fn connect(port: u16) -> Option<SendRequest<Bytes>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let handshake = timeout(READ_TIMEOUT, h2::client::handshake(stream)).await.ok()?;
    let (sender, connection) = handshake.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
