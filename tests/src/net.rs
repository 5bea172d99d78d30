//! Ports and listeners of this machine.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

/// Accepts connections on a free port and serves each on a thread of its own; returns the port. It
/// listens until the process ends.
///
/// # Panics
/// If no port is free.
pub fn listen<T>(serve: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> u16 {
    let (listener, port) = bind();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || drop(serve(stream)));
        }
    });
    port
}

/// A port on which no program listens.
///
/// # Panics
/// If no port is free.
pub fn unused_port() -> u16 {
    bind().1
}

fn bind() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    (listener, port)
}

/// A free port for a server that is stopped and started again. It lies below the range from which
/// Linux assigns ports to clients, so that no client occupies it while the server is down.
///
/// # Panics
/// If no such port is free.
pub fn reusable_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| fastrand::u16(PORTS).into());
    for _ in PORTS {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port in {PORTS:?} is free");
}
