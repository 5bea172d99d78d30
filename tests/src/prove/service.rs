//! The service behind the proxies. It never closes a connection, so that whatever is lost is lost in
//! front of it, and remembers nothing, so that it can answer millions.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread::{sleep, spawn};
use std::time::Duration;

use crate::message::Reader;

/// How long an answer takes, by path.
fn pause(start: &str) -> Duration {
    match start.split(' ').nth(1) {
        Some("/health") => Duration::ZERO,
        Some("/slow") => Duration::from_millis(700),
        _ => Duration::from_millis(3),
    }
}

/// Starts the service; its port.
///
/// # Panics
/// If this machine has no port left.
pub(super) fn start() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            spawn(move || serve(stream));
        }
    });
    port
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(stream);
    while let Some(head) = reader.head()? {
        sleep(pause(&head.start));
        reader.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")?;
    }
    Ok(())
}
