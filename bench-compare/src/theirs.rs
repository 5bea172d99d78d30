//! The same exchange in `proxy-wasm-host`.

use std::sync::Arc;

use proxy_wasm_host::abi::v0_2_1::types::{Action, BufferType, LogLevel, MapType, Status};
use proxy_wasm_host::abi::v0_2_1::{
    Access, ContextId, Guest, Host, Invocation, LogContext, LogSink, PluginConfig, Started,
    StreamKind, StreamState, VmServices,
};
use proxy_wasm_host::{Buffer, Engine, HeaderMap, Limits, Module, VecHeaderMap};

use crate::inputs::{BODY, MARKER, REQUEST, RESPONSE};

/// A guest with the filter.
pub(crate) struct Worker {
    guest: Guest,
    root: ContextId,
    /// `None` while the guest borrows it.
    exchange: Option<Exchange>,
}

/// The data that the guest can read and change.
struct Exchange {
    request: VecHeaderMap,
    response: VecHeaderMap,
    body: Vec<u8>,
}

impl StreamState for Exchange {
    fn header_map(
        &mut self,
        _: Invocation,
        _: Access,
        map: MapType,
    ) -> Result<&mut dyn HeaderMap, Status> {
        match map {
            MapType::HttpRequestHeaders => Ok(&mut self.request),
            MapType::HttpResponseHeaders => Ok(&mut self.response),
            _ => Err(Status::BadArgument),
        }
    }

    fn buffer(
        &mut self,
        _: Invocation,
        _: Access,
        buffer: BufferType,
    ) -> Result<&mut dyn Buffer, Status> {
        match buffer {
            BufferType::HttpResponseBody => Ok(&mut self.body),
            _ => Err(Status::NotFound),
        }
    }
}

struct Silent;

impl LogSink for Silent {
    fn log(&self, _: LogContext<'_>, _: LogLevel, _: &[u8]) {}
}

impl Worker {
    pub(crate) fn new(wasm: &[u8]) -> Worker {
        let engine = Engine::new().expect("the default engine is valid");
        let module = Module::new(&engine, wasm).expect("the module is valid");
        let host = Host::new(&engine).expect("the host functions can be linked");
        let services = VmServices::new(Arc::new(Silent));
        let mut guest = Guest::new(&host, &module, services, &Limits::default())
            .expect("the module can be instantiated");
        let Started::Serving(root) = guest.start(PluginConfig::new()).expect("the plugin starts")
        else {
            panic!("the filter refused to start");
        };
        let exchange =
            Exchange { request: map(&REQUEST), response: map(&RESPONSE), body: Vec::new() };
        Worker { guest, root, exchange: Some(exchange) }
    }

    /// Runs a whole exchange. The headers are used again for the next exchange.
    pub(crate) fn exchange(&mut self) {
        let exchange = self.exchange.take().expect("the previous exchange has ended");
        let count = exchange.request.len() as u32;
        let mut scope = self.guest.enter(exchange);
        let stream = scope.on_context_create(Some(self.root)).expect("the plugin accepts streams");
        scope.expect_stream_kind(stream, StreamKind::Http).expect("the stream is new");
        expect_continue(scope.on_request_headers(stream, count, true));
        let mut exchange = scope.finish();

        exchange.body.clear();
        exchange.body.extend_from_slice(&BODY);
        let count = exchange.response.len() as u32;
        let mut scope = self.guest.enter(exchange);
        expect_continue(scope.on_response_headers(stream, count, false));
        expect_continue(scope.on_response_body(stream, BODY.len() as u32, true));
        scope.on_done(stream).expect("on_done succeeds");
        scope.on_log(stream).expect("on_log succeeds");
        scope.on_delete(stream).expect("on_delete succeeds");
        self.exchange = Some(scope.finish());
    }

    pub(crate) fn marker(&self) -> Option<String> {
        let exchange = self.exchange.as_ref().expect("the previous exchange has ended");
        assert_eq!(exchange.response.len(), RESPONSE.len());
        let value = exchange.request.get(MARKER.as_bytes())?;
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}

fn expect_continue<E: std::fmt::Debug>(answer: Result<Action, E>) {
    assert_eq!(answer.expect("the filter does not trap"), Action::Continue);
}

fn map(headers: &[(&str, &str)]) -> VecHeaderMap {
    let mut map = VecHeaderMap::default();
    for (name, value) in headers {
        map.add(name.as_bytes(), value.as_bytes()).expect("the header is valid");
    }
    map
}
