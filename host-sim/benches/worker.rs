//! One worker with a filter for the benchmarks: it runs exchanges and checks their effects.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_sim::{
    ConnectionInfo, Effect, HeaderMap, Limits, Module, Part, PluginId, PluginOptions, Process,
    Profile, Properties, StreamId, StreamInfo, Vm, VmOptions,
};

/// The filter that proxies load, built by `cargo xtask build`.
pub(crate) fn filter() -> Vec<u8> {
    let path = std::env::var_os("SLUICE_FILTER").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/sluice_filter.wasm"),
        PathBuf::from,
    );
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read {}: {error}; run `cargo xtask build`", path.display())
    })
}

pub(crate) fn module(wasm: &[u8]) -> Module {
    Module::new(wasm, &Limits::default()).expect("the module is valid")
}

/// A VM with one plugin.
pub(crate) struct Worker {
    pub(crate) vm: Vm,
    pub(crate) process: Process,
    plugin: PluginId,
    connection: Arc<ConnectionInfo>,
    response: HeaderMap,
    effects: Vec<Effect>,
}

impl Worker {
    /// Instantiates a module and configures it.
    pub(crate) fn new(module: &Module, configuration: &str) -> Worker {
        let process = Process::new(Profile::Envoy, 0);
        let mut vm = Vm::new(module, &process, VmOptions::default())
            .expect("the module can be instantiated");
        let properties = Properties::new().with(&["xds", "node", "user_agent_name"], "envoy");
        let options =
            PluginOptions::default().with_configuration(configuration).with_properties(properties);
        let plugin = vm.start_plugin(options).expect("the configuration is accepted");
        let response =
            [(":status", "200"), ("content-type", "text/html"), ("content-length", "512")];
        let connection = ConnectionInfo::default()
            .with_id(1)
            .with_source("203.0.113.7:40000")
            .with_destination("192.0.2.1:443")
            .with_protocol("HTTP/2");
        Worker {
            vm,
            process,
            plugin,
            connection: Arc::new(connection),
            response: response.into_iter().collect(),
            effects: Vec::new(),
        }
    }

    /// Opens a stream on the only connection.
    pub(crate) fn open(&mut self) -> StreamId {
        let info = StreamInfo::default().with_connection(Arc::clone(&self.connection));
        self.vm.open_http(self.plugin, info)
    }

    pub(crate) fn tick(&mut self) {
        self.vm.tick(self.plugin);
    }

    pub(crate) fn tick_period(&self) -> Duration {
        self.vm.tick_period(self.plugin).expect("the filter ticks")
    }

    /// Runs a whole exchange: request headers, response headers, a response body in one chunk, the
    /// end.
    pub(crate) fn exchange(&mut self, request: &HeaderMap) {
        self.exchange_in_steps(request, |_, _| {});
    }

    /// As [`exchange`](Self::exchange); calls `after` with the name of each event that has happened.
    pub(crate) fn exchange_in_steps(
        &mut self,
        request: &HeaderMap,
        mut after: impl FnMut(&'static str, &Vm),
    ) {
        self.effects.clear();
        let stream = self.open();
        after("open", &self.vm);
        self.vm.request_headers(stream, request.clone(), true);
        after("request-headers", &self.vm);
        self.vm.response_headers(stream, self.response.clone(), false);
        after("response-headers", &self.vm);
        self.vm.response_body(stream, &[b'x'; 512], true);
        after("response-body", &self.vm);
        self.vm.close_http(stream);
        after("end", &self.vm);
        self.vm.drain_effects(&mut self.effects);
    }

    /// Runs the first half of an exchange: request headers, response headers, a chunk of the body.
    /// The stream stays open.
    pub(crate) fn begin(&mut self, request: &HeaderMap) -> StreamId {
        self.effects.clear();
        let stream = self.open();
        self.vm.request_headers(stream, request.clone(), true);
        let headers = [(":status", "200"), ("content-type", "text/event-stream")];
        self.vm.response_headers(stream, headers.into_iter().collect(), false);
        self.vm.response_body(stream, b"data: 1\n\n", false);
        self.vm.drain_effects(&mut self.effects);
        assert_eq!(self.effects.len(), 3, "the stream did not begin: {:?}", self.effects);
        stream
    }

    /// The value of a header in the last request that left the filter.
    pub(crate) fn sent(&self, name: &str) -> Option<&str> {
        let [Effect::Request { part: Part::Headers { map, end: true }, .. }, response @ ..] =
            self.effects.as_slice()
        else {
            panic!("the request did not pass: {:?}", self.effects);
        };
        let whole = matches!(
            response,
            [
                Effect::Response { part: Part::Headers { end: false, .. }, .. },
                Effect::Response { part: Part::Body { bytes, end: true }, .. },
            ] if bytes.len() == 512
        );
        assert!(whole, "the response did not pass: {response:?}");
        map.text(name)
    }
}
