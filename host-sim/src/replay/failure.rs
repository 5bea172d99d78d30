//! How an exchange fails in the proxy, and what the proxy says of it: its own answer, and the details that filters and
//! access logs read. In the `envoy` profile these are Envoy's words, measured.

use crate::details::flags;
use crate::local_reply::LocalReply;
use crate::trace::End;
use crate::{Profile, ResponseDetails};

/// How an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection was refused.
    Connect,
    /// The upstream refused the stream.
    RefusedStream,
    /// The upstream closed the connection before it answered.
    Reset,
    /// What the upstream sent is no response, or breaks off.
    Protocol,
    /// A try took longer than it may.
    PerTry,
    /// The request as a whole did.
    Request,
}

impl Failure {
    /// The failure that a try's `end` stands for where no response came before it.
    pub(super) fn of(end: End) -> Option<Self> {
        match end {
            End::Refused => Some(Self::Connect),
            End::RefusedStream => Some(Self::RefusedStream),
            End::Reset => Some(Self::Reset),
            End::ResetInHeader => Some(Self::Protocol),
            End::Complete | End::Never => None,
        }
    }

    /// What the proxy answers after the last of so many tries.
    pub(super) fn reply(self, profile: Profile, tries: u32) -> LocalReply {
        let status = u32::from(self.status(profile));
        if profile == Profile::Generic {
            return LocalReply::new(status, "", "");
        }
        let (reason, cause) = match self {
            Self::PerTry => return LocalReply::new(status, TIMEOUT, "upstream_per_try_timeout"),
            Self::Request => return LocalReply::new(status, TIMEOUT, RESPONSE_TIMEOUT),
            Self::Connect => {
                ("remote connection failure", "|delayed_connect_error:_Connection_refused")
            }
            Self::RefusedStream => ("remote refused stream reset", ""),
            Self::Reset => ("connection termination", ""),
            Self::Protocol => ("protocol error", ""),
        };
        let which = if tries > 1 { "retried and the latest reset reason" } else { "reset reason" };
        let text =
            format!("upstream connect error or disconnect/reset before headers. {which}: {reason}");
        let word = reason.replace(' ', "_");
        let details = format!("upstream_reset_before_response_started{{{word}{cause}}}");
        LocalReply {
            status,
            body: text.into_bytes().into(),
            details: details.into(),
            ..LocalReply::default()
        }
    }

    /// The status of that answer.
    pub(super) fn status(self, profile: Profile) -> u16 {
        match (self, profile) {
            (Self::PerTry | Self::Request, _) => 504,
            (Self::Protocol, _) | (_, Profile::Generic) => 502,
            (Self::Connect | Self::RefusedStream | Self::Reset, Profile::Envoy) => 503,
        }
    }

    /// The flags in the log.
    pub(super) fn flags(self) -> u64 {
        match self {
            Self::Connect => flags::CONNECT_FAILURE,
            Self::RefusedStream => flags::UPSTREAM_RESET,
            Self::Reset => flags::UPSTREAM_CLOSED,
            Self::Protocol => flags::UPSTREAM_PROTOCOL_ERROR,
            Self::PerTry | Self::Request => flags::UPSTREAM_TIMEOUT,
        }
    }

    /// What is said of it in the middle of a response.
    pub(super) fn within_response(self) -> ResponseDetails {
        let details = match self {
            Self::Request => RESPONSE_TIMEOUT,
            // An upstream that speaks HTTP/1.1 and stops within a body breaks the protocol.
            _ => "upstream_reset_after_response_started{protocol_error}",
        };
        ResponseDetails::new(details, self.flags())
    }
}

const TIMEOUT: &str = "upstream request timeout";

const RESPONSE_TIMEOUT: &str = "response_timeout";

/// The client went away.
pub(super) const CLIENT_LEFT: ResponseDetails =
    ResponseDetails::new("downstream_remote_disconnect", flags::CLIENT_CLOSED);
