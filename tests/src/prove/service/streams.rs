//! The streams of the service: an endless event stream, a WebSocket, and a model's completion. Each
//! write ends at arbitrary bytes, as the reads of a proxy do, so that a stream that a proxy ends
//! between two reads is torn.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::http1::message::Headers;

/// The time between two writes of a stream.
const INTERVAL: Duration = Duration::from_millis(250);

/// `no` makes nginx forward each chunk of a response at once.
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                      x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n";

/// The accepted key is the one of RFC 6455's example, which every client sends.
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                        connection: upgrade\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A Close frame with code 1000.
const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xe8];

/// Whether the path belonged to a stream; the stream has then ended.
pub(super) fn respond(
    headers: &Headers,
    stream: &mut TcpStream,
    is_over: &AtomicBool,
) -> io::Result<bool> {
    let path = headers.start_line.split(' ').nth(1).unwrap_or_default();
    let is_over = || is_over.load(Ordering::Relaxed);
    if path == "/streams/events" {
        let last = headers.get("last-event-id").and_then(|id| id.parse().ok()).unwrap_or(0);
        stream.write_all(EVENTS.as_bytes())?;
        let item = |number: u64| format!("id: {number}\ndata: event {number}\n\n").into_bytes();
        write_items(last + 1, item, is_over, |piece| write_chunk(stream, piece))?;
        write_chunk(stream, b"")?;
    } else if path == "/streams/socket" {
        stream.write_all(UPGRADED.as_bytes())?;
        write_items(1, text_frame, is_over, |piece| stream.write_all(piece))?;
        stream.write_all(&CLOSE)?;
        stream.shutdown(Shutdown::Both)?;
    } else if let Some(length) = path.strip_prefix("/completions?milliseconds=") {
        let length = Duration::from_millis(length.parse().unwrap_or(0));
        let start = Instant::now();
        stream.write_all(EVENTS.as_bytes())?;
        let item = |number: u64| format!("data: {{\"token\":{number}}}\n\n").into_bytes();
        let is_complete = || is_over() || start.elapsed() + INTERVAL > length;
        write_items(1, item, is_complete, |piece| write_chunk(stream, piece))?;
        sleep(length.saturating_sub(start.elapsed()).min(INTERVAL));
        write_chunk(stream, b"data: [DONE]\n\n")?;
        write_chunk(stream, b"")?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Writes numbered items, one at each interval, until the stream ends. Each write but the last
/// keeps a part of its last item for the next one.
fn write_items(
    first: u64,
    item: impl Fn(u64) -> Vec<u8>,
    has_ended: impl Fn() -> bool,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut pending = Vec::new();
    for number in first.. {
        let item = item(number);
        let kept = 1 + number as usize % (item.len() - 1);
        pending.extend(item);
        let rest = pending.split_off(pending.len() - kept);
        write(&std::mem::replace(&mut pending, rest))?;
        sleep(INTERVAL);
        if has_ended() {
            break;
        }
    }
    write(&pending)
}

fn write_chunk(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let size = format!("{:x}\r\n", bytes.len());
    stream.write_all(&[size.as_bytes(), bytes, b"\r\n"].concat())
}

/// An unmasked text frame, as servers send it.
fn text_frame(number: u64) -> Vec<u8> {
    let text = format!("message {number}");
    [&[0x81, text.len() as u8], text.as_bytes()].concat()
}
