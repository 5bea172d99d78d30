//! Why an exchange ended as it did, in the proxy's own words: what Envoy's access log prints as
//! `%RESPONSE_CODE_DETAILS%` and `%RESPONSE_FLAGS%`, and filters read as properties.
//!
//! It is how a filter tells an upstream's 503 from the proxy's own.

use std::borrow::Cow;

/// Who answers, or why a response breaks off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseDetails {
    /// Property `response.code_details`.
    pub details: Cow<'static, str>,
    /// Property `response.flags`: one bit for each of the [`flags`] that holds.
    pub flags: u64,
    /// Property `response.code` where it is not what the response's head says: a gRPC client gets 200 whatever happened.
    pub code: Option<u32>,
}

impl ResponseDetails {
    /// The upstream answers.
    pub const UPSTREAM: Self = Self::new("via_upstream", 0);

    /// Details in the proxy's fixed words.
    pub const fn new(details: &'static str, flags: u64) -> Self {
        Self { details: Cow::Borrowed(details), flags, code: None }
    }

    /// What holds when this is said after `before`: the latest word, and every flag.
    #[must_use]
    pub(crate) fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return self };
        Self { flags: self.flags | before.flags, code: self.code.or(before.code), ..self }
    }
}

/// The bits of `response.flags`, those that a simulated proxy can come to. Envoy's documentation has the letters.
pub mod flags {
    /// `UT`: the upstream took longer than it may.
    pub const UPSTREAM_TIMEOUT: u64 = 0x4;
    /// `LR`: the proxy itself reset the stream.
    pub const LOCAL_RESET: u64 = 0x8;
    /// `UR`: the upstream reset the stream.
    pub const UPSTREAM_RESET: u64 = 0x10;
    /// `UF`: no connection to the upstream could be made.
    pub const CONNECT_FAILURE: u64 = 0x20;
    /// `UC`: the upstream closed its connection.
    pub const UPSTREAM_CLOSED: u64 = 0x40;
    /// `DC`: the client went away.
    pub const CLIENT_CLOSED: u64 = 0x4000;
    /// `URX`: there were tries, and the last one failed too.
    pub const TRIES_USED_UP: u64 = 0x8000;
    /// `UPE`: what the upstream sent is no HTTP.
    pub const UPSTREAM_PROTOCOL_ERROR: u64 = 0x80_0000;
}
