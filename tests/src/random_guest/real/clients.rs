//! The client of a case, and the pokes while its stream waits.

use std::net::Shutdown;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;

use super::{PAUSE, SETTLED, owned, sha256};
use crate::http1::Client;
use crate::http2;
use crate::random_guest::case::Case;
use crate::random_guest::observed::{Observed, visible};
use crate::random_guest::{PROTOCOL, path};

/// The client closes the connection if an exchange lasts this much longer than in the simulator.
const LATE: Duration = Duration::from_secs(2);

/// Sends the request of a case over HTTP/1.1; `None` if the proxy has ended.
pub(super) fn over_http1(index: usize, case: &Case, pokes: u32, port: u16) -> Option<Observed> {
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
        if case.response.has_length {
            // The guest may still receive a part of a response that is complete for the client.
            std::thread::sleep(SETTLED);
        }
        Some(Observed {
            status: Some(response.status),
            headers: visible(response.headers.fields),
            body: sha256(&response.body.bytes),
            complete: response.body.complete,
            ..Observed::default()
        })
    })
}

/// Sends the request of a case over HTTP/2; `None` if the proxy has ended.
pub(super) fn over_http2(index: usize, case: &Case, pokes: u32, port: u16) -> Option<Observed> {
    let client = http2::Client::try_connect(port).ok()?;
    let mut request = Request::builder()
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
