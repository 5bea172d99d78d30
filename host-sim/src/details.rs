//! Response details: why an exchange ended, in the words of the proxy.
//!
//! Envoy writes them to its access log as `%RESPONSE_CODE_DETAILS%` and `%RESPONSE_FLAGS%`. Filters
//! read them as properties, for example to distinguish a 503 of the upstream from one of the proxy.

use std::borrow::Cow;

/// The source of a response, or the reason why it is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponseDetails {
    /// Property `response.code_details`.
    pub details: Cow<'static, str>,
    /// Property `response.flags`: a combination of [`flags`].
    pub flags: u64,
    /// Property `response.code`, if it differs from the `:status` header. A gRPC client always
    /// receives status 200.
    pub code: Option<u32>,
}

impl ResponseDetails {
    /// The response comes from the upstream.
    pub const UPSTREAM: Self = Self::new("via_upstream", 0);

    /// Creates details without a code.
    pub const fn new(details: &'static str, flags: u64) -> Self {
        Self { details: Cow::Borrowed(details), flags, code: None }
    }

    /// Combines the details with `earlier` ones: flags add up, and the latest text remains.
    #[must_use]
    pub(crate) fn merge(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        Self { flags: self.flags | earlier.flags, code: self.code.or(earlier.code), ..self }
    }
}

/// Bits of the property `response.flags` that the simulator sets; the letters are those of Envoy's
/// access log.
pub mod flags {
    /// `UT`: the upstream exceeded a timeout.
    pub const UPSTREAM_TIMEOUT: u64 = 0x4;
    /// `LR`: the proxy reset the stream.
    pub const LOCAL_RESET: u64 = 0x8;
    /// `UR`: the upstream reset the stream.
    pub const UPSTREAM_RESET: u64 = 0x10;
    /// `UF`: the proxy could not connect to the upstream.
    pub const CONNECT_FAILURE: u64 = 0x20;
    /// `UC`: the upstream closed its connection.
    pub const UPSTREAM_CLOSED: u64 = 0x40;
    /// `DC`: the client closed its connection.
    pub const CLIENT_CLOSED: u64 = 0x4000;
    /// `SI`: the stream was idle for too long.
    pub const STREAM_IDLE: u64 = 0x1_0000;
    /// `DPE`: the client sent a request that is not valid HTTP.
    pub const DOWNSTREAM_PROTOCOL_ERROR: u64 = 0x4_0000;
    /// `URX`: the last permitted attempt failed.
    pub const RETRY_LIMIT_EXCEEDED: u64 = 0x8000;
    /// `UPE`: the upstream sent bytes that are not valid HTTP.
    pub const UPSTREAM_PROTOCOL_ERROR: u64 = 0x80_0000;
}
