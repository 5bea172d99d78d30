//! The service behind the proxies. It never closes a connection, so that a lost request is lost by
//! a proxy, and stores nothing.

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use crate::http1::Reader;
use crate::http1::message::Framing;
use crate::net;

/// Starts the service; returns the port. The path `/wait/MS` responds after that time.
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
        if let Some(framing) = Framing::of(&headers) {
            reader.body(framing)?;
        }
        sleep(response_time(&headers.start_line));
        reader.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")?;
    }
    Ok(())
}

fn response_time(start_line: &str) -> Duration {
    let path = start_line.split(' ').nth(1).unwrap_or_default();
    let wait = path.strip_prefix("/wait/").and_then(|wait| wait.parse().ok());
    Duration::from_millis(wait.unwrap_or(2))
}
