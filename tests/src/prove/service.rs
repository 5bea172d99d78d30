//! The service behind the proxies. It never closes a connection, so that a lost request is lost by
//! a proxy, and stores nothing, so that it can serve millions of requests.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crate::http1::Reader;
use crate::net;

/// Starts the service; returns the port.
///
/// # Panics
/// If no port is free.
pub(super) fn start() -> u16 {
    net::listen(serve)
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(headers) = reader.headers()? {
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
