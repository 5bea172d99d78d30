//! How an exchange fails in the proxy: the local reply, and the details and flags that filters and
//! access logs read. The texts and flags were measured on Envoy 1.40.

use crate::ResponseDetails;
use crate::details::flags;
use crate::local_reply::LocalReply;
use crate::profile::Rules;
use crate::proxy::Version;
use crate::trace::AttemptEnd;

/// How an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The upstream refused the connection.
    Connect,
    /// The upstream refused the stream.
    RefusedStream,
    /// The upstream closed the connection before the response.
    Reset,
    /// The upstream sent an invalid response, or cut it.
    Protocol,
    AttemptTimeout,
    RequestTimeout,
    /// No byte passed for the idle timeout; `incomplete` if the request has not ended.
    StreamIdle {
        incomplete: bool,
    },
    /// The stream lasted too long.
    StreamDuration {
        incomplete: bool,
    },
    /// The client did not send the whole request in time.
    SlowRequest,
}

impl Failure {
    /// The failure of an attempt that ended without a response.
    pub(super) fn of(end: AttemptEnd) -> Option<Self> {
        match end {
            AttemptEnd::Refused => Some(Self::Connect),
            AttemptEnd::RefusedStream => Some(Self::RefusedStream),
            AttemptEnd::Reset => Some(Self::Reset),
            AttemptEnd::ResetInHeader => Some(Self::Protocol),
            AttemptEnd::Complete | AttemptEnd::Never => None,
        }
    }

    /// The local reply after the last of `attempts` attempts.
    pub(super) fn reply(self, rules: &Rules, version: Version, attempts: u32) -> LocalReply {
        let status = u32::from(self.status(rules));
        if !rules.failure_replies_have_text {
            return LocalReply::new(status, "", "");
        }
        let (reason, cause) = match self {
            Self::AttemptTimeout => {
                return LocalReply::new(status, TIMEOUT, "upstream_per_try_timeout");
            }
            Self::RequestTimeout => return LocalReply::new(status, TIMEOUT, RESPONSE_TIMEOUT),
            Self::StreamIdle { .. } => {
                return LocalReply::new(status, "stream timeout", STREAM_IDLE);
            }
            Self::StreamDuration { .. } => {
                let text = "downstream duration timeout";
                return LocalReply::new(status, text, STREAM_DURATION);
            }
            Self::SlowRequest => {
                return LocalReply::new(status, "request timeout", SLOW_REQUEST);
            }
            Self::Connect => {
                ("remote connection failure", "|delayed_connect_error:_Connection_refused")
            }
            Self::RefusedStream => ("remote refused stream reset", ""),
            Self::Reset => ("connection termination", ""),
            Self::Protocol => ("protocol error", ""),
        };
        let which =
            if attempts > 1 { "retried and the latest reset reason" } else { "reset reason" };
        let names_transport = version.rules().reply_names_transport_failure;
        let transport = match self {
            Self::Connect if names_transport => TRANSPORT_FAILURE,
            _ => "",
        };
        let text = format!(
            "upstream connect error or disconnect/reset before headers. {which}: {reason}{transport}"
        );
        let word = reason.replace(' ', "_");
        let details = format!("upstream_reset_before_response_started{{{word}{cause}}}");
        LocalReply {
            status,
            body: text.into_bytes().into(),
            details: details.into(),
            ..LocalReply::default()
        }
    }

    pub(super) fn status(self, rules: &Rules) -> u16 {
        match self {
            Self::AttemptTimeout | Self::RequestTimeout => 504,
            Self::StreamIdle { incomplete } | Self::StreamDuration { incomplete } => {
                if incomplete {
                    408
                } else {
                    504
                }
            }
            Self::SlowRequest => 408,
            Self::Protocol => 502,
            Self::Connect | Self::RefusedStream | Self::Reset => rules.upstream_failure_status,
        }
    }

    pub(super) fn flags(self) -> u64 {
        match self {
            Self::Connect => flags::CONNECT_FAILURE,
            Self::RefusedStream => flags::UPSTREAM_RESET,
            Self::Reset => flags::UPSTREAM_CLOSED,
            Self::Protocol => flags::UPSTREAM_PROTOCOL_ERROR,
            Self::AttemptTimeout | Self::RequestTimeout => flags::UPSTREAM_TIMEOUT,
            Self::StreamIdle { .. } => flags::STREAM_IDLE,
            Self::StreamDuration { .. } | Self::SlowRequest => 0,
        }
    }

    /// The details of a failure after the response headers.
    pub(super) fn within_response(self) -> ResponseDetails {
        let details = match self {
            Self::RequestTimeout => RESPONSE_TIMEOUT,
            Self::StreamIdle { .. } => STREAM_IDLE,
            Self::StreamDuration { .. } => STREAM_DURATION,
            Self::SlowRequest => SLOW_REQUEST,
            // An HTTP/1.1 upstream that stops within a body violates the protocol.
            _ => "upstream_reset_after_response_started{protocol_error}",
        };
        ResponseDetails::new(details, self.flags())
    }

    /// As [`within_response`](Self::within_response), with an HTTP/2 upstream.
    pub(super) fn within_http2_response(self) -> ResponseDetails {
        match self {
            Self::Reset => {
                let details = "upstream_reset_after_response_started{connection_termination}";
                ResponseDetails::new(details, self.flags())
            }
            _ => self.within_response(),
        }
    }
}

const TRANSPORT_FAILURE: &str =
    ", transport failure reason: delayed connect error: Connection refused";

const TIMEOUT: &str = "upstream request timeout";

const RESPONSE_TIMEOUT: &str = "response_timeout";

const STREAM_IDLE: &str = "stream_idle_timeout";

const STREAM_DURATION: &str = "max_duration_timeout";

const SLOW_REQUEST: &str = "request_overall_timeout";

/// The details of an exchange whose HTTP/2 client sent another length than it announced.
pub(super) const WRONG_LENGTH: ResponseDetails =
    ResponseDetails::new("http2.remote_reset", flags::DOWNSTREAM_PROTOCOL_ERROR);

/// The details of an exchange whose client closed its connection.
pub(super) const CLIENT_DISCONNECT: ResponseDetails =
    ResponseDetails::new("downstream_remote_disconnect", flags::CLIENT_CLOSED);
