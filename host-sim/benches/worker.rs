//! One worker with a filter in it, as the benchmarks need it: exchanges from beginning to end, and what became of them.

use std::path::PathBuf;
use std::sync::Arc;

use sluice_sim::{
    ConnectionInfo, Effect, HeaderMap, Limits, Module, Part, PluginId, PluginOptions, Process,
    Profile, Properties, StreamInfo, Vm, VmOptions,
};

/// The filter that proxies load, as `cargo xtask build` leaves it.
pub(crate) fn filter() -> Vec<u8> {
    let path = std::env::var_os("SLUICE_FILTER").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/sluice_filter.wasm"),
        PathBuf::from,
    );
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read {}: {error}; run `cargo xtask build`", path.display())
    })
}

/// Compiles and checks a module.
pub(crate) fn module(wasm: &[u8]) -> Module {
    Module::new(wasm, &Limits::default()).expect("the module is a good one")
}

/// A virtual machine with one plugin.
pub(crate) struct Worker {
    pub(crate) vm: Vm,
    plugin: PluginId,
    connection: Arc<ConnectionInfo>,
    response: HeaderMap,
    effects: Vec<Effect>,
}

impl Worker {
    /// Instantiates a module and configures it.
    pub(crate) fn new(module: &Module, configuration: &str) -> Worker {
        let process = Process::new(Profile::Envoy, 0);
        let mut vm = Vm::new(module, &process, VmOptions::default()).expect("it instantiates");
        let properties = Properties::new().with(&["xds", "node", "user_agent_name"], "envoy");
        let options = PluginOptions {
            configuration: configuration.as_bytes().to_vec(),
            properties,
            ..PluginOptions::default()
        };
        let plugin = vm.start_plugin(options).expect("the configuration is accepted");
        let response =
            [(":status", "200"), ("content-type", "text/html"), ("content-length", "512")];
        let connection = ConnectionInfo {
            id: 1,
            source: "203.0.113.7:40000".to_owned(),
            destination: "192.0.2.1:443".to_owned(),
            protocol: "HTTP/2".to_owned(),
            tls: None,
        };
        Worker {
            vm,
            plugin,
            connection: Arc::new(connection),
            response: response.into_iter().collect(),
            effects: Vec::new(),
        }
    }

    /// A whole exchange: request headers, response headers, a response body in one piece, the end.
    pub(crate) fn exchange(&mut self, request: &HeaderMap) {
        self.effects.clear();
        let info = StreamInfo { connection: Arc::clone(&self.connection), properties: None };
        let stream = self.vm.open_http(self.plugin, info);
        self.vm.request_headers(stream, request.clone(), true);
        self.vm.response_headers(stream, self.response.clone(), false);
        self.vm.response_body(stream, &[b'x'; 512], true);
        self.vm.close_http(stream);
        self.vm.drain_effects(&mut self.effects);
    }

    /// A header of the request as it left in the last exchange, which must have gone all the way.
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
