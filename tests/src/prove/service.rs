//! The service behind the proxies. It never closes a connection in use, so that a lost request is
//! lost by a proxy, and stores nothing, so that it can serve millions of requests.

mod streams;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::sleep;
use std::time::Duration;

use crate::http1::Reader;
use crate::http1::message::Framing;
use crate::net;

/// Starts the service; returns the port. Its streams end once `is_over` is set.
///
/// # Panics
/// If no port is free.
pub(super) fn start(is_over: Arc<AtomicBool>) -> u16 {
    net::listen(move |stream| serve(stream, &is_over))
}

fn serve(stream: TcpStream, is_over: &AtomicBool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(headers) = reader.headers()? {
        reader.body(Framing::of(&headers).unwrap_or(Framing::Empty))?;
        if streams::respond(&headers, &mut reader.stream, is_over)? {
            continue;
        }
        sleep(response_time(&headers.start_line));
        reader.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")?;
    }
    Ok(())
}

fn response_time(start_line: &str) -> Duration {
    match start_line.split(' ').nth(1) {
        Some("/health") => Duration::ZERO,
        Some("/slow") => Duration::from_millis(700),
        _ => Duration::from_millis(3),
    }
}
