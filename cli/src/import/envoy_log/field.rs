//! The fields of an access log line, each with the format entry that makes Envoy write it.
//!
//! This is the only list of them. A test compares it with the example that operators copy.

/// The example with these format entries.
pub(crate) const EXAMPLE: &str = "envoy-examples/access-log/access_log.yaml";

macro_rules! fields {
    ($( $name:ident = $path:literal : $format:literal, )*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Field { $( $name, )* }

        impl Field {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[ $( Self::$name, )* ];

            /// The name of the field, after that of the object around it.
            pub(crate) const fn path(self) -> &'static str {
                match self { $( Self::$name => $path, )* }
            }

            /// The format entry that writes it.
            pub(crate) const fn format(self) -> &'static str {
                match self { $( Self::$name => $format, )* }
            }
        }
    };
}

fields! {
    StartTime = "start_time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    Duration = "duration": "%DURATION%",
    ConnectionId = "connection_id": "%CONNECTION_ID%",
    RemoteAddress = "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    Protocol = "protocol": "%PROTOCOL%",
    Method = "method": "%REQ(:METHOD)%",
    Scheme = "scheme": "%REQ(:SCHEME)%",
    Authority = "authority": "%REQ(:AUTHORITY)%",
    Path = "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    RequestHeaders = "request_headers": "%REQ(NAME)% for each",
    RouteName = "route_name": "%ROUTE_NAME%",
    Policy = "policy": "%METADATA(ROUTE:sluice:policy)%",
    BytesReceived = "bytes_received": "%BYTES_RECEIVED%",
    AttemptCount = "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    ResponseCode = "response_code": "%RESPONSE_CODE%",
    ResponseCodeDetails = "response_code_details": "%RESPONSE_CODE_DETAILS%",
    ResponseFlags = "response_flags": "%RESPONSE_FLAGS%",
    ResponseHeaders = "response_headers": "%RESP(NAME)% for each",
    BytesSent = "bytes_sent": "%BYTES_SENT%",
    RequestEnd = "timing.request_end": "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%",
    UpstreamStart = "timing.upstream_start": "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%",
    ResponseStart = "timing.response_start": "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%",
    ResponseEnd = "timing.response_end": "%COMMON_DURATION(DS_RX_BEG:US_RX_END:us)%",
    Decision = "decision": "%FILTER_STATE(wasm.sluice.decision:PLAIN)%",
}
