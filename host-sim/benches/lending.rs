//! A worker of `sluice-sim` that lends the same headers to each exchange. The comparisons with
//! wasmtime alone and with another host use it.

use std::sync::Arc;

use sluice_sim::{
    ConnectionInfo, Effect, HeaderMap, Limits, Module, Part, PluginId, PluginOptions, Process,
    Profile, StreamInfo, Vm, VmOptions,
};

use crate::inputs::{BODY, MARKER, REQUEST, RESPONSE};

/// A VM with the filter.
pub(crate) struct Worker {
    vm: Vm,
    plugin: PluginId,
    connection: Arc<ConnectionInfo>,
    request: HeaderMap,
    response: HeaderMap,
    effects: Vec<Effect>,
}

impl Worker {
    pub(crate) fn with_limits(wasm: &[u8], limits: &Limits) -> Worker {
        let module = Module::new(wasm, limits).expect("the module is valid");
        let process = Process::new(Profile::Envoy, 0);
        let mut vm = Vm::new(&module, &process, VmOptions::default())
            .expect("the module can be instantiated");
        let plugin = vm.start_plugin(PluginOptions::default()).expect("the plugin starts");
        Worker {
            vm,
            plugin,
            connection: Arc::default(),
            request: REQUEST.into_iter().collect(),
            response: RESPONSE.into_iter().collect(),
            effects: Vec::new(),
        }
    }

    /// Runs a whole exchange. The forwarded headers are used again for the next exchange.
    pub(crate) fn exchange(&mut self) {
        let info = StreamInfo::default().with_connection(Arc::clone(&self.connection));
        let stream = self.vm.open_http(self.plugin, info);
        self.vm.request_headers(stream, std::mem::take(&mut self.request), true);
        self.collect();
        self.vm.response_headers(stream, std::mem::take(&mut self.response), false);
        self.vm.response_body(stream, &BODY, true);
        self.vm.close_http(stream);
        self.collect();
    }

    fn collect(&mut self) {
        self.vm.drain_effects(&mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Request { part: Part::Headers { map, .. }, .. } => self.request = map,
                Effect::Response { part: Part::Headers { map, .. }, .. } => self.response = map,
                Effect::Response { part: Part::Body { .. }, .. } => {}
                other => panic!("expected forwarded messages, got {other:?}"),
            }
        }
    }

    pub(crate) fn marker(&self) -> Option<String> {
        assert_eq!(self.response.len(), RESPONSE.len());
        self.request.text(MARKER).map(str::to_owned)
    }
}
