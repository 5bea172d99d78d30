//! The numbers of the proxy-wasm ABI.
//!
//! Host and guest exchange nothing but integers, so every enumeration of the specification stands
//! here once, with the value that crosses the boundary. Values come from the text of ABI 0.2.1,
//! section "Types".

use std::fmt;

/// What a host call tells the guest about its outcome (`proxy_status_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// The call did what was asked.
    Ok = 0,
    /// A key, queue, metric, property, function or buffer that does not exist.
    NotFound = 1,
    /// A number outside its enumeration, or a call that makes no sense where it was made.
    BadArgument = 2,
    /// The host has a value that it cannot express in bytes.
    SerializationFailure = 3,
    /// The guest's bytes are not what they claim to be.
    ParseFailure = 4,
    /// A pointer or length outside of the guest's memory.
    InvalidMemoryAccess = 6,
    /// Nothing to dequeue.
    Empty = 7,
    /// Somebody else wrote the shared value first.
    CasMismatch = 8,
    /// The host refused: one of its [`Limits`](crate::Limits), or a call that it could not send.
    InternalFailure = 10,
    /// The host does not offer this.
    Unimplemented = 12,
}

/// Which version of the ABI a module declares by its marker export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// How loud a log line is (`proxy_log_level_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum LogLevel {
    /// Every step.
    Trace = 0,
    /// What helps whoever debugs the plugin.
    Debug = 1,
    /// What an operator may want to know.
    Info = 2,
    /// What an operator should look at.
    Warn = 3,
    /// Something failed.
    Error = 4,
    /// Nothing works any more.
    Critical = 5,
}

impl LogLevel {
    /// The level with this number, if there is one.
    pub fn from_abi(value: u32) -> Option<LogLevel> {
        use LogLevel::*;
        [Trace, Debug, Info, Warn, Error, Critical].get(value as usize).copied()
    }

    /// The level's name in lower case, as proxies print it.
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

/// A buffer that a guest may name (`proxy_buffer_type_t`).
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

/// A map that a guest may name (`proxy_map_type_t`).
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

/// One of the four streams that a guest may continue or close (`proxy_stream_type_t`).
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

/// Who closed a connection (`proxy_peer_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Peer {
    /// It is not known who.
    Unknown = 0,
    /// The proxy.
    Local = 1,
    /// The other side.
    Remote = 2,
}

/// What a metric counts (`proxy_metric_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Collects recorded values.
    Histogram,
}

impl MetricKind {
    pub(crate) fn from_abi(value: u32) -> Option<MetricKind> {
        use MetricKind::*;
        [Counter, Gauge, Histogram].get(value as usize).copied()
    }
}

/// The error numbers of WASI preview 1 that the specification uses (`wasi_errno_t`).
pub(crate) mod errno {
    pub(crate) const SUCCESS: u32 = 0;
    pub(crate) const BADF: u32 = 8;
    pub(crate) const FAULT: u32 = 21;
    pub(crate) const INVAL: u32 = 28;
    /// Not in the proxy-wasm text; what WASI answers for a function that a host lacks.
    pub(crate) const NOSYS: u32 = 52;
    pub(crate) const NOTSUP: u32 = 58;
}
