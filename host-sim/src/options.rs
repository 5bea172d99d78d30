//! The embedder's description of a VM, a plugin, a connection and a stream.

use std::sync::Arc;

use crate::abi::LogLevel;
use crate::properties::Properties;
use crate::setters::setters;

/// Options of a VM.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VmOptions {
    /// The worker that the VM belongs to; passed to foreign functions.
    pub worker: u32,
    /// Property `plugin_vm_id`. VMs with the same id share data and queues.
    pub vm_id: String,
    /// The buffer that the guest reads in `proxy_on_vm_start`.
    pub vm_configuration: Vec<u8>,
    /// Log lines below this level are dropped. Guests can read it.
    pub log_level: LogLevel,
    /// The environment variables that WASI exposes.
    pub env: Vec<(String, String)>,
    /// The bytes of a body that the host buffers for a paused stream, if they differ from
    /// [`Rules::buffer_limit`](crate::Rules::buffer_limit).
    pub buffer_limit: Option<usize>,
}

impl Default for VmOptions {
    fn default() -> VmOptions {
        VmOptions {
            worker: 0,
            vm_id: String::new(),
            vm_configuration: Vec::new(),
            log_level: LogLevel::Info,
            env: Vec::new(),
            buffer_limit: None,
        }
    }
}

setters!(VmOptions {
    with_worker(worker: u32),
    with_vm_id(vm_id: impl Into<String>),
    with_vm_configuration(vm_configuration: impl Into<Vec<u8>>),
    with_log_level(log_level: LogLevel),
    with_env(env: Vec<(String, String)>),
    with_buffer_limit(buffer_limit: impl Into<Option<usize>>),
});

/// Options of a plugin.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PluginOptions {
    /// Property `plugin_name`.
    pub name: String,
    /// Property `plugin_root_id`; a module with several plugins selects one by it.
    pub root_id: String,
    /// The buffer that the guest reads in `proxy_on_configure`.
    pub configuration: Vec<u8>,
    /// Properties that every stream of the plugin can read, in addition to those of the host. Envoy
    /// has `xds.…` properties that do not depend on the request.
    pub properties: Properties,
    /// Whether body callbacks continue after a headers callback returned `Pause`. Without it,
    /// everything after the headers waits until the guest continues the stream. Envoy has a plugin
    /// option of this name; hosts that follow the text of the ABI always continue.
    pub allow_on_headers_stop_iteration: bool,
    /// What happens to streams after the VM trapped.
    pub failure_policy: FailurePolicy,
}

setters!(PluginOptions {
    with_name(name: impl Into<String>),
    with_root_id(root_id: impl Into<String>),
    with_configuration(configuration: impl Into<Vec<u8>>),
    with_properties(properties: Properties),
    with_allow_on_headers_stop_iteration(allow_on_headers_stop_iteration: bool),
    with_failure_policy(failure_policy: FailurePolicy),
});

/// What happens after a trap, with the names of Envoy. Streams that were open when the VM trapped
/// fail under every policy, at their next event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// `FAIL_CLOSED`: later streams fail too.
    #[default]
    FailClosed,
    /// `FAIL_RELOAD`: the embedder creates another VM. Streams that it opens in the old one fail.
    FailReload,
    /// `FAIL_OPEN`: later streams pass unchanged, without the guest.
    FailOpen,
}

impl FailurePolicy {
    pub(crate) const ALL: [Self; 3] = [Self::FailClosed, Self::FailReload, Self::FailOpen];

    /// The name in Envoy's API.
    pub fn name(self) -> &'static str {
        match self {
            Self::FailClosed => "FAIL_CLOSED",
            Self::FailReload => "FAIL_RELOAD",
            Self::FailOpen => "FAIL_OPEN",
        }
    }
}

/// Properties that all streams of one connection share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Property `connection.id`; Envoy counts connections over the process.
    pub id: u64,
    /// Property `source.address`: `address:port` of the client.
    pub source: String,
    /// Property `destination.address`: `address:port` that the client connected to.
    pub destination: String,
    /// Property `request.protocol`, such as `HTTP/1.1` or `HTTP/2`.
    pub protocol: String,
    /// `None` for plain text.
    pub tls: Option<TlsInfo>,
}

setters!(ConnectionInfo {
    with_id(id: u64),
    with_source(source: impl Into<String>),
    with_destination(destination: impl Into<String>),
    with_protocol(protocol: impl Into<String>),
    with_tls(tls: impl Into<Option<TlsInfo>>),
});

/// The TLS properties of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// Property `connection.tls_version`, such as `TLSv1.3`.
    pub version: String,
    /// Property `connection.requested_server_name`.
    pub server_name: String,
    /// Property `connection.mtls`: whether the client presented a certificate.
    pub mutual: bool,
}

setters!(TlsInfo {
    with_version(version: impl Into<String>),
    with_server_name(server_name: impl Into<String>),
    with_mutual(mutual: bool),
});

/// Options of a stream.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The connection of the stream.
    pub connection: Arc<ConnectionInfo>,
    /// Properties of this stream, in addition to those of the host. Envoy has `xds.…` properties of
    /// the selected route.
    pub properties: Option<Arc<Properties>>,
}

setters!(StreamInfo {
    with_connection(connection: impl Into<Arc<ConnectionInfo>>),
    with_properties(properties: impl Into<Option<Arc<Properties>>>),
});
