//! Clients of HTTP/2, each with a connection of its own, on one thread together: a connection is left
//! in two steps there, so their timers decide nothing.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::account::{Account, Failure, Kind, Outcome};
use super::crew::{Habits, Shift};
use crate::PATIENCE;

struct Client {
    port: u16,
    habits: Habits,
    kept: Option<SendRequest<Bytes>>,
    account: Account,
}

/// Lets a client work for each of these habits, until the shift is over.
pub(super) fn work(port: u16, habits: Vec<Habits>, shift: &Arc<Shift>) -> Vec<Account> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a thread").block_on(async {
        let mut clients = JoinSet::new();
        for habits in habits {
            let client = Client { port, habits, kept: None, account: Account::new(Kind::Http2) };
            clients.spawn(client.work(shift.clone()));
        }
        clients.join_all().await
    })
}

impl Client {
    async fn work(mut self, shift: Arc<Shift>) -> Account {
        loop {
            sleep(self.habits.pause()).await;
            if shift.is_over() {
                return self.account;
            }
            let outcome = self.exchange(&shift).await;
            if outcome.is_err() {
                self.kept = None;
                self.account.closed(shift.now());
            }
            shift.note(&mut self.account, outcome);
        }
    }

    async fn exchange(&mut self, shift: &Shift) -> Outcome {
        let begun = Instant::now();
        let response = self.begin(shift).await?;
        let response = timeout(PATIENCE, response).await.map_err(|_| Failure::NoResponse)?;
        let (head, mut body) = response.map_err(|_| Failure::NoResponse)?.into_parts();
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(|_| Failure::Cut)?;
            body.flow_control().release_capacity(piece.len()).map_err(|_| Failure::Cut)?;
        }
        match head.status.as_u16() {
            200 => Ok(begun.elapsed()),
            status => Err(Failure::Status(status)),
        }
    }

    /// Sends the request on the kept connection, unless that was told to go away: then nothing was
    /// sent, and a new one takes it.
    async fn begin(&mut self, shift: &Shift) -> Result<ResponseFuture, Failure> {
        let path = self.habits.path();
        if let Some(kept) = self.kept.take() {
            if let Ok(response) = self.send(kept, path).await {
                return Ok(response);
            }
            self.account.closed(shift.now());
        }
        let new = connect(self.port).await.ok_or(Failure::NoConnection)?;
        self.account.opened(shift.now());
        self.send(new, path).await.map_err(|_| Failure::NotWritten)
    }

    async fn send(
        &mut self,
        connection: SendRequest<Bytes>,
        path: &str,
    ) -> Result<ResponseFuture, h2::Error> {
        let mut connection = connection.ready().await?;
        let request = Request::get(format!("http://example.com{path}")).body(());
        let request = request.expect("a well-formed request");
        let (response, _) = connection.send_request(request, true)?;
        self.kept = Some(connection);
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
