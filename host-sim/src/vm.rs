//! One worker's instance of a module: events go in, effects come out.

use std::time::Duration;

use thiserror::Error;

use crate::abi::{LogLevel, Peer};
use crate::effect::Effect;
use crate::headers::HeaderMap;
use crate::module::Module;
use crate::process::Process;
use crate::stream::{CallId, PluginId, PluginOptions, QueueId, StreamId, StreamInfo};
use crate::trap::Trap;

/// A running instance of a module, with its plugin contexts and streams.
///
/// An event that names a stream or plugin which has ended does nothing: after a local reply or a
/// reset, what the upstream still sends may simply be passed on.
pub struct Vm {
    effects: Vec<Effect>,
}

/// What a virtual machine is made with.
#[derive(Clone, Debug)]
pub struct VmOptions {
    /// The worker to which it belongs; foreign functions learn it.
    pub worker: u32,
    /// Property `plugin_vm_id`; virtual machines with the same one share data and queues.
    pub vm_id: String,
    /// Handed to `proxy_on_vm_start`.
    pub vm_configuration: Vec<u8>,
    /// Lines below this level are not logged, and the guest can ask for it.
    pub log_level: LogLevel,
    /// What WASI's environment holds.
    pub env: Vec<(String, String)>,
}

impl Default for VmOptions {
    fn default() -> VmOptions {
        VmOptions {
            worker: 0,
            vm_id: String::new(),
            vm_configuration: Vec::new(),
            log_level: LogLevel::Info,
            env: Vec::new(),
        }
    }
}

/// Why there is no virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VmError {
    /// The module's start function trapped.
    #[error(transparent)]
    Trap(Box<Trap>),
    /// The module asks for more memory or tables at its start than the limits allow.
    #[error("cannot be instantiated: {reason}")]
    Instantiate {
        /// What the runtime says.
        reason: String,
    },
}

/// Why a plugin did not start. Its context is gone; others in the same virtual machine are not
/// touched, unless it trapped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The guest answered false.
    #[error("{callback} refused the configuration")]
    Refused {
        /// `proxy_on_vm_start` or `proxy_on_configure`.
        callback: &'static str,
    },
    /// The guest broke, now or before.
    #[error(transparent)]
    Trap(Box<Trap>),
}

/// How a call that a guest sent came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// There was no answer within the call's timeout.
    Timeout,
    /// The upstream could not be reached or closed the connection.
    Reset,
}

impl Vm {
    /// Instantiates a module and runs its start functions.
    ///
    /// # Errors
    /// [`VmError`] if it traps or wants more than its limits at once.
    pub fn new(module: &Module, process: &Process, options: VmOptions) -> Result<Vm, VmError> {
        let _ = (module, process, options);
        Ok(Vm { effects: Vec::new() })
    }

    /// A number that no other virtual machine of the process has.
    pub fn id(&self) -> u64 {
        0
    }

    /// The trap that ended the virtual machine, if one did.
    pub fn trap(&self) -> Option<&Trap> {
        None
    }

    /// Creates a plugin context and configures it. A new configuration of a plugin that runs is a
    /// new context in the same virtual machine; the embedder then stops the old one.
    ///
    /// # Errors
    /// [`StartError::Refused`] if the guest does not accept its configuration,
    /// [`StartError::Trap`] if it breaks.
    pub fn start_plugin(&mut self, options: PluginOptions) -> Result<PluginId, StartError> {
        let _ = options;
        Ok(PluginId(1))
    }

    /// Ends a plugin context as soon as its last stream has ended, with the guest's consent
    /// (`proxy_on_done`, `proxy_done`).
    pub fn stop_plugin(&mut self, plugin: PluginId) {
        let _ = plugin;
    }

    /// Calls `proxy_on_tick`. When is the embedder's business; see [`tick_period`](Self::tick_period).
    pub fn tick(&mut self, plugin: PluginId) {
        let _ = plugin;
    }

    /// How often the plugin wants its tick; `None` for never. May change in any callback.
    pub fn tick_period(&self, plugin: PluginId) -> Option<Duration> {
        let _ = plugin;
        None
    }

    /// Opens an HTTP stream of a plugin.
    pub fn open_http(&mut self, plugin: PluginId, info: StreamInfo) -> StreamId {
        let _ = (plugin, info);
        StreamId { context: 0, slot: 0 }
    }

    /// The request's headers arrived; `end` if it has neither body nor trailers.
    pub fn request_headers(&mut self, stream: StreamId, headers: HeaderMap, end: bool) {
        let _ = (stream, headers, end);
    }

    /// A piece of the request's body arrived.
    pub fn request_body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        let _ = (stream, bytes, end);
    }

    /// The request's trailers arrived.
    pub fn request_trailers(&mut self, stream: StreamId, trailers: HeaderMap) {
        let _ = (stream, trailers);
    }

    /// The final response's headers arrived (1xx responses do not go through filters).
    pub fn response_headers(&mut self, stream: StreamId, headers: HeaderMap, end: bool) {
        let _ = (stream, headers, end);
    }

    /// A piece of the response's body arrived.
    pub fn response_body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        let _ = (stream, bytes, end);
    }

    /// The response's trailers arrived.
    pub fn response_trailers(&mut self, stream: StreamId, trailers: HeaderMap) {
        let _ = (stream, trailers);
    }

    /// The response headers as `on_log` will see them, once they have left. An embedder whose later
    /// filters change headers changes them here as well.
    pub fn logged_response_headers(&mut self, stream: StreamId) -> Option<&mut HeaderMap> {
        let _ = stream;
        None
    }

    /// The exchange is over, however it went: last callbacks in the profile's order.
    pub fn close_http(&mut self, stream: StreamId) {
        let _ = stream;
    }

    /// Opens a TCP stream of a plugin and calls `proxy_on_new_connection`.
    pub fn open_tcp(&mut self, plugin: PluginId, info: StreamInfo) -> StreamId {
        let _ = (plugin, info);
        StreamId { context: 0, slot: 0 }
    }

    /// Data arrived from the client; `end` if it sends no more.
    pub fn downstream_data(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        let _ = (stream, bytes, end);
    }

    /// Data arrived from the upstream; `end` if it sends no more.
    pub fn upstream_data(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        let _ = (stream, bytes, end);
    }

    /// The client's connection was closed.
    pub fn downstream_close(&mut self, stream: StreamId, by: Peer) {
        let _ = (stream, by);
    }

    /// The upstream's connection was closed.
    pub fn upstream_close(&mut self, stream: StreamId, by: Peer) {
        let _ = (stream, by);
    }

    /// The connection is over: last callbacks in the profile's order.
    pub fn close_tcp(&mut self, stream: StreamId) {
        let _ = stream;
    }

    /// The answer to an HTTP call arrived.
    pub fn http_call_response(
        &mut self,
        call: CallId,
        headers: HeaderMap,
        body: &[u8],
        trailers: HeaderMap,
    ) {
        let _ = (call, headers, body, trailers);
    }

    /// An HTTP call came to nothing; the guest learns it as the profile has it.
    pub fn http_call_failed(&mut self, call: CallId, failure: CallFailure) {
        let _ = (call, failure);
    }

    /// Initial metadata of a gRPC call arrived.
    pub fn grpc_initial_metadata(&mut self, call: CallId, metadata: HeaderMap) {
        let _ = (call, metadata);
    }

    /// A message of a gRPC call arrived; it ends a unary call.
    pub fn grpc_message(&mut self, call: CallId, message: &[u8]) {
        let _ = (call, message);
    }

    /// Trailing metadata of a gRPC call arrived.
    pub fn grpc_trailing_metadata(&mut self, call: CallId, metadata: HeaderMap) {
        let _ = (call, metadata);
    }

    /// A gRPC call ended with this status (0 is success, 14 a call that could not be made or timed out).
    pub fn grpc_close(&mut self, call: CallId, status: u32, message: &str) {
        let _ = (call, status, message);
    }

    /// A queue that the plugin registered has an item; see
    /// [`Process::take_queue_events`].
    pub fn queue_ready(&mut self, plugin: PluginId, queue: QueueId) {
        let _ = (plugin, queue);
    }

    /// Calls the plugin's `proxy_on_foreign_function`.
    pub fn call_guest_function(&mut self, plugin: PluginId, function: u32, arguments: &[u8]) {
        let _ = (plugin, function, arguments);
    }

    /// A property as the stream's guest would read it: one that it stored, or one that the host knows.
    pub fn property<S: AsRef<[u8]>>(&self, stream: StreamId, path: &[S]) -> Option<Vec<u8>> {
        let _ = (stream, path);
        None
    }

    /// Moves what came out since the last call to the end of `into`, in order.
    pub fn drain_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
    }

    /// Log lines that were dropped because [`Limits::log_bytes`](crate::Limits::log_bytes) was used up.
    pub fn dropped_logs(&self) -> u64 {
        0
    }
}
