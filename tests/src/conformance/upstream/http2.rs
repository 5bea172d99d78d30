//! The HTTP/2 upstream, for trailers and refused streams, which Envoy does not support for HTTP/1.1
//! upstreams.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use sluice_sim::trace::AttemptEnd;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::super::clock::ExchangeClock;
use super::{Attempt, EXCHANGE, Scripts};
use crate::http2::{fields, listen};

/// Larger than all uploads of a trace, so that they do not wait for window updates.
const WINDOW: u32 = 1 << 24;

/// Starts the upstream; returns the port.
pub(super) fn serve(scripts: Scripts) -> u16 {
    listen(move |stream| connection(stream, scripts.clone()))
}

async fn connection(stream: TcpStream, scripts: Scripts) -> Result<(), h2::Error> {
    let _ = stream.set_nodelay(true);
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = builder.handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        let scripts = scripts.clone();
        let handle = Handle::current();
        // Scripts sleep on the trace's clock, which would block the runtime.
        std::thread::spawn(move || exchange(request, respond, &scripts, &handle));
    }
    Ok(())
}

fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    scripts: &Scripts,
    handle: &Handle,
) {
    let (parts, mut body) = request.into_parts();
    let name = parts.headers.get(EXCHANGE).and_then(|name| name.to_str().ok());
    let Some((attempt, clock)) = name.and_then(|name| scripts.next(name)) else { return };
    if attempt.end != AttemptEnd::RefusedStream && handle.block_on(read(&mut body)).is_err() {
        return;
    }
    let is_head = parts.method == http::Method::HEAD;
    // This fails if the proxy has reset the stream.
    let _ = attempt.run_http2(is_head, &mut respond, &clock, handle);
}

async fn read(body: &mut RecvStream) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    body.trailers().await?;
    Ok(())
}

impl Attempt {
    fn run_http2(
        &self,
        is_head: bool,
        respond: &mut SendResponse<Bytes>,
        clock: &ExchangeClock,
        handle: &Handle,
    ) -> Result<(), h2::Error> {
        clock.sleep(self.after);
        let Some(status) = self.status else {
            if self.end == AttemptEnd::Never {
                let _ = handle.block_on(std::future::poll_fn(|cx| respond.poll_reset(cx)));
            } else {
                respond.send_reset(Reason::REFUSED_STREAM);
            }
            return Ok(());
        };
        let mut response = Response::builder().status(status);
        for (name, value) in &self.headers {
            response = response.header(name, value);
        }
        let response = response.body(()).expect("a trace has well-formed headers");
        let without_body = is_head || matches!(status, 204 | 304);
        let empty = self.chunks.is_empty() && self.trailers.is_empty();
        let end = without_body || empty && self.end == AttemptEnd::Complete;
        let mut stream = respond.send_response(response, end)?;
        if end {
            return Ok(());
        }
        self.send_body(&mut stream, clock)?;
        if self.end == AttemptEnd::Never {
            let _ = handle.block_on(std::future::poll_fn(|cx| stream.poll_reset(cx)));
        }
        Ok(())
    }

    fn send_body(
        &self,
        stream: &mut SendStream<Bytes>,
        clock: &ExchangeClock,
    ) -> Result<(), h2::Error> {
        let last = self.chunks.len();
        let complete = self.end == AttemptEnd::Complete;
        for (index, (pause, bytes)) in self.chunks.iter().enumerate() {
            clock.sleep(*pause);
            let ends =
                complete && index + 1 == last && self.trailers.is_empty() && self.has_length();
            stream.send_data(Bytes::copy_from_slice(bytes), ends)?;
            if ends {
                return Ok(());
            }
        }
        match self.end {
            AttemptEnd::Complete if self.trailers.is_empty() => {
                stream.send_data(Bytes::new(), true)
            }
            AttemptEnd::Complete => stream.send_trailers(fields(&self.trailers)),
            _ => Ok(()),
        }
    }
}
