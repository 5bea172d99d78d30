//! What the embedder says about a stream and a plugin before it runs: identities and attributes.

use std::sync::Arc;

use crate::properties::Properties;

/// A plugin context of one virtual machine: one configuration of the module at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId {
    pub(crate) context: u32,
    pub(crate) slot: u32,
}

impl PluginId {
    /// The number by which the guest knows this context.
    pub fn context(self) -> u32 {
        self.context
    }
}

/// A stream context of one virtual machine: one HTTP exchange or one TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub(crate) context: u32,
    pub(crate) slot: u32,
}

impl StreamId {
    /// The number by which the guest knows this context; never used twice in a virtual machine.
    pub fn context(self) -> u32 {
        self.context
    }
}

/// An HTTP or gRPC call that a guest started, unique in its virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u32);

/// A shared queue, unique in its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u32);

/// What a plugin is started with.
#[derive(Clone, Debug, Default)]
pub struct PluginOptions {
    /// Property `plugin_name`.
    pub name: String,
    /// Property `plugin_root_id`, by which a module with several plugins chooses one.
    pub root_id: String,
    /// The plugin's configuration, handed to `proxy_on_configure`.
    pub configuration: Vec<u8>,
    /// Properties that every stream of the plugin can read beside those that the host knows
    /// (under Envoy the `xds.…` ones that do not depend on the request).
    pub properties: Properties,
    /// Under Envoy, the plugin option of the same name: `Pause` from a headers callback holds the
    /// headers alone and the body callbacks go on. Without it, everything behind the headers waits
    /// until the guest continues. Hosts that follow the ABI's text always do the former.
    pub allow_on_headers_stop_iteration: bool,
    /// Under Envoy, the failure policy `FAIL_OPEN`: when the guest has trapped, its streams go on
    /// without it, instead of being answered or cut.
    pub fail_open: bool,
}

/// What the streams of one connection have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Property `connection.id`: counts up over the process.
    pub id: u64,
    /// Property `source.address`, `address:port` of the client.
    pub source: String,
    /// Property `destination.address`, `address:port` that the client reached.
    pub destination: String,
    /// Property `request.protocol`: `HTTP/1.1`, `HTTP/2`, …
    pub protocol: String,
    /// What TLS tells about the connection; `None` for plain text.
    pub tls: Option<TlsInfo>,
}

/// What TLS tells about a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsInfo {
    /// Property `connection.tls_version`, for example `TLSv1.3`.
    pub version: String,
    /// Property `connection.requested_server_name`.
    pub server_name: String,
    /// Property `connection.mtls`: whether the client showed a certificate.
    pub mutual: bool,
}

/// What a stream is opened with.
#[derive(Clone, Debug, Default)]
pub struct StreamInfo {
    /// The connection on which the stream runs.
    pub connection: Arc<ConnectionInfo>,
    /// Properties of this stream beside those that the host knows (under Envoy the `xds.…` ones of
    /// the chosen route).
    pub properties: Option<Arc<Properties>>,
}
