//! Runs cases on a real Envoy.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use bytes::Bytes;
use h2::server::SendResponse;
use http::Request as HttpRequest;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

use super::case::{Callback, Case, Fields, Message};
use super::observed::{Observed, by_case, visible};
use super::simulated::PLUGIN;
use super::{VM_ID, generate, interpreter, path};
use crate::envoy::{Bootstrap, Envoy};
use crate::http1::Client;
use crate::upstream::{Reply, Request, Upstream};
use crate::{eventually, http2, unused_port};

/// The pause before a chunk, so that the proxy receives each chunk by itself.
const PAUSE: Duration = Duration::from_millis(8);

/// The time after which a stream that waits has no more events.
const SETTLED: Duration = Duration::from_millis(60);

/// The client closes the connection if an exchange lasts this much longer than in the simulator.
const LATE: Duration = Duration::from_secs(2);

/// The request header that selects the HTTP/2 upstream.
const PROTOCOL: &str = "x-protocol";

/// The requests that the upstreams received, by path.
type Received = Arc<Mutex<BTreeMap<String, (Fields, Option<String>)>>>;

/// Runs cases one after the other until one of them ends Envoy. `pokes` are the numbers of pokes
/// that each needs.
///
/// # Panics
/// If Envoy does not start.
pub(super) fn run(cases: &[Case], pokes: &[u32]) -> Vec<Observed> {
    let scripts: Arc<BTreeMap<String, Case>> =
        Arc::new(cases.iter().enumerate().map(|(at, case)| (path(at), case.clone())).collect());
    let received = Received::default();
    let http1 = http1_upstream(scripts.clone(), received.clone());
    let http2 = http2_upstream(scripts, received.clone());
    let calls = Upstream::start(|_, reply| reply.respond(200, &[("x-call", "1")], b"called"));
    let mut envoy = start(cases, http1.port, http2, calls.port);
    let mut observed = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let one = match case.http2 {
            true => over_http2(index, case, pokes[index], envoy.port),
            false => over_http1(index, case, pokes[index], envoy.port),
        };
        let Some(mut one) = one.filter(|_| !envoy.has_ended()) else { break };
        // A request whose body is not complete is not answered.
        let begun = http1.requests(&path(index));
        if let Some(request) = begun.first().filter(|request| !request.complete) {
            one.request_headers = Some(visible(request.headers.fields.clone()));
        }
        let got = received.lock().unwrap_or_else(PoisonError::into_inner).remove(&path(index));
        if let Some((headers, body)) = got {
            one.request_headers = Some(visible(headers));
            one.request_body = body;
        }
        observed.push(one);
    }
    if let Some(last) = observed.len().checked_sub(1).filter(|last| last + 1 == cases.len()) {
        let calls = cases[last].program.get(&Callback::Delete).map_or(0, |end| end.calls.len());
        let last = match calls {
            0 => format!("guest# {last} 17 "),
            calls => format!("guest# {last} 17.{} ", calls - 1),
        };
        eventually("the end of the last case", || envoy.log().contains(&last).then_some(()));
    }
    // A response to a call may arrive after the end of its stream.
    std::thread::sleep(3 * SETTLED);
    let log = envoy.log();
    let mut log = by_case(log.lines());
    for (index, one) in observed.iter_mut().enumerate() {
        one.log = log.remove(&index).unwrap_or_default();
    }
    observed
}

fn start(cases: &[Case], http1: u16, http2: u16, calls: u16) -> Envoy {
    let filter = json!({ "name": PLUGIN, "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": PLUGIN,
            "configuration": { "@type": "type.googleapis.com/google.protobuf.StringValue",
                               "value": interpreter::configuration(cases) },
            "vm_config": { "vm_id": VM_ID, "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": {
                    "inline_bytes": Base64::encode_string(&interpreter::module()) } } } } } });
    let bootstrap = Bootstrap::example("static", http1)
        .without("sluice")
        .with_filter(filter)
        .with_cluster(generate::CLUSTERS[0], calls)
        .with_cluster(generate::CLUSTERS[1], unused_port())
        .with_http2_cluster("http2", http2)
        .changed("routes", |routes| {
            let route = json!({
                "match": { "prefix": "/", "headers": [
                    { "name": PROTOCOL, "string_match": { "exact": "2" } }] },
                "route": { "cluster": "http2" }, "request_headers_to_remove": [PROTOCOL] });
            routes.as_array_mut().expect("a list of routes").insert(0, route);
        });
    Envoy::start(bootstrap)
}

fn over_http1(index: usize, case: &Case, pokes: u32, port: u16) -> Option<Observed> {
    let mut client = Client::try_connect(port).ok()?;
    let socket = client.handle();
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            poke(index, pokes, port);
            if pokes > 2 || is_late(&ended) {
                // This fails if the proxy has closed the connection already.
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
        let mut headers = case.request.all_headers();
        headers.insert(0, ("x-case".to_owned(), index.to_string()));
        headers.push(("host".to_owned(), "localhost".to_owned()));
        let chunked = !case.request.has_length && !case.request.chunks.is_empty();
        if chunked {
            headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
        }
        let borrowed: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        if !client.try_send(&case.method, &path(index), &borrowed) {
            return None;
        }
        let last = std::iter::once("").filter(|_| chunked);
        for chunk in case.request.chunks.iter().map(String::as_str).chain(last) {
            std::thread::sleep(PAUSE);
            let bytes = match chunked {
                true => format!("{:x}\r\n{chunk}\r\n", chunk.len()),
                false => chunk.to_owned(),
            };
            if !client.try_write(bytes.as_bytes()) {
                break;
            }
        }
        let response = client.try_receive();
        drop(end);
        let Some(response) = response else {
            return Some(Observed { body: sha256(b""), ..Observed::default() });
        };
        Some(Observed {
            status: Some(response.status),
            headers: visible(response.headers.fields),
            body: sha256(&response.body.bytes),
            complete: response.body.complete,
            ..Observed::default()
        })
    })
}

fn over_http2(index: usize, case: &Case, pokes: u32, port: u16) -> Option<Observed> {
    let client = http2::Client::try_connect(port).ok()?;
    let mut request = HttpRequest::builder()
        .method(&*case.method)
        .uri(format!("http://localhost{}", path(index)))
        .header("x-case", index.to_string())
        .header(PROTOCOL, "2");
    for (name, value) in case.request.all_headers() {
        request = request.header(name, value);
    }
    let request = request.body(()).expect("a well-formed request");
    let (pending, mut stream) = client.try_open(request, case.request.is_empty()).ok()?;
    let (end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let client = &client;
        scope.spawn(move || {
            poke(index, pokes, port);
            if pokes > 2 || is_late(&ended) {
                client.abort();
            }
        });
        let message = &case.request;
        let last = message.chunks.len();
        for (at, chunk) in message.chunks.iter().enumerate() {
            std::thread::sleep(PAUSE);
            let end = at + 1 == last && message.trailers.is_empty();
            // This fails if the proxy has reset the stream.
            let _ = stream.send_data(Bytes::copy_from_slice(chunk.as_bytes()), end);
        }
        if !message.trailers.is_empty() {
            std::thread::sleep(PAUSE);
            let _ = stream.send_trailers(http2::fields(&message.trailers));
        }
        let response = client.try_finish(pending);
        drop(end);
        let Some(response) = response else {
            return Some(Observed { body: sha256(b""), ..Observed::default() });
        };
        Some(Observed {
            status: Some(response.status),
            headers: visible(owned(&response.headers)),
            body: sha256(&response.body),
            trailers: visible(response.trailers.iter().flat_map(owned)),
            complete: response.reset.is_none(),
            ..Observed::default()
        })
    })
}

/// Waits for the end of an exchange, which drops the sender; returns whether it is late.
fn is_late(ended: &mpsc::Receiver<()>) -> bool {
    ended.recv_timeout(LATE) == Err(RecvTimeoutError::Timeout)
}

/// Sends the pokes of a case, each after the stream has settled.
fn poke(index: usize, pokes: u32, port: u16) {
    for number in 1..=pokes {
        std::thread::sleep(SETTLED);
        if number <= 2 {
            let Ok(mut client) = Client::try_connect(port) else { return };
            let (case, poke) = (index.to_string(), number.to_string());
            let headers = [("host", "localhost"), ("x-case", &*case), ("x-poke", &poke)];
            if client.try_send("GET", "/", &headers) {
                drop(client.try_receive());
            }
        }
    }
}

fn http1_upstream(scripts: Arc<BTreeMap<String, Case>>, received: Received) -> Upstream {
    Upstream::start(move |request, reply| {
        let path = request.path().to_owned();
        let headers = request.headers.fields.clone();
        record(&received, &path, headers, Some(&request.body));
        match scripts.get(&path) {
            Some(case) => respond(case, request, reply),
            None => reply.respond(200, &[], b"ok"),
        }
    })
}

fn respond(case: &Case, request: &Request, reply: &mut Reply) {
    let message = &case.response;
    let mut headers = message.all_headers();
    let chunked = !message.has_length && !message.chunks.is_empty();
    if message.chunks.is_empty() {
        headers.push(("content-length".to_owned(), "0".to_owned()));
    } else if chunked {
        headers.push(("transfer-encoding".to_owned(), "chunked".to_owned()));
    }
    let borrowed: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    reply.send_headers(case.status, &borrowed);
    if request.headers.start_line.starts_with("HEAD ") {
        return;
    }
    let end = std::iter::once("").filter(|_| chunked);
    for chunk in message.chunks.iter().map(String::as_str).chain(end) {
        std::thread::sleep(PAUSE);
        match chunked {
            true => reply.send_chunk(chunk.as_bytes()),
            false => reply.write(chunk.as_bytes()),
        }
    }
}

fn http2_upstream(scripts: Arc<BTreeMap<String, Case>>, received: Received) -> u16 {
    http2::listen(move |stream| http2_connection(stream, scripts.clone(), received.clone()))
}

async fn http2_connection(
    stream: TcpStream,
    scripts: Arc<BTreeMap<String, Case>>,
    received: Received,
) -> Result<(), h2::Error> {
    let _ = stream.set_nodelay(true);
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        tokio::spawn(http2_exchange(request, respond, scripts.clone(), received.clone()));
    }
    Ok(())
}

async fn http2_exchange(
    request: HttpRequest<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    scripts: Arc<BTreeMap<String, Case>>,
    received: Received,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let headers = owned(&parts.headers);
    let length = parts.headers.get("content-length").and_then(|value| value.to_str().ok());
    let length = length.and_then(|length| length.parse().ok());
    let mut bytes = Vec::new();
    record(&received, &path, headers.clone(), None);
    // As with HTTP/1.1, a request with a length ends with its last byte.
    while length != Some(bytes.len())
        && let Some(data) = body.data().await
    {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    if length.is_none() {
        body.trailers().await?;
    }
    record(&received, &path, headers, Some(&bytes));
    let Some(case) = scripts.get(&path) else { return Ok(()) };
    let message: &Message = &case.response;
    let mut response = http::Response::builder().status(case.status);
    for (name, value) in message.all_headers() {
        response = response.header(name, value);
    }
    let response = response.body(()).expect("a well-formed response");
    let mut stream = respond.send_response(response, message.is_empty())?;
    for chunk in &message.chunks {
        tokio::time::sleep(PAUSE).await;
        stream.send_data(Bytes::copy_from_slice(chunk.as_bytes()), false)?;
    }
    if !message.trailers.is_empty() {
        tokio::time::sleep(PAUSE).await;
        stream.send_trailers(http2::fields(&message.trailers))?;
    } else if !message.chunks.is_empty() {
        tokio::time::sleep(PAUSE).await;
        stream.send_data(Bytes::new(), true)?;
    }
    Ok(())
}

fn record(received: &Received, path: &str, headers: Fields, body: Option<&[u8]>) {
    let body = body.map(sha256);
    let mut received = received.lock().unwrap_or_else(PoisonError::into_inner);
    received.insert(path.to_owned(), (headers, body));
}

fn owned(fields: &http::HeaderMap) -> Fields {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
