//! The interface between the filter and a proxy. The rules reach the proxy in no other way.
//!
//! The wasm adapter implements [`Host`] with proxy-wasm host calls; the tests implement it in
//! memory. Nothing here assumes a wasm module, one thread or an SDK. A refusal by the host is a
//! value, because a panic would end the VM and every stream in it.

use crate::headers::Headers;

/// How severe a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// A change that an operator wants to see.
    Info,
    /// Something is probably wrong, and the filter continues.
    Warn,
    /// Something is wrong, and needs the operator.
    Error,
}

/// A list of header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderMap {
    /// The request headers of the current stream.
    Request,
    /// The response headers of the current stream.
    Response,
    /// The response trailers of the current stream. If there are none, the body callback at the end
    /// of the stream can add them.
    ResponseTrailers,
    /// The response headers of a call that the filter made.
    CallResponse,
}

/// A sequence of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffer {
    /// The request body of the current stream, as far as it is buffered.
    RequestBody,
    /// The response body of the current stream, as far as it is buffered.
    ResponseBody,
    /// The response body of a call that the filter made.
    CallResponseBody,
    /// The plugin configuration.
    PluginConfiguration,
}

/// One half of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases.
    Counter,
    /// Increases and decreases; its value is that of the whole process.
    Gauge,
}

/// Why a host did not do what the filter requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The stream has ended.
    #[error("no such stream")]
    NoStream,
    /// Another VM wrote the value since it was read.
    #[error("compare-and-set mismatch")]
    CasMismatch,
    /// Another error, with the status of the proxy-wasm ABI.
    #[error("status {0}")]
    Status(u32),
}

/// A value in shared data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedValue {
    /// The bytes; `None` if the key has no value.
    pub value: Option<Vec<u8>>,
    /// The number for a compare-and-set; `None` if the host has none for this key.
    pub cas: Option<u32>,
}

/// An HTTP request to a cluster of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The headers, pseudo headers included.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body, if any.
    pub body: Option<&'a [u8]>,
    /// The time after which the host ends the call, in milliseconds.
    pub timeout_ms: u64,
}

/// A proxy, as the rules see it. It lends the values that it returns, so that reading one need not
/// allocate memory.
///
/// Methods without a context act on the stream whose callback runs. The methods with a context end
/// or continue another stream. A host may call back into that stream before they return, so the caller must
/// not borrow the state of the VM then.
pub trait Host {
    /// Writes a log line. There is no error, because a host that cannot log cannot report one.
    fn log(&mut self, level: LogLevel, message: &str);

    /// Nanoseconds since the Unix epoch.
    fn now_ns(&mut self) -> Result<u64, HostError>;

    /// Reads all header fields of a map into a buffer, which a caller keeps between two calls.
    fn read_headers(&mut self, map: HeaderMap, into: &mut Headers) -> Result<(), HostError>;

    /// The value of one header field.
    fn header(&mut self, map: HeaderMap, name: &str) -> Result<Option<&[u8]>, HostError>;

    /// Replaces a header field.
    fn set_header(&mut self, map: HeaderMap, name: &str, value: &str) -> Result<(), HostError>;

    /// Removes a header field, if it exists.
    fn remove_header(&mut self, map: HeaderMap, name: &str) -> Result<(), HostError>;

    /// At most `size` bytes of a buffer from `start` on.
    fn buffer(&mut self, buffer: Buffer, start: usize, size: usize) -> Result<&[u8], HostError>;

    /// Replaces the first `size` bytes of a buffer.
    fn replace_buffer(
        &mut self,
        buffer: Buffer,
        size: usize,
        bytes: &[u8],
    ) -> Result<(), HostError>;

    /// The value of a property; `None` if it does not exist.
    fn property(&mut self, path: &[&str]) -> Result<Option<&[u8]>, HostError>;

    /// Sets a property of the current stream.
    fn set_property(&mut self, name: &str, value: &[u8]) -> Result<(), HostError>;

    /// Replies to the current stream instead of the upstream.
    fn reply(
        &mut self,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError>;

    /// Replies to the stream `context`, which is not the current one.
    ///
    /// # Errors
    /// [`HostError::NoStream`] if the stream has ended.
    fn reply_to(
        &mut self,
        context: u32,
        status: u16,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(), HostError>;

    /// Resets the stream `context`, which is not the current one.
    ///
    /// # Errors
    /// [`HostError::NoStream`] if the stream has ended.
    fn reset(&mut self, context: u32) -> Result<(), HostError>;

    /// Continues a paused direction of the stream `context`, which is not the current one.
    ///
    /// # Errors
    /// [`HostError::NoStream`] if the stream has ended.
    fn continue_stream(&mut self, context: u32, direction: Direction) -> Result<(), HostError>;

    /// Starts a call. The response arrives at the plugin that made it.
    fn call(&mut self, call: &Call<'_>) -> Result<(), HostError>;

    /// Reads shared data.
    fn shared_data(&mut self, key: &str) -> Result<SharedValue, HostError>;

    /// Writes shared data if its number is still `cas`; without `cas`, unconditionally.
    ///
    /// # Errors
    /// [`HostError::CasMismatch`] if the number is another one.
    fn set_shared_data(
        &mut self,
        key: &str,
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), HostError>;

    /// Defines a metric and returns its number. Defining the same name again may return another
    /// number.
    fn define_metric(&mut self, kind: MetricKind, name: &str) -> Result<u32, HostError>;

    /// Adds to a metric.
    fn add_to_metric(&mut self, id: u32, change: i64) -> Result<(), HostError>;

    /// Sets a metric.
    fn set_metric(&mut self, id: u32, value: u64) -> Result<(), HostError>;

    /// The value of a metric.
    fn metric(&mut self, id: u32) -> Result<u64, HostError>;

    /// Calls a function that the proxy-wasm ABI does not have.
    fn call_foreign_function(&mut self, name: &str, argument: &[u8]) -> Result<(), HostError>;

    /// Ends the current plugin, which has returned false from `on_done`.
    fn done(&mut self) -> Result<(), HostError>;

    /// Sets the time between two ticks of the current plugin.
    fn set_tick_period(&mut self, ms: u64) -> Result<(), HostError>;
}

/// Milliseconds since the Unix epoch; `None` if the host has no clock.
pub(crate) fn now_ms(host: &mut impl Host) -> Option<u64> {
    host.now_ns().ok().map(|ns| ns / 1_000_000)
}

/// The value of a property; `None` also if the host refuses it.
pub(crate) fn property<'h>(host: &'h mut impl Host, path: &[&str]) -> Option<&'h [u8]> {
    host.property(path).ok().flatten()
}

/// Logs a refusal of the host. The stream continues without the effect.
pub(crate) fn log_refusal(host: &mut impl Host, result: Result<(), HostError>, what: &str) {
    if let Err(error) = result {
        host.log(LogLevel::Warn, &format!("the host refused {what}: {error}"));
    }
}

/// The status code in a `:status` header.
pub(crate) fn parse_status(status: &[u8]) -> Option<u16> {
    std::str::from_utf8(status).ok()?.parse().ok()
}
