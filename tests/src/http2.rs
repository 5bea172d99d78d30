//! A blocking client of HTTP/2 without TLS, on one connection. Streams run concurrently; the tests
//! see resets and GOAWAY frames. Also upstreams that speak HTTP/2.

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

use crate::TEST_TIMEOUT;

/// A connection.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
    timeout: Duration,
}

/// A stream whose response has not been read.
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
    /// The body, as far as it was received.
    pub body: Vec<u8>,
    /// The trailers, if there are any.
    pub trailers: Option<HeaderMap>,
    /// Why the stream was reset, if it was.
    pub reset: Option<Reason>,
    /// The time from the request to the end of the stream.
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
    /// If no HTTP/2 server listens on the port.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port)
            .unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"))
    }

    /// [`connect`](Self::connect) to a program that may have ended.
    ///
    /// # Errors
    /// If no HTTP/2 server listens on the port.
    pub fn try_connect(port: u16) -> Result<Self, h2::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread for the connection");
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
            let stream = stream.map_err(|_| h2::Error::from(Reason::CONNECT_ERROR))?;
            stream.set_nodelay(true).expect("an open socket accepts options");
            h2::client::handshake(stream).await
        })?;
        let connection = runtime.spawn(connection);
        Ok(Self { runtime, sender, connection, timeout: TEST_TIMEOUT })
    }

    /// Replaces [`TEST_TIMEOUT`] as the longest wait for the end of a stream.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Closes the connection and with it all streams.
    pub fn abort(&self) {
        self.connection.abort();
    }

    /// Whether a new stream may begin; false after a GOAWAY.
    pub fn accepts_streams(&self) -> bool {
        self.runtime.block_on(async { self.sender.clone().ready().await.is_ok() })
    }

    /// Sends a GET request and reads the response.
    pub fn get(&mut self, path: &str) -> Response {
        let pending = self.start("GET", path, &[], Some(b""));
        self.finish(pending)
    }

    /// Starts a stream. Without a body, the client's side of the stream stays open.
    ///
    /// # Panics
    /// If the connection accepts no new streams.
    pub fn start(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Pending {
        self.try_start(method, path, headers, body).expect("a connection that accepts streams")
    }

    /// [`start`](Self::start) on a connection that may have ended.
    ///
    /// # Errors
    /// If the connection accepts no new streams, for example after a GOAWAY.
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
        let request = request.body(()).expect("a well-formed request");
        let empty = body.is_some_and(<[u8]>::is_empty);
        let (pending, mut stream) = self.try_open(request, empty)?;
        if let Some(body) = body.filter(|body| !body.is_empty()) {
            // This fails if the peer has responded already and ended the stream.
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        }
        Ok(pending)
    }

    /// Starts a stream; unless `end` is set, the caller sends the body.
    ///
    /// # Errors
    /// If the connection accepts no new streams, for example after a GOAWAY.
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

    /// Starts a stream and sends a body in chunks, followed by trailers.
    ///
    /// # Panics
    /// If the connection accepts no new streams, or the stream is reset.
    pub fn upload(&self, path: &str, headers: &[(&str, &str)], chunks: &[&[u8]]) -> Pending {
        let mut request = Request::post(format!("http://example.com{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a well-formed request");
        let sent = Instant::now();
        self.runtime.block_on(async {
            let mut sender = self.sender.clone().ready().await.expect("an open connection");
            let (response, mut stream) =
                sender.send_request(request, false).expect("an open connection");
            for chunk in chunks {
                stream.send_data(Bytes::copy_from_slice(chunk), false).expect("an open stream");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            stream.send_trailers(trailers()).expect("an open stream");
            Pending { response, sent }
        })
    }

    /// Waits for the end of a stream.
    ///
    /// # Panics
    /// If no response begins.
    pub fn finish(&self, pending: Pending) -> Response {
        self.try_finish(pending).expect("a response")
    }

    /// Waits for the end of a stream; `None` if no response begins.
    ///
    /// # Panics
    /// If the stream does not end before the timeout.
    pub fn try_finish(&self, pending: Pending) -> Option<Response> {
        self.runtime.block_on(async {
            let all = async {
                let response = pending.response.await.ok()?;
                let (parts, body) = response.into_parts();
                let (body, trailers, reset) = read(body).await;
                let end_after = pending.sent.elapsed();
                let status = parts.status.as_u16();
                Some(Response { status, headers: parts.headers, body, trailers, reset, end_after })
            };
            timeout(self.timeout, all).await.expect("the end of a stream before the timeout")
        })
    }

    /// Whether the peer sends GOAWAY within this time and the connection ends.
    pub fn goaway_within(&mut self, time: Duration) -> bool {
        let connection = &mut self.connection;
        let ended = self.runtime.block_on(async { timeout(time, connection).await });
        match ended {
            Err(_) => false,
            Ok(joined) => {
                let outcome = joined.expect("the connection does not panic");
                outcome.expect("a connection that ends without an error");
                true
            }
        }
    }
}

/// Starts an upstream that responds to every request with these chunks, a content length and
/// trailers; returns the port.
///
/// # Panics
/// If no port is free.
pub fn serve_chunks(chunks: &'static [&'static [u8]]) -> u16 {
    listen(move |stream| respond_in_chunks(stream, chunks))
}

/// Starts an upstream that resets every stream with REFUSED_STREAM; returns the port.
///
/// # Panics
/// If no port is free.
pub fn refuse_streams() -> u16 {
    listen(|stream| async {
        let mut connection = h2::server::handshake(stream).await?;
        while let Some(exchange) = connection.accept().await {
            let (_, mut respond) = exchange?;
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        Ok::<(), h2::Error>(())
    })
}

/// Accepts connections on a free port and serves them on one thread; returns the port.
pub(crate) fn listen<C>(connection: impl Fn(TcpStream) -> C + Send + 'static) -> u16
where
    C: Future<Output = Result<(), h2::Error>> + Send + 'static,
{
    let (sender, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a thread").block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            let port = listener.local_addr().expect("a bound socket has an address").port();
            sender.send(port).expect("the caller waits for the port");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream));
            }
        });
    });
    port.recv().expect("a port")
}

async fn respond_in_chunks(
    stream: TcpStream,
    chunks: &'static [&'static [u8]],
) -> Result<(), h2::Error> {
    let length: usize = chunks.iter().map(|chunk| chunk.len()).sum();
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (_, mut respond) = request?;
        let response = http::Response::builder().header("content-length", length).body(());
        let mut stream = respond.send_response(response.expect("a valid response"), false)?;
        tokio::spawn(async move {
            for chunk in chunks {
                stream.send_data(Bytes::from_static(chunk), false)?;
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
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                bytes.extend_from_slice(&data);
                // This fails on a stream that has ended; the next read returns the error.
                let _ = body.flow_control().release_capacity(data.len());
            }
            Err(error) => return (bytes, None, Some(reason(&error))),
        }
    }
    match body.trailers().await {
        Ok(trailers) => (bytes, trailers, None),
        Err(error) => (bytes, None, Some(reason(&error))),
    }
}

/// Header fields as the `http` crate represents them.
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

/// The reason of a reset; CANCEL if the connection was lost.
fn reason(error: &h2::Error) -> Reason {
    error.reason().unwrap_or(Reason::CANCEL)
}
