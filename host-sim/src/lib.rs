//! A proxy-wasm host as a library. It loads HTTP and TCP filters built for ABI 0.2.0 or 0.2.1, and
//! runs them in virtual time, without a proxy.
//!
//! Use it to test a filter, to replay traffic through a filter, or to embed filters in a program.
//! The library opens no sockets, starts no threads and reads no wall clock. The embedder delivers
//! events such as request headers and ticks, and the [`Vm`] returns [`Effect`]s such as forwarded
//! headers and local replies. The same events in the same order produce the same effects, byte for
//! byte.
//!
//! # Example
//!
//! Send a request through a filter and read what the filter forwards:
//!
//! ```
//! use sluice_sim::{
//!     Effect, HeaderMap, Limits, Module, Part, PluginOptions, Process, Profile, StreamInfo, Vm,
//!     VmOptions,
//! };
//!
//! // A filter without callbacks. Any proxy-wasm module works here.
//! let wasm = wat::parse_str(
//!     r#"(module (memory (export "memory") 1)
//!          (func (export "proxy_abi_version_0_2_1"))
//!          (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0)))"#,
//! )?;
//! let module = Module::new(&wasm, &Limits::default())?;
//! let process = Process::new(Profile::Envoy, 1);
//! let mut vm = Vm::new(&module, &process, VmOptions::default())?;
//! let plugin = vm.start_plugin(PluginOptions::default().with_configuration("{}"))?;
//!
//! let stream = vm.open_http(plugin, StreamInfo::default());
//! let headers: HeaderMap = [(":method", "GET"), (":path", "/")].into_iter().collect();
//! vm.request_headers(stream, headers, true);
//!
//! let mut effects = Vec::new();
//! vm.drain_effects(&mut effects);
//! let [Effect::Request { part: Part::Headers { map, end: true }, .. }] = effects.as_slice() else {
//!     panic!("expected the request headers, got {effects:?}");
//! };
//! assert_eq!(map.text(":path"), Some("/"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/header.rs` in the package runs a filter with callbacks through a whole exchange.
//!
//! # Where to look next
//!
//! - [`Module`] is a compiled filter. All workers share it. A [`ModuleCache`] keeps its machine code
//!   for the next run.
//! - [`Process`] is the state that all VMs of a proxy share: the clock, shared data, queues,
//!   metrics and foreign functions.
//! - [`Vm`] is one worker's instance of the module. Its methods are the events of plugins, HTTP
//!   exchanges, TCP connections and calls.
//! - [`Effect`] lists everything that a filter can make a proxy do.
//! - [`Limits`] bounds what a filter may use. A filter that exceeds its limits traps or gets an
//!   error; it cannot harm the embedder.
//! - [`Profile`] selects the rules of Envoy or of the ABI's text, where the two differ.
//! - [`proxy`] describes the proxy around the filter: its timeouts, retries and limits, with presets.
//! - [`trace`] reads recorded or written traffic, and [`replay`](mod@replay) runs it through a
//!   filter and checks what clients and upstreams receive.

mod abi;
mod actions;
mod attributes;
mod context;
mod cost;
pub mod details;
mod effect;
mod error;
mod exports;
mod flow;
mod headers;
mod host;
mod ids;
mod inline_headers;
mod limits;
mod local_reply;
mod memory;
mod module;
mod module_cache;
mod module_size;
mod options;
mod process;
mod profile;
mod properties;
pub mod proxy;
mod proxy_headers;
pub mod replay;
mod setters;
mod state;
pub mod trace;
mod trap;
mod vm;

pub use abi::{AbiVersion, LogLevel, MetricKind, Peer, Status};
pub use cost::Cost;
pub use details::ResponseDetails;
pub use effect::{Direction, Effect, GrpcOpen, HttpCall, Part, ReplySource, ResetCause, Side};
pub use error::{CallFailure, ModuleError, StartError, VmError};
pub use headers::HeaderMap;
pub use ids::{CallId, PluginId, QueueId, StreamId};
pub use inline_headers::InlineHeaders;
pub use limits::Limits;
pub use module::Module;
pub use module_cache::ModuleCache;
pub use options::{ConnectionInfo, FailurePolicy, PluginOptions, StreamInfo, TlsInfo, VmOptions};
pub use process::{ForeignCall, Metric, Process, QueueEvent, START_TIME};
pub use profile::{Profile, RouterRules, Rules};
pub use properties::Properties;
pub use trap::{Trap, TrapReason};
pub use vm::Vm;
