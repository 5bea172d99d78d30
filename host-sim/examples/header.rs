//! Runs a filter through one exchange and prints what a proxy would do.
//!
//! Run it with `cargo run -p sluice-sim --example header`.

use std::error::Error;
use std::time::Duration;

use sluice_sim::{
    ConnectionInfo, Effect, HeaderMap, Limits, Module, Part, PluginOptions, Process, Profile,
    StreamInfo, Vm, VmOptions,
};

fn main() -> Result<(), Box<dyn Error>> {
    // A module is compiled once. Each worker of a proxy gets a VM of its own.
    let wasm = wat::parse_str(include_str!("header.wat"))?;
    let module = Module::new(&wasm, &Limits::default().with_callback_budget(1_000_000))?;
    let process = Process::new(Profile::Envoy, 1);
    let mut vm = Vm::new(&module, &process, VmOptions::default().with_vm_id("example"))?;
    let plugin = vm.start_plugin(PluginOptions::default().with_name("header"))?;

    // The embedder delivers the events of a stream. It also advances the clock.
    let connection = ConnectionInfo::default().with_id(1).with_protocol("HTTP/2");
    let stream = vm.open_http(plugin, StreamInfo::default().with_connection(connection));
    let request = [(":method", "GET"), (":path", "/"), (":authority", "www.example.com")];
    vm.request_headers(stream, request.into_iter().collect(), true);
    process.set_now(Duration::from_millis(20));
    vm.response_headers(stream, [(":status", "200")].into_iter().collect(), false);
    vm.response_body(stream, b"hello", true);
    vm.close_http(stream);

    // The effects are what the proxy does next, in order.
    let mut effects = Vec::new();
    vm.drain_effects(&mut effects);
    for effect in &effects {
        match effect {
            Effect::Request { part: Part::Headers { map, .. }, .. } => print("request", map),
            Effect::Response { part: Part::Headers { map, .. }, .. } => print("response", map),
            Effect::Response { part: Part::Body { bytes, .. }, .. } => {
                println!("response body: {} bytes", bytes.len());
            }
            Effect::Log { level, text } => println!("log at level {}: {text}", level.name()),
            other => println!("{other:?}"),
        }
    }
    Ok(())
}

fn print(message: &str, headers: &HeaderMap) {
    for (name, value) in headers.iter() {
        println!("{message}: {} = {}", name.escape_ascii(), value.escape_ascii());
    }
}
