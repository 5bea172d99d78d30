//! Why an exchange failed, in one word: the same word in metrics, logs, error bodies and the
//! simulator's reports.
//!
//! The filter knows its own reasons. It reads the proxy's reasons from the response code details of
//! Envoy (`response.code_details`). A detail that is not in this table belongs to a local reply of
//! another filter or of the operator, and has no reason.

/// Declares the reasons: each with its word, its gRPC status, Envoy's details for it, and its
/// meaning.
macro_rules! reasons {
    ($( $variant:ident = $word:literal, grpc $grpc:literal, envoy [$($envoy:literal),*], $meaning:literal; )*) => {
        /// Why an exchange failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Reason {
            $( #[doc = $meaning] $variant, )*
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// The word.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }

            /// The gRPC status.
            pub const fn grpc_status(self) -> u32 {
                match self { $( Self::$variant => $grpc, )* }
            }

            /// Envoy's response code details, or the part of them in braces if the upstream failed.
            pub const fn envoy(self) -> &'static [&'static str] {
                match self { $( Self::$variant => &[ $( $envoy, )* ], )* }
            }

            /// The meaning, one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => $meaning, )* }
            }
        }
    };
}

reasons! {
    ReadTimeout = "read_timeout", grpc 4, envoy [],
        "No chunk arrived from the upstream for `timeouts.read`.";
    SendTimeout = "send_timeout", grpc 4, envoy [],
        "No chunk of an incomplete request was sent to the upstream for `timeouts.send`.";
    FirstEventTimeout = "first_event_timeout", grpc 4, envoy [],
        "No event of the response arrived from the upstream within `timeouts.first_event`.";
    EventGapTimeout = "event_gap_timeout", grpc 4, envoy [],
        "No further event of the response arrived from the upstream for `timeouts.event_gap`.";
    RequestTimeout = "request_timeout", grpc 4, envoy ["response_timeout", "upstream_response_timeout", "request_overall_timeout"],
        "The response was not complete within `timeouts.request` or the timeout of the proxy's route, or the request was not complete within Envoy's `request_timeout`.";
    PerTryTimeout = "per_try_timeout", grpc 4, envoy ["upstream_per_try_timeout", "upstream_per_try_idle_timeout"],
        "No attempt got a response within `timeouts.per_try` or the per-try timeout of the proxy's route.";
    IdleTimeout = "idle_timeout", grpc 4, envoy ["stream_idle_timeout"],
        "The stream was idle for Envoy's `stream_idle_timeout`.";
    DurationLimit = "duration_limit", grpc 4, envoy ["max_duration_timeout", "upstream_max_stream_duration_reached"],
        "The stream exceeded the maximum duration that the proxy allows.";
    ConnectFailure = "connect_failure", grpc 14,
        envoy ["remote_connection_failure", "local_connection_failure", "connection_failure"],
        "The proxy could not connect to the upstream.";
    ConnectTimeout = "connect_timeout", grpc 14, envoy ["connection_timeout"],
        "Connecting to the upstream exceeded the cluster's `connect_timeout`.";
    UpstreamReset = "upstream_reset", grpc 14,
        envoy ["connection_termination", "remote_reset", "upstream_reset_after_response_started"],
        "The upstream reset the stream or closed the connection before its response was complete.";
    UpstreamRefused = "upstream_refused", grpc 14, envoy ["remote_refused_stream_reset"],
        "The upstream refused the stream before it processed the request.";
    ProtocolError = "protocol_error", grpc 14, envoy ["protocol_error"],
        "The upstream's response was not valid HTTP, or its headers were incomplete.";
    Overflow = "overflow", grpc 14, envoy ["overflow"],
        "The cluster's circuit breaker is open: too many connections or requests.";
    NoHealthyUpstream = "no_healthy_upstream", grpc 14, envoy ["no_healthy_upstream"],
        "The cluster has no healthy endpoint.";
    NoCluster = "no_cluster", grpc 14, envoy ["cluster_not_found"],
        "The proxy's route names a cluster that does not exist.";
    BodyTooLarge = "body_too_large", grpc 8, envoy ["request_payload_too_large", "request_payload_exceeded_retry_buffer_limit", "response_payload_too_large"],
        "A body exceeds a buffer limit: a request `buffering.max_bytes`, the proxy's buffer, or the proxy's buffer for retries; a response the proxy's buffer.";
    DrainCut = "drain_cut", grpc 14, envoy [],
        "A drain ended the stream at a boundary, because of the route's `drain`.";
    DrainDeadline = "drain_deadline", grpc 14, envoy [],
        "A drain ended the stream where no boundary came in time, or the request before its response, because of the route's `drain.within`.";
    ClientClosed = "client_closed", grpc 1, envoy ["downstream_remote_disconnect", "http2.remote_reset"],
        "The client closed the stream before its response was complete.";
}

/// The start of Envoy's details if an upstream failed before its response headers were complete.
/// The cause follows in braces, with more after a bar.
const EARLY: &str = "upstream_reset_before_response_started{";

impl Reason {
    /// Whether the reason is only that one side closed, which is how a tunnel ends.
    pub const fn is_close(self) -> bool {
        matches!(self, Self::UpstreamReset | Self::ClientClosed)
    }

    /// The reason for Envoy's response code details; `None` if neither the proxy nor the upstream
    /// failed.
    pub fn from_details(details: &[u8]) -> Option<Self> {
        let details = std::str::from_utf8(details).ok()?;
        let early = details.strip_prefix(EARLY);
        let word = early.unwrap_or(details).split(['{', '|', '}']).next()?;
        let named = Self::ALL.iter().copied().find(|reason| reason.envoy().contains(&word));
        // New versions of Envoy add causes. The text before the braces is enough to know that the
        // upstream failed.
        named.or(early.map(|_| Self::UpstreamReset))
    }
}
