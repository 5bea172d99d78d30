//! The upstreams of the cases. They find a case by the path of its request, and record what they
//! receive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use tokio::net::TcpStream;

use super::{PAUSE, owned, sha256};
use crate::http2 as h2c;
use crate::random_guest::case::{Case, Fields, Message};
use crate::random_guest::simulated::framing;
use crate::upstream::{Reply, Request, Upstream};

/// The cases by the path of their requests.
pub(super) type Scripts = Arc<BTreeMap<String, Case>>;

/// The requests that the upstreams received, by path.
pub(super) type Received = Arc<Mutex<BTreeMap<String, (Fields, Option<String>)>>>;

/// Starts the HTTP/1.1 upstream.
pub(super) fn http1(scripts: Scripts, received: Received) -> Upstream {
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
    headers.extend(framing(message).map(|[name, value]| (name.to_owned(), value.to_owned())));
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

/// Starts the HTTP/2 upstream; returns the port.
pub(super) fn http2(scripts: Scripts, received: Received) -> u16 {
    h2c::listen(move |stream| http2_connection(stream, scripts.clone(), received.clone()))
}

async fn http2_connection(
    stream: TcpStream,
    scripts: Scripts,
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
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    scripts: Scripts,
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
        stream.send_trailers(h2c::fields(&message.trailers))?;
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
