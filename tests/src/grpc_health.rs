//! gRPC health checks: a client with a real gRPC library, and an upstream that is always healthy.

use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use tokio::net::TcpStream;

use crate::{debian, http2, root};

const PACKAGE: &str = "python3-grpcio";

/// The message of a healthy server, with its length.
pub const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

/// The message of an unhealthy server, with its length.
pub const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";

/// Calls `Check` with Python's gRPC library; returns the state, or the gRPC status of a failed
/// call.
///
/// # Panics
/// If the library is missing.
pub fn check(port: u16) -> String {
    let output = client("check", port).output().expect("Python starts");
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(!printed.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    printed
}

/// A call of `Watch` with Python's gRPC library, in a process of its own.
#[derive(Debug)]
pub struct Watch(std::process::Child);

impl Watch {
    /// Starts a call.
    ///
    /// # Panics
    /// If Python cannot be started.
    pub fn start(port: u16) -> Self {
        let child = client("watch", port).stdout(Stdio::piped()).spawn();
        Self(child.expect("Python starts"))
    }

    /// Waits for the end of the call; returns the states, and the gRPC status.
    ///
    /// # Panics
    /// If the library is missing.
    pub fn finish(self) -> Vec<String> {
        let output = self.0.wait_with_output().expect("a child process");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!printed.is_empty(), "the client printed nothing; see standard error");
        printed.lines().map(str::to_owned).collect()
    }
}

fn client(method: &str, port: u16) -> Command {
    let mut python = debian::command(PACKAGE, "python3");
    let unpacked = root().join("target").join(PACKAGE);
    python
        .env("PYTHONPATH", unpacked.join("usr/lib/python3/dist-packages"))
        .arg(root().join("tests/src/grpc_health/client.py"))
        .args([method, &format!("127.0.0.1:{port}")])
        .stdin(Stdio::null());
    python
}

/// Starts an upstream that replies `SERVING` to each gRPC call, and keeps the streams of `Watch`
/// open; returns the port.
///
/// # Panics
/// If no port is free.
pub fn serve() -> u16 {
    http2::listen(respond)
}

async fn respond(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let response =
            http::Response::builder().header("content-type", "application/grpc").body(());
        let mut stream = respond.send_response(response.expect("a valid response"), false)?;
        tokio::spawn(async move {
            stream.send_data(Bytes::from_static(SERVING), false)?;
            if request.uri().path().ends_with("/Watch") {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            stream.send_trailers(trailers)
        });
    }
    Ok(())
}
