//! The cluster of a trace on a real socket: a server that responds as a `respond` event says.

use std::net::TcpStream as Socket;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::http1::Reader;
use crate::http1::message::Framing;
use crate::{http2, net, unused_port};

/// A response, from the fields of a `respond` event.
#[derive(Debug)]
struct Script {
    after: Duration,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
    end: String,
}

impl Script {
    fn of(respond: &Value) -> Self {
        let mut body = bytes(&respond["body"]);
        let messages = respond["messages"].as_array();
        for message in messages.into_iter().flatten().map(bytes) {
            body.push(0);
            body.extend((message.len() as u32).to_be_bytes());
            body.extend(message);
        }
        let headers = fields(&respond["headers"]);
        let named = headers.iter().any(|(name, _)| name == "grpc-status");
        let trailers = match &respond["trailers"] {
            Value::Null if messages.is_some() && !named => {
                vec![("grpc-status".to_owned(), "0".to_owned())]
            }
            trailers => fields(trailers),
        };
        Self {
            after: respond["after"].as_str().map_or(Duration::ZERO, milliseconds),
            status: respond["status"].as_u64().and_then(|status| status.try_into().ok()),
            headers,
            body,
            trailers,
            end: respond["end"].as_str().unwrap_or("complete").to_owned(),
        }
    }

    fn starts(&self) -> bool {
        self.status.is_some() || self.end == "complete"
    }
}

/// Only whole milliseconds, such as `7ms`.
fn milliseconds(text: &str) -> Duration {
    let millis = text.strip_suffix("ms").and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or_else(|| panic!("expected milliseconds, found {text}")))
}

fn bytes(value: &Value) -> Vec<u8> {
    let hex = |text: &str| {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("digits"))
            .collect()
    };
    match value["hex"].as_str() {
        Some(text) => hex(text),
        None => value.as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

fn fields(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    value.as_array().into_iter().flatten().map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
}

/// Starts a server that speaks HTTP/1.1; returns the port.
///
/// # Panics
/// If no port is free.
pub fn serve_http1(respond: &Value) -> u16 {
    let script = Script::of(respond);
    if script.end == "refused" {
        return unused_port();
    }
    net::listen(move |stream| reply_http1(stream, &script))
}

fn reply_http1(stream: Socket, script: &Script) {
    use std::io::Write as _;
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = Reader::new(stream);
    while let Ok(Some(headers)) = reader.headers() {
        let framing = Framing::of(&headers).unwrap_or(Framing::Empty);
        let Ok(_) = reader.body(framing) else { return };
        std::thread::sleep(script.after);
        let mut text = format!("HTTP/1.1 {} Status\r\n", script.status.unwrap_or(200));
        for (name, value) in &script.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let written = match (script.starts(), script.end.as_str()) {
            (true, _) => [text.as_bytes(), &script.body].concat(),
            (false, "reset_in_header") => b"HTTP/1.1 200 OK\r\nx-broken".to_vec(),
            (false, _) => Vec::new(),
        };
        if writer.write_all(&written).is_err() {
            return;
        }
        match script.end.as_str() {
            "complete" => {}
            "never" => {
                let _ = reader.read_to_end();
                return;
            }
            _ => return,
        }
    }
}

/// Starts a server that speaks HTTP/2; returns the port.
///
/// # Panics
/// If no port is free.
pub fn serve_http2(respond: &Value) -> u16 {
    let script = Arc::new(Script::of(respond));
    if script.end == "refused" {
        return unused_port();
    }
    http2::listen(move |stream| reply_http2(stream, script.clone()))
}

async fn reply_http2(stream: TcpStream, script: Arc<Script>) -> Result<(), h2::Error> {
    let handle = Arc::new(OnceLock::new());
    let serving = tokio::spawn(accept(stream, script, handle.clone()));
    let _ = handle.set(serving.abort_handle());
    // The task of a request can abort this one, which closes the connection.
    serving.await.unwrap_or(Ok(()))
}

async fn accept(
    stream: TcpStream,
    script: Arc<Script>,
    handle: Arc<OnceLock<AbortHandle>>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let (script, handle) = (script.clone(), handle.clone());
        tokio::spawn(async move {
            let mut body = request.into_body();
            while body.data().await.is_some() {}
            tokio::time::sleep(script.after).await;
            if respond_http2(respond, &script).await.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if let Some(handle) = handle.get() {
                    handle.abort();
                }
            }
        });
    }
    Ok(())
}

/// Responds to one request; `None` if the connection closes then.
async fn respond_http2(mut respond: SendResponse<Bytes>, script: &Script) -> Option<()> {
    let never = || tokio::time::sleep(Duration::from_secs(3600));
    let complete = script.end == "complete";
    if !script.starts() {
        match script.end.as_str() {
            "refused_stream" => respond.send_reset(Reason::REFUSED_STREAM),
            "never" => never().await,
            _ => return None,
        }
        return Some(());
    }
    let mut response = http::Response::new(());
    *response.status_mut() = script.status.unwrap_or(200).try_into().expect("a status");
    *response.headers_mut() = http2::fields(&script.headers);
    let empty = script.body.is_empty() && script.trailers.is_empty();
    let mut stream = respond.send_response(response, complete && empty).ok()?;
    if !script.body.is_empty() {
        let end = complete && script.trailers.is_empty();
        stream.send_data(Bytes::copy_from_slice(&script.body), end).ok()?;
    }
    match script.end.as_str() {
        "complete" if !script.trailers.is_empty() => {
            stream.send_trailers(http2::fields(&script.trailers)).ok()
        }
        "complete" => Some(()),
        "never" => {
            never().await;
            Some(())
        }
        _ => None,
    }
}
