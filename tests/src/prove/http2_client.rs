//! HTTP/2 clients, each with its own connection, on one shared thread. A GOAWAY leaves time for
//! streams in flight, so the exact time of a request does not decide whether it is lost.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client_pool::{Run, ThinkTime};
use super::client_stats::{ClientKind, ClientStats, Failure, RequestResult};
use crate::TEST_TIMEOUT;

struct Client {
    port: u16,
    think_time: ThinkTime,
    connection: Option<SendRequest<Bytes>>,
    stats: ClientStats,
}

/// Runs one client for each think time until the run is over.
pub(super) fn work(port: u16, think_times: Vec<ThinkTime>, run: &Arc<Run>) -> Vec<ClientStats> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut clients = JoinSet::new();
        for think_time in think_times {
            let stats = ClientStats::new(ClientKind::Http2);
            let client = Client { port, think_time, connection: None, stats };
            clients.spawn(client.work(run.clone()));
        }
        clients.join_all().await
    })
}

impl Client {
    async fn work(mut self, run: Arc<Run>) -> ClientStats {
        loop {
            sleep(self.think_time.pause()).await;
            if run.is_over() {
                return self.stats;
            }
            let result = self.exchange(&run).await;
            if result.is_err() {
                self.connection = None;
                self.stats.connection_closed(run.now());
            }
            run.record(&mut self.stats, result);
        }
    }

    async fn exchange(&mut self, run: &Run) -> RequestResult {
        let start = Instant::now();
        let response = self.send(run).await?;
        let response = timeout(TEST_TIMEOUT, response).await.map_err(|_| Failure::NoResponse)?;
        let (parts, mut body) = response.map_err(|_| Failure::NoResponse)?.into_parts();
        while let Some(data) = body.data().await {
            let data = data.map_err(|_| Failure::Cut)?;
            body.flow_control().release_capacity(data.len()).map_err(|_| Failure::Cut)?;
        }
        match parts.status.as_u16() {
            200 => Ok(start.elapsed()),
            status => Err(Failure::Status(status)),
        }
    }

    /// Sends the request. If the connection has received a GOAWAY, nothing was sent on it, and a
    /// new connection carries the request.
    async fn send(&mut self, run: &Run) -> Result<ResponseFuture, Failure> {
        let path = self.think_time.path();
        if let Some(connection) = self.connection.take() {
            if let Ok(response) = self.send_on(connection, path).await {
                return Ok(response);
            }
            self.stats.connection_closed(run.now());
        }
        let connection = connect(self.port).await.ok_or(Failure::NoConnection)?;
        self.stats.connection_opened(run.now());
        self.send_on(connection, path).await.map_err(|_| Failure::NotWritten)
    }

    async fn send_on(
        &mut self,
        connection: SendRequest<Bytes>,
        path: &str,
    ) -> Result<ResponseFuture, h2::Error> {
        let mut connection = connection.ready().await?;
        let request = Request::get(format!("http://example.com{path}")).body(());
        let request = request.expect("a well-formed request");
        let (response, _) = connection.send_request(request, true)?;
        self.connection = Some(connection);
        Ok(response)
    }
}

async fn connect(port: u16) -> Option<SendRequest<Bytes>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let handshake = timeout(Duration::from_secs(5), h2::client::handshake(stream)).await.ok()?;
    let (sender, connection) = handshake.ok()?;
    tokio::spawn(connection);
    Some(sender)
}
