//! The servers that guests call: one speaks HTTP/1.1, one gRPC. Each responds as the row says and
//! records what it receives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request};
use sluice_sim::trace::{AttemptEnd, ClusterResponse};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::http2::{fields, listen};
use crate::upstream::{Reply, Upstream};

/// The HTTP/1.1 server.
pub(super) const HTTP: &str = "callout";
/// The gRPC server.
pub(super) const GRPC: &str = "grpc";
/// A cluster whose port refuses connections.
pub(super) const REFUSED: &str = "refused";

/// A response to a call.
#[derive(Debug, Clone)]
pub(super) struct Script {
    after: Duration,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    messages: Option<Vec<Vec<u8>>>,
    trailers: Vec<(String, String)>,
    end: AttemptEnd,
}

impl Script {
    pub(super) fn new(respond: &ClusterResponse<'_>) -> Self {
        let pairs = |headers: &sluice_sim::trace::Headers<'_>| {
            headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        Self {
            after: respond.after,
            status: respond.status.or((respond.end == AttemptEnd::Complete).then_some(200)),
            headers: pairs(&respond.headers),
            body: respond.body.as_ref().map(|body| body.0.to_vec()).unwrap_or_default(),
            messages: respond
                .messages
                .as_ref()
                .map(|messages| messages.iter().map(|message| message.0.to_vec()).collect()),
            trailers: match &respond.trailers {
                Some(trailers) => pairs(trailers),
                None => default_trailers(respond),
            },
            end: respond.end,
        }
    }

    fn respond_http1(&self, reply: &mut Reply) {
        std::thread::sleep(self.after);
        let Some(status) = self.status else {
            return match self.end {
                AttemptEnd::Never => while !reply.read().is_empty() {},
                _ => reply.close(),
            };
        };
        let mut headers = crate::guests::envoy::pairs(&self.headers);
        // More bytes than arrive, if the response is not complete.
        let missing = if self.end == AttemptEnd::Complete { 0 } else { 10 };
        let length = (self.body.len() + missing).to_string();
        headers.push(("content-length", &length));
        reply.send_headers(status, &headers);
        reply.write(&self.body);
        match self.end {
            AttemptEnd::Complete => {}
            AttemptEnd::Never => while !reply.read().is_empty() {},
            _ => reply.close(),
        }
    }

    async fn respond_grpc(
        &self,
        mut respond: SendResponse<Bytes>,
        reset: &Notify,
    ) -> Result<(), h2::Error> {
        tokio::time::sleep(self.after).await;
        let Some(status) = self.status else {
            match self.end {
                AttemptEnd::Never => {
                    std::future::poll_fn(|context| respond.poll_reset(context)).await?;
                }
                _ => reset.notify_one(),
            }
            return Ok(());
        };
        let mut response = http::Response::builder().status(status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let response = response.header("content-type", "application/grpc").body(());
        let response = response.expect("a row has well-formed headers");
        let messages: Vec<u8> =
            self.messages.iter().flatten().flat_map(|message| framed(message)).collect();
        let body = [&*self.body, &messages].concat();
        let ends = body.is_empty() && self.trailers.is_empty();
        let mut stream =
            respond.send_response(response, ends && self.end == AttemptEnd::Complete)?;
        if !body.is_empty() {
            stream.send_data(body.into(), false)?;
        }
        match self.end {
            AttemptEnd::Complete if ends => Ok(()),
            AttemptEnd::Complete if self.trailers.is_empty() => {
                stream.send_data(Bytes::new(), true)
            }
            AttemptEnd::Complete => stream.send_trailers(fields(&self.trailers)),
            AttemptEnd::Never => {
                std::future::poll_fn(|context| stream.poll_reset(context)).await.map(drop)
            }
            _ => {
                reset.notify_one();
                Ok(())
            }
        }
    }
}

/// The trailers of a gRPC response with messages whose row has none.
fn default_trailers(respond: &ClusterResponse<'_>) -> Vec<(String, String)> {
    let has_status = respond.headers.iter().any(|(name, _)| &**name == "grpc-status");
    match respond.messages.is_some() && !has_status {
        true => vec![("grpc-status".to_owned(), "0".to_owned())],
        false => Vec::new(),
    }
}

/// A gRPC message with its prefix: not compressed, and the length.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(message);
    bytes
}

/// The running servers.
pub(super) struct Clusters {
    http: Upstream,
    grpc: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    http: Option<Script>,
    grpc: Option<Script>,
    calls: Vec<String>,
}

impl Clusters {
    pub(super) fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        let http = Upstream::start(move |request, reply| {
            let headers: Vec<_> =
                request.headers.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            let line = request.headers.start_line.trim_end_matches(" HTTP/1.1");
            let host = request.header("host").unwrap_or_default();
            let body = String::from_utf8_lossy(&request.body);
            let mut state = lock(&shared);
            state.calls.push(format!("{HTTP} {line} {host} {}'{body}'", own(&headers)));
            let script = state.http.clone();
            drop(state);
            match script {
                Some(script) => script.respond_http1(reply),
                None => reply.close(),
            }
        });
        let shared = state.clone();
        let grpc = listen(move |stream| serve_grpc(stream, shared.clone()));
        Self { http, grpc, state }
    }

    pub(super) fn http_port(&self) -> u16 {
        self.http.port
    }

    pub(super) fn grpc_port(&self) -> u16 {
        self.grpc
    }

    /// Sets the response of a cluster from now on.
    pub(super) fn respond(&self, cluster: &str, script: Script) {
        let mut state = lock(&self.state);
        match cluster {
            HTTP => state.http = Some(script),
            GRPC => state.grpc = Some(script),
            // The port of the other cluster refuses connections.
            _ => {}
        }
    }

    /// The calls since the last time.
    pub(super) fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).calls)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The headers that the guest sets.
pub(super) fn own(headers: &[(&str, &str)]) -> String {
    let own = headers.iter().filter(|(name, _)| matches!(*name, "x-asked" | "x-meta"));
    own.map(|(name, value)| format!("{name}={value} ")).collect()
}

async fn serve_grpc(stream: TcpStream, state: Arc<Mutex<State>>) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let reset = Arc::new(Notify::new());
    let mut is_reset = Box::pin(reset.clone().notified_owned());
    loop {
        let accepted = std::future::poll_fn(|context| match is_reset.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => connection.poll_accept(context),
        });
        let Some(accepted) = accepted.await else { return Ok(()) };
        let (request, respond) = accepted?;
        let (state, reset) = (state.clone(), reset.clone());
        tokio::spawn(async move { serve_call(request, respond, &state, &reset).await });
    }
}

async fn serve_call(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    state: &Mutex<State>,
    reset: &Notify,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let Ok(data) = data else { break };
        bytes.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let script = {
        let mut state = lock(state);
        let headers: Vec<_> = text_of(&parts.headers);
        let message: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = parts.uri.path();
        state.calls.push(format!("{GRPC} {} {path} {}{message}", parts.method, own(&headers)));
        state.grpc.clone()
    };
    match script {
        Some(script) => script.respond_grpc(respond, reset).await,
        None => Ok(()),
    }
}

fn text_of(headers: &HeaderMap) -> Vec<(&str, &str)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()))
        .collect()
}
