//! A proxy-wasm host as a library: it loads any HTTP or TCP filter built for ABI 0.2.0 or 0.2.1 and
//! runs it in virtual time, without a proxy.
//!
//! ```text
//! Module   the filter, compiled and checked; shared by all workers
//! Process  what virtual machines share: clock, shared data, queues, metrics, foreign functions
//! Vm       one worker's instance; takes events (headers, bodies, ticks, answers to calls) …
//! Effect   … and gives back what a proxy would do next
//! ```
//!
//! ```
//! use sluice_sim::{Effect, Limits, Module, Part, PluginOptions, Process, Profile, Vm, VmOptions};
//!
//! // A filter that does nothing; any proxy-wasm module will do.
//! let wasm = wat::parse_str(
//!     r#"(module (memory (export "memory") 1)
//!          (func (export "proxy_abi_version_0_2_1"))
//!          (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0)))"#,
//! )?;
//! let module = Module::new(&wasm, &Limits::default())?;
//! let process = Process::new(Profile::Envoy, 1);
//! let mut vm = Vm::new(&module, &process, VmOptions::default())?;
//! let plugin = vm.start_plugin(PluginOptions::default())?;
//!
//! let stream = vm.open_http(plugin, Default::default());
//! let headers = [(":method", "GET"), (":path", "/")].into_iter().collect();
//! vm.request_headers(stream, headers, true);
//!
//! let mut effects = Vec::new();
//! vm.drain_effects(&mut effects);
//! assert!(matches!(effects[..], [Effect::Request { part: Part::Headers { end: true, .. }, .. }]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The library performs nothing itself: no socket, no thread, no wall clock, no chance. The same
//! events in the same order give the same effects, byte for byte. It knows nothing of any particular
//! filter, and what is particular to Envoy is in [`profile`] alone.

pub mod abi;
mod attributes;
mod context;
pub mod details;
pub mod effect;
mod exports;
mod flow;
pub mod headers;
mod host;
pub mod limits;
mod local_reply;
pub mod module;
pub mod process;
pub mod profile;
pub mod properties;
pub mod replay;
mod state;
pub mod stream;
pub mod trace;
pub mod trap;
pub mod vm;

pub use abi::{AbiVersion, LogLevel, MetricKind, Peer, Status};
pub use details::ResponseDetails;
pub use effect::{Direction, Effect, GrpcOpen, HttpCall, Part, ReplySource, ResetCause, Side};
pub use headers::HeaderMap;
pub use limits::Limits;
pub use module::{Module, ModuleError};
pub use process::{ForeignCall, Metric, Process, QueueEvent};
pub use profile::{Profile, Rules};
pub use properties::Properties;
pub use stream::{
    CallId, ConnectionInfo, PluginId, PluginOptions, QueueId, StreamId, StreamInfo, TlsInfo,
};
pub use trap::{Trap, TrapReason};
pub use vm::{CallFailure, StartError, Vm, VmError, VmOptions};
