//! The numbers of the proxy-wasm ABI.
//!
//! Host and guest exchange integers only. Each enumeration of the specification is defined here
//! once, with the values that cross the boundary (ABI 0.2.1, section "Types").

use std::fmt;

/// The result of a host call (`proxy_status_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The call succeeded.
    Ok = 0,
    /// The key, queue, metric, property, function or buffer does not exist.
    NotFound = 1,
    /// A number is outside its enumeration, or the call is not allowed in this context.
    BadArgument = 2,
    /// The value exists but cannot be expressed in bytes.
    SerializationFailure = 3,
    /// The bytes that the guest passed could not be parsed.
    ParseFailure = 4,
    /// A pointer or length is outside the guest's memory.
    InvalidMemoryAccess = 6,
    /// The queue is empty.
    Empty = 7,
    /// The shared value changed since the guest read it.
    CasMismatch = 8,
    /// The host refused the call: one of its [`Limits`](crate::Limits) is reached, or a request
    /// could not be sent.
    InternalFailure = 10,
    /// The host does not implement the call.
    Unimplemented = 12,
}

/// The version of the ABI that a module declares with its marker export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AbiVersion {
    /// `proxy_abi_version_0_2_0`
    V0_2_0,
    /// `proxy_abi_version_0_2_1`
    V0_2_1,
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AbiVersion::V0_2_0 => "0.2.0",
            AbiVersion::V0_2_1 => "0.2.1",
        })
    }
}

/// The severity of a log line (`proxy_log_level_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the ABI defines the names and no more")]
#[repr(u32)]
pub enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

impl LogLevel {
    /// Converts the ABI's number; `None` if it is out of range.
    pub fn from_abi(value: u32) -> Option<LogLevel> {
        use LogLevel::*;
        [Trace, Debug, Info, Warn, Error, Critical].get(value as usize).copied()
    }

    /// The name in lower case, as proxies print it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
        }
    }
}

/// `proxy_buffer_type_t`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferType {
    HttpRequestBody,
    HttpResponseBody,
    DownstreamData,
    UpstreamData,
    HttpCallResponseBody,
    GrpcCallMessage,
    VmConfiguration,
    PluginConfiguration,
    ForeignFunctionArguments,
}

impl BufferType {
    pub(crate) fn from_abi(value: u32) -> Option<BufferType> {
        use BufferType::*;
        [
            HttpRequestBody,
            HttpResponseBody,
            DownstreamData,
            UpstreamData,
            HttpCallResponseBody,
            GrpcCallMessage,
            VmConfiguration,
            PluginConfiguration,
            ForeignFunctionArguments,
        ]
        .get(value as usize)
        .copied()
    }
}

/// `proxy_map_type_t`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapType {
    HttpRequestHeaders,
    HttpRequestTrailers,
    HttpResponseHeaders,
    HttpResponseTrailers,
    GrpcCallInitialMetadata,
    GrpcCallTrailingMetadata,
    HttpCallResponseHeaders,
    HttpCallResponseTrailers,
}

impl MapType {
    pub(crate) fn from_abi(value: u32) -> Option<MapType> {
        use MapType::*;
        [
            HttpRequestHeaders,
            HttpRequestTrailers,
            HttpResponseHeaders,
            HttpResponseTrailers,
            GrpcCallInitialMetadata,
            GrpcCallTrailingMetadata,
            HttpCallResponseHeaders,
            HttpCallResponseTrailers,
        ]
        .get(value as usize)
        .copied()
    }
}

/// `proxy_stream_type_t`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamType {
    HttpRequest,
    HttpResponse,
    Downstream,
    Upstream,
}

impl StreamType {
    pub(crate) fn from_abi(value: u32) -> Option<StreamType> {
        use StreamType::*;
        [HttpRequest, HttpResponse, Downstream, Upstream].get(value as usize).copied()
    }
}

/// The side that closed a connection (`proxy_peer_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Peer {
    /// The side that closed the connection is not known.
    Unknown = 0,
    /// The proxy.
    Local = 1,
    /// The client or the upstream.
    Remote = 2,
}

/// The kind of a metric (`proxy_metric_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "these are the usual kinds")]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub(crate) fn from_abi(value: u32) -> Option<MetricKind> {
        use MetricKind::*;
        [Counter, Gauge, Histogram].get(value as usize).copied()
    }
}

/// The error numbers of WASI preview 1 (`wasi_errno_t`). Those without a comment are also in the
/// specification of proxy-wasm.
pub(crate) mod errno {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const BADF: u32 = 8;
    pub(crate) const FAULT: u32 = 21;
    pub(crate) const INVAL: u32 = 28;
    /// Envoy returns it from `fd_readdir`.
    pub(crate) const CONNABORTED: u32 = 20;
    /// Envoy returns it from `path_open`.
    pub(crate) const NOENT: u32 = 44;
    /// Envoy returns it for some functions that it does not implement.
    pub(crate) const NOSYS: u32 = 52;
    pub(crate) const NOTSUP: u32 = 58;
}
