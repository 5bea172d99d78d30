//! Small guests, handwritten in WebAssembly text, and a host for them.
//!
//! A test writes only the callbacks that it needs. This file adds the imports, which have the names
//! of the host functions without `proxy_`; an allocator that never frees; `$log_number`, which logs
//! a number; and `$log_bytes`, which logs the bytes that `@p` and `@n` describe.
//!
//! The text may contain `@"abc"` for the address and length of these bytes, `@{a: 1, b: 2}` for
//! those of a serialized map, and `@p` and `@n` for two addresses of results.

use std::fmt::Write as _;

use sluice_sim::{
    ConnectionInfo, Effect, HeaderMap, Limits, LogLevel, Module, ModuleError, PluginId,
    PluginOptions, Process, Profile, StreamId, StreamInfo, Vm, VmOptions,
};
use sluice_test_kit::host_functions::host_imports;

const PRELUDE: &str = r#"
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (func (export "proxy_abi_version_0_2_1"))
  (func $allocate (export "proxy_on_memory_allocate") (param $n i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap (i32.add (global.get $heap) (local.get $n)))
    (local.get $at))
  ;; Logs a number in decimal.
  (func $log_number (param $v i32)
    (local $at i32)
    (local.set $at (i32.const 64))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10))))
      (local.set $v (i32.div_u (local.get $v) (i32.const 10)))
      (br_if $digit (local.get $v)))
    (drop (call $log (i32.const 2) (local.get $at)
      (i32.sub (i32.const 64) (local.get $at)))))
  ;; Logs the bytes that a host function returned.
  (func $log_bytes
    (drop (call $log (i32.const 2) (i32.load (i32.const 16)) (i32.load (i32.const 20)))))
"#;

/// The number of parameters of each callback, `$a`, `$b`, …, and the default result.
const CALLBACKS: &[(&str, usize, Option<u32>)] = &[
    ("context_create", 2, None),
    ("vm_start", 2, Some(1)),
    ("configure", 2, Some(1)),
    ("tick", 1, None),
    ("done", 1, Some(1)),
    ("log", 1, None),
    ("delete", 1, None),
    ("new_connection", 1, Some(0)),
    ("downstream_data", 3, Some(0)),
    ("upstream_data", 3, Some(0)),
    ("downstream_connection_close", 2, None),
    ("upstream_connection_close", 2, None),
    ("request_headers", 3, Some(0)),
    ("request_body", 3, Some(0)),
    ("request_trailers", 2, Some(0)),
    ("response_headers", 3, Some(0)),
    ("response_body", 3, Some(0)),
    ("response_trailers", 2, Some(0)),
    ("http_call_response", 5, None),
    ("grpc_receive_initial_metadata", 3, None),
    ("grpc_receive", 3, None),
    ("grpc_receive_trailing_metadata", 3, None),
    ("grpc_close", 3, None),
    ("queue_ready", 2, None),
    ("foreign_function", 3, None),
];

/// The callback `proxy_on_NAME`, with a body.
pub(crate) fn on(name: &str, body: &str) -> String {
    let known = CALLBACKS.iter().find(|(known, ..)| *known == name);
    let (_, params, result) = known.expect("a test names callbacks of the ABI");
    let params: String = ["a", "b", "c", "d", "e"][..*params]
        .iter()
        .map(|name| format!("(param ${name} i32) "))
        .collect();
    let (result, value) = match result {
        Some(result) => ("(result i32)", format!("(i32.const {result})")),
        None => ("", String::new()),
    };
    format!("(func (export \"proxy_on_{name}\") {params} {result} {body} {value})\n")
}

/// A host call whose status is logged.
pub(crate) fn log_status(call: &str) -> String {
    format!("(call $log_number (call ${call}))\n")
}

/// Several host calls whose statuses are logged.
pub(crate) fn log_statuses(calls: &[&str]) -> String {
    calls.iter().map(|call| log_status(call)).collect()
}

/// The text of a module with the callbacks.
pub(crate) fn text(callbacks: &str) -> String {
    let (callbacks, data) = expand(callbacks);
    format!("(module\n{}{PRELUDE}{callbacks}{data})", host_imports())
}

/// Replaces `@…` with addresses, and returns the data segments for them.
fn expand(callbacks: &str) -> (String, String) {
    let (mut out, mut data, mut at) = (String::new(), String::new(), 1024);
    let mut rest = callbacks;
    while let Some(mark) = rest.find('@') {
        out.push_str(&rest[..mark]);
        rest = &rest[mark + 1..];
        if let Some(tail) = rest.strip_prefix('p') {
            out.push_str("(i32.const 16)");
            rest = tail;
            continue;
        }
        if let Some(tail) = rest.strip_prefix('n') {
            out.push_str("(i32.const 20)");
            rest = tail;
            continue;
        }
        let close = if rest.starts_with('"') { '"' } else { '}' };
        let end = 1 + rest[1..].find(close).expect("a test closes what it opens");
        let inner = &rest[1..end];
        let bytes = if close == '"' { unescape(inner) } else { serialize(inner) };
        rest = &rest[end + 1..];
        write!(out, "(i32.const {at}) (i32.const {})", bytes.len()).unwrap();
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(data, "  (data (i32.const {at}) \"{escaped}\")").unwrap();
        at += bytes.len() + 1;
    }
    out.push_str(rest);
    (out, data)
}

/// Replaces `\0` with a zero byte, and `\'` with a quote.
fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\0", "\0").replace("\\'", "\"").into_bytes()
}

fn serialize(text: &str) -> Vec<u8> {
    let pairs: Vec<(&str, &str)> = text
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| pair.trim().split_once(": ").expect("a test writes `name: value`"))
        .collect();
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in &pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in &pairs {
        for part in [name, value] {
            bytes.extend(part.as_bytes());
            bytes.push(0);
        }
    }
    bytes
}

pub(crate) fn compile(callbacks: &str) -> Module {
    Module::new(&wat::parse_str(text(callbacks)).unwrap(), &Limits::default()).unwrap()
}

/// Compiles a module without adding anything.
pub(crate) fn compile_raw(text: &str) -> Result<Module, ModuleError> {
    Module::new(&wat::parse_str(text).unwrap(), &Limits::default())
}

/// A guest with one plugin in its own process.
pub(crate) struct Run {
    pub(crate) process: Process,
    pub(crate) vm: Vm,
    pub(crate) plugin: PluginId,
    pub(crate) effects: Vec<Effect>,
}

impl Run {
    pub(crate) fn new(profile: Profile, callbacks: &str) -> Run {
        Run::with(&Process::new(profile, 1), &compile(callbacks), PluginOptions::default())
    }

    pub(crate) fn with(process: &Process, module: &Module, plugin: PluginOptions) -> Run {
        let options = VmOptions::default().with_log_level(LogLevel::Trace);
        let mut vm = Vm::new(module, process, options).unwrap();
        let plugin = vm.start_plugin(plugin).unwrap();
        Run { process: process.clone(), vm, plugin, effects: Vec::new() }
    }

    /// Opens an exchange on connection 7.
    pub(crate) fn open(&mut self) -> StreamId {
        let connection = ConnectionInfo::default()
            .with_id(7)
            .with_source("10.0.0.1:4711")
            .with_destination("10.0.0.2:443")
            .with_protocol("HTTP/1.1");
        let info = StreamInfo::default().with_connection(connection);
        self.vm.open_http(self.plugin, info)
    }

    /// Opens an exchange and sends request headers.
    pub(crate) fn get(&mut self, end: bool) -> StreamId {
        let stream = self.open();
        self.vm.request_headers(stream, request(), end);
        stream
    }

    /// Returns the effects since the last call.
    pub(crate) fn out(&mut self) -> Vec<Effect> {
        self.effects.clear();
        self.vm.drain_effects(&mut self.effects);
        self.effects.clone()
    }

    /// Returns the lines that were logged since the last call.
    pub(crate) fn logged(&mut self) -> Vec<String> {
        let line = |effect| match effect {
            Effect::Log { text, .. } => Some(text),
            _ => None,
        };
        self.out().into_iter().filter_map(line).collect()
    }

    /// Opens an exchange, sends request headers that end it, and returns the logged lines.
    pub(crate) fn logged_on_request(&mut self) -> Vec<String> {
        self.get(true);
        self.logged()
    }

    /// Ticks and returns the logged lines.
    pub(crate) fn logged_on_tick(&mut self) -> Vec<String> {
        self.vm.tick(self.plugin);
        self.logged()
    }

    /// Returns the effects since the last call, without log lines.
    pub(crate) fn effects_without_logs(&mut self) -> Vec<Effect> {
        let mut effects = self.out();
        effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
        effects
    }
}

/// The headers of an ordinary request.
pub(crate) fn request() -> HeaderMap {
    [
        (":method", "GET"),
        (":path", "/a?b=c"),
        (":authority", "a.example.com"),
        ("x-a", "1"),
        ("x-a", "2"),
    ]
    .into_iter()
    .collect()
}

/// The headers of an ordinary response.
pub(crate) fn response() -> HeaderMap {
    [(":status", "200"), ("content-type", "text/html")].into_iter().collect()
}

/// Both profiles, for behavior that does not differ.
pub(crate) const BOTH: [Profile; 2] = [Profile::Envoy, Profile::Generic];
