//! The control store of a run: a real etcd behind a TCP proxy that spoils its responses.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::json;

use super::fault::Nonsense;
use crate::etcd::Etcd;
use crate::reusable_port;

/// The key of the drain record.
pub(super) const KEY: &str = "sluice/drain";

/// The interval at which threads look for a change of the behavior.
const STEP: Duration = Duration::from_millis(5);

/// The behavior of the TCP proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behavior {
    /// Forwards all bytes.
    Forward,
    /// Accepts no connection.
    Refuse,
    /// Accepts connections and drops the responses.
    Hang,
    /// Forwards each response after this time.
    Delay(Duration),
    /// Forwards half of each response.
    Half {
        /// Whether the connection stays open after it.
        stalls: bool,
    },
    /// Replaces each response.
    Replace(Nonsense),
}

/// The control store.
#[derive(Debug)]
pub(super) struct Store {
    /// The port for the proxies.
    pub(super) port: u16,
    etcd: Mutex<Contents>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Contents {
    etcd: Etcd,
    /// The record that operators wrote last, and the one before.
    current: Option<String>,
    older: Option<String>,
}

#[derive(Debug)]
struct Shared {
    behavior: Mutex<Behavior>,
    is_over: AtomicBool,
}

impl Store {
    /// Starts an empty etcd, and the TCP proxy in front of it.
    ///
    /// # Panics
    /// If etcd does not start.
    pub(super) fn start() -> Self {
        let etcd = Etcd::start();
        let port = reusable_port();
        let shared =
            Arc::new(Shared { behavior: Mutex::new(Behavior::Forward), is_over: false.into() });
        let (accepting, target) = (shared.clone(), etcd.port);
        thread::spawn(move || accept(port, target, &accepting));
        Self { port, etcd: Mutex::new(Contents { etcd, current: None, older: None }), shared }
    }

    /// Writes the record. `before_write` is called immediately before the write.
    pub(super) fn write(&self, record: &str, before_write: impl FnOnce()) {
        let mut contents = self.contents();
        before_write();
        contents.etcd.put(KEY, record);
        contents.older = contents.current.replace(record.to_owned());
    }

    /// Restarts etcd without its data, and writes the older record if `keeps_older` is set.
    pub(super) fn lose_data(&self, keeps_older: bool) {
        let mut contents = self.contents();
        contents.etcd.kill();
        contents.etcd.restart_empty();
        if let Some(older) = contents.older.as_ref().filter(|_| keeps_older) {
            contents.etcd.put(KEY, older);
        }
    }

    /// Writes the record that operators wrote last once more.
    pub(super) fn restore_data(&self) {
        let contents = self.contents();
        if let Some(current) = &contents.current {
            contents.etcd.put(KEY, current);
        }
    }

    pub(super) fn behave(&self, behavior: Behavior) {
        *self.shared.behavior.lock().unwrap_or_else(PoisonError::into_inner) = behavior;
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.etcd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn behavior(&self) -> Behavior {
        *self.behavior.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the behavior is this one.
    fn wait_while(&self, behavior: Behavior) {
        while self.behavior() == behavior && !self.is_over() {
            sleep(STEP);
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Accepts connections, and listens only while the behavior is not to refuse them.
fn accept(port: u16, target: u16, shared: &Arc<Shared>) {
    while !shared.is_over() {
        shared.wait_while(Behavior::Refuse);
        let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) else {
            sleep(STEP);
            continue;
        };
        listener.set_nonblocking(true).expect("a listener accepts options");
        while shared.behavior() != Behavior::Refuse && !shared.is_over() {
            match listener.accept() {
                Ok((client, _)) => {
                    let shared = shared.clone();
                    thread::spawn(move || drop(forward(&client, target, &shared)));
                }
                Err(_) => sleep(STEP),
            }
        }
    }
}

/// Forwards requests as they are, and responses as the behavior demands.
fn forward(client: &TcpStream, target: u16, shared: &Shared) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target));
    let Ok(server) = server else { return client.shutdown(Shutdown::Both) };
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    server.set_read_timeout(Some(STEP))?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        // An error ends the connection, as the end of the requests does.
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let forwarded = forward_responses(client, &server, shared);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    forwarded
}

/// Ends when the connection has to close.
fn forward_responses(
    mut client: &TcpStream,
    mut server: &TcpStream,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while !shared.is_over() {
        let read = match server.read(&mut buffer) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if shared.behavior() == Behavior::Refuse {
                    return Ok(());
                }
                continue;
            }
            other => other?,
        };
        if read == 0 {
            return Ok(());
        }
        let response = &buffer[..read];
        match shared.behavior() {
            Behavior::Forward => client.write_all(response)?,
            Behavior::Refuse => return Ok(()),
            Behavior::Delay(time) => {
                sleep(time);
                client.write_all(response)?;
            }
            behavior @ Behavior::Hang => {
                shared.wait_while(behavior);
                return Ok(());
            }
            behavior @ Behavior::Half { stalls } => {
                client.write_all(&response[..read / 2])?;
                if stalls {
                    shared.wait_while(behavior);
                }
                return Ok(());
            }
            Behavior::Replace(nonsense) => {
                client.write_all(&nonsense.bytes())?;
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Nonsense {
    fn bytes(self) -> Vec<u8> {
        let (status, body) = match self {
            Self::NotHttp => return vec![0xff; 300],
            Self::Status500 => (500, "<html>error</html>".to_owned()),
            Self::Page => (200, "<html>welcome</html>".to_owned()),
            Self::EmptyObject => (200, "{}".to_owned()),
            Self::InvalidRecord => (200, etcd_response(r#"{"epoch":"next","mode":"reload"}"#)),
            Self::HighestEpoch => {
                (200, etcd_response(r#"{"epoch":9007199254740991,"mode":"terminate"}"#))
            }
        };
        let length = body.len();
        format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
    }
}

fn etcd_response(value: &str) -> String {
    let [key, value] = [KEY, value].map(|text| Base64::encode_string(text.as_bytes()));
    json!({ "header": {}, "kvs": [{ "key": key, "value": value }], "count": "1" }).to_string()
}
