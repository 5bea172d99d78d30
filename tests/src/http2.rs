//! A client of HTTP/2 without TLS, on one connection, for tests that wait: streams run beside each
//! other, a reset and a GOAWAY are seen as such.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::PATIENCE;

/// One connection.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    patience: Duration,
}

/// A stream whose response has not been waited for.
#[derive(Debug)]
pub struct Pending {
    response: ResponseFuture,
    sent: Instant,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// The trailers, if any came.
    pub trailers: Option<HeaderMap>,
    /// Why the stream was reset, if it was.
    pub reset: Option<Reason>,
    /// From the request to the end of the stream.
    pub end_after: Duration,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Client {
    /// Connects to a port of this machine.
    ///
    /// # Panics
    /// If nobody there speaks HTTP/2.
    pub fn connect(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread for the connection");
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("a listener");
            stream.set_nodelay(true).expect("an open socket takes options");
            h2::client::handshake(stream).await.expect("a peer that speaks HTTP/2")
        });
        let connection = runtime.spawn(connection);
        Self { runtime, sender, connection, patience: PATIENCE }
    }

    /// Waits this long for the end of a stream, instead of [`PATIENCE`].
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Closes the connection with whatever is under way on it.
    pub fn abort(&self) {
        self.connection.abort();
    }

    /// Whether a new stream may begin, which a GOAWAY forbids.
    pub fn takes_streams(&self) -> bool {
        self.runtime.block_on(async { self.sender.clone().ready().await.is_ok() })
    }

    /// A whole exchange without a body.
    pub fn get(&mut self, path: &str) -> Response {
        let pending = self.start("GET", path, &[], Some(b""));
        self.finish(pending)
    }

    /// Starts a stream; with `None` for the body it stays open for ever.
    ///
    /// # Panics
    /// If the connection takes no new streams.
    pub fn start(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Pending {
        self.try_start(method, path, headers, body).expect("a connection that takes streams")
    }

    /// The same on a connection that may have ended.
    ///
    /// # Errors
    /// If the connection takes no new streams, because of a GOAWAY for example.
    ///
    /// # Panics
    /// If the request is malformed.
    pub fn try_start(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Pending, h2::Error> {
        let mut request =
            Request::builder().method(method).uri(format!("http://example.com{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a test writes well-formed requests");
        let empty = body.is_some_and(<[u8]>::is_empty);
        let (pending, mut stream) = self.try_open(request, empty)?;
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            // A peer that has answered and ended the stream takes no body; its answer tells.
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        }
        Ok(pending)
    }

    /// Starts a stream whose body, unless the request ends with its head, is still to be sent.
    ///
    /// # Errors
    /// If the connection takes no new streams, because of a GOAWAY for example.
    pub fn try_open(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(Pending, SendStream<Bytes>), h2::Error> {
        let sent = Instant::now();
        self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await?;
            let (response, stream) = sender.send_request(request, end)?;
            Ok((Pending { response, sent }, stream))
        })
    }

    /// Starts a stream whose body comes in pieces and is followed by trailers.
    ///
    /// # Panics
    /// If the connection takes no new streams, or the stream is reset.
    pub fn upload(&self, path: &str, headers: &[(&str, &str)], pieces: &[&[u8]]) -> Pending {
        let mut request = Request::post(format!("http://example.com{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a test writes well-formed requests");
        let sent = Instant::now();
        self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await.expect("an open connection");
            let (response, mut stream) =
                sender.send_request(request, false).expect("an open connection");
            for piece in pieces {
                stream.send_data(Bytes::copy_from_slice(piece), false).expect("an open stream");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stream.send_trailers(trailers()).expect("an open stream");
            Pending { response, sent }
        })
    }

    /// Waits for the end of a stream.
    ///
    /// # Panics
    /// If no response comes.
    pub fn finish(&self, pending: Pending) -> Response {
        self.try_finish(pending).expect("a response")
    }

    /// Waits for the end of a stream; `None` if no response begins.
    ///
    /// # Panics
    /// If nothing comes in time.
    pub fn try_finish(&self, pending: Pending) -> Option<Response> {
        self.runtime.block_on(async {
            let all = async {
                let response = pending.response.await.ok()?;
                let (head, body) = response.into_parts();
                let (body, trailers, reset) = read(body).await;
                let end_after = pending.sent.elapsed();
                let status = head.status.as_u16();
                Some(Response { status, headers: head.headers, body, trailers, reset, end_after })
            };
            timeout(self.patience, all).await.expect("the end of a stream in time")
        })
    }

    /// Whether the peer said GOAWAY within this time, after which the connection ends with its last
    /// stream.
    pub fn leaves_within(&mut self, time: Duration) -> bool {
        let connection = &mut self.connection;
        let ended = self.runtime.block_on(async { timeout(time, connection).await });
        match ended {
            Err(_) => false,
            Ok(joined) => {
                let outcome = joined.expect("the connection does not panic");
                outcome.expect("a connection that ends in order");
                true
            }
        }
    }
}

/// Starts an upstream that speaks HTTP/2 and answers every request with this body, in pieces of
/// known total length, and with trailers; the port.
///
/// # Panics
/// If this machine has no port left.
pub fn serve(pieces: &'static [&'static [u8]]) -> u16 {
    listen(move |stream| answer(stream, pieces))
}

/// Starts an upstream that refuses every stream; the port.
///
/// # Panics
/// If this machine has no port left.
pub fn refuse() -> u16 {
    listen(|stream| async {
        let mut connection = h2::server::handshake(stream).await?;
        while let Some(exchange) = connection.accept().await {
            let (_, mut respond) = exchange?;
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        Ok::<(), h2::Error>(())
    })
}

/// Serves each connection with `connection`, on a thread of its own; where it listens.
pub(crate) fn listen<C>(connection: impl Fn(TcpStream) -> C + Send + 'static) -> u16
where
    C: Future<Output = Result<(), h2::Error>> + Send + 'static,
{
    let (told, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a thread").block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let port = listener.local_addr().expect("a bound socket has an address").port();
            told.send(port).expect("the caller waits for it");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream));
            }
        });
    });
    port.recv().expect("a port")
}

async fn answer(stream: TcpStream, pieces: &'static [&'static [u8]]) -> Result<(), h2::Error> {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        let head = http::Response::builder().header("content-length", length);
        let mut stream = respond.send_response(head.body(()).expect("a good head"), false)?;
        tokio::spawn(async move {
            for piece in pieces {
                stream.send_data(Bytes::from_static(piece), false)?;
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            stream.send_trailers(trailers())
        });
    }
    Ok(())
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("x-checksum"),
        http::HeaderValue::from_static("12345"),
    )])
}

async fn read(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>, Option<Reason>) {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        match piece {
            Ok(piece) => {
                bytes.extend_from_slice(&piece);
                // Gives the window back; it fails on a stream that is gone, which the next read tells.
                let _ = body.flow_control().release_capacity(piece.len());
            }
            Err(error) => return (bytes, None, Some(reason(&error))),
        }
    }
    match body.trailers().await {
        Ok(trailers) => (bytes, trailers, None),
        Err(error) => (bytes, None, Some(reason(&error))),
    }
}

/// Header fields as HTTP/2 wants them.
///
/// # Panics
/// If one is malformed.
pub fn fields(fields: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name = name.parse::<http::HeaderName>().expect("a well-formed name");
        (name, value.parse().expect("a well-formed value"))
    };
    fields.iter().map(field).collect()
}

/// A connection that broke cancels its streams.
fn reason(error: &h2::Error) -> Reason {
    error.reason().unwrap_or(Reason::CANCEL)
}
