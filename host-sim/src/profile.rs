//! Which host the library imitates, where hosts differ.
//!
//! The specification leaves much open and Envoy departs from it here and there. Everything of that
//! kind is one field of [`Rules`]; no other module knows the name of a host.

use std::time::Duration;

use crate::abi::Status;

/// The host whose behaviour is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Envoy 1.40, as measured.
    Envoy,
    /// The text of the ABI and nothing else.
    Generic,
}

impl Profile {
    /// What this host does where hosts differ.
    pub fn rules(self) -> &'static Rules {
        match self {
            Profile::Envoy => &ENVOY,
            Profile::Generic => &GENERIC,
        }
    }

    /// The name by which command lines know the profile.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Envoy => "envoy",
            Profile::Generic => "generic",
        }
    }
}

/// What a host does where hosts differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// At the end of an HTTP exchange `on_log` comes before `on_done`, instead of between it and
    /// `on_delete`.
    pub log_before_done: bool,
    /// A stream whose `on_done` returned false stays until the guest calls `proxy_done`; otherwise
    /// the answer is ignored. Plugins are always waited for.
    pub streams_wait_for_done: bool,
    /// Plugin contexts get `on_log` at their end as streams do.
    pub log_for_plugins: bool,
    /// `on_vm_start` is called for every plugin context, instead of once for a virtual machine.
    pub vm_start_per_plugin: bool,
    /// Local replies run through the response callbacks of the stream that sent them.
    pub local_reply_runs_callbacks: bool,
    /// A local reply carries `content-length` and `content-type`, and answers a gRPC request in
    /// gRPC's way.
    pub local_reply_adds_headers: bool,
    /// Trailers of HTTP/1 are dropped on their way in and out, which is what a proxy does that was not told to
    /// keep them.
    pub http1_drops_trailers: bool,
    /// The body of an HTTP/1 request that asks to leave HTTP begins with an empty piece.
    pub upgrade_begins_empty: bool,
    /// Header names are turned into lower case on their way in.
    pub lower_case_names: bool,
    /// Bytes of a body that may be held; `None` for no limit but the guest's own.
    pub body_limit: Option<usize>,
    /// `Pause` from a headers callback stops the body callbacks too, unless the plugin's
    /// `allow_on_headers_stop_iteration` says otherwise.
    pub headers_pause_holds_body: bool,
    /// Trailers may be added in a body callback that ends its message.
    pub trailers_from_body: bool,
    /// The request's trailers can be read in `on_log`.
    pub request_trailers_in_log: bool,
    /// `proxy_get_header_map_pairs` on a map that is not there answers with an empty map, instead of
    /// `BAD_ARGUMENT`.
    pub missing_map_is_empty: bool,
    /// Serialized pairs that contradict themselves count as none, instead of as `BAD_ARGUMENT`.
    pub malformed_pairs_are_empty: bool,
    /// `proxy_get_header_map_size` counts the bytes of names and values alone, instead of the
    /// serialized form.
    pub map_size_is_text: bool,
    /// `proxy_set_buffer_bytes` prepends, appends and replaces the whole, but no part.
    pub buffer_parts_fixed: bool,
    /// A range of a buffer whose end passes 32 bits is cut, instead of refused.
    pub buffer_range_wraps: bool,
    /// A buffer that is not there reads as empty for the kinds that Envoy keeps as pointers, instead
    /// of as `NOT_FOUND`.
    pub missing_buffer_is_empty: bool,
    /// A compare-and-swap on a key that does not exist creates it, instead of failing.
    pub cas_creates: bool,
    /// `proxy_record_metric` adds to a counter, instead of setting it.
    pub record_adds_to_counter: bool,
    /// Incrementing a counter by zero is `BAD_ARGUMENT`.
    pub counter_refuses_zero: bool,
    /// What a guest stores with `proxy_set_property` is the stream's filter state: plugins cannot
    /// store, only paths of one name can be read back, and the host's own names come first.
    pub properties_are_filter_state: bool,
    /// There are properties that say who answered and why a response broke off, `response.code_details` and
    /// `response.flags`.
    pub response_details: bool,
    /// Reading a path that has others below it, but no value, is `SERIALIZATION_FAILURE`, instead of
    /// `NOT_FOUND`.
    pub property_node_fails: bool,
    /// Continuing or closing a stream that the context does not have is `OK` and does nothing,
    /// instead of `UNIMPLEMENTED`.
    pub foreign_stream_is_ok: bool,
    /// `proxy_continue_stream` of a TCP upstream works; otherwise it is `UNIMPLEMENTED`.
    pub upstream_continues: bool,
    /// `proxy_send_local_response` after the response's headers have left cuts the stream, instead
    /// of being refused with `BAD_ARGUMENT`.
    pub late_reply_resets: bool,
    /// HTTP calls that fail are delivered as a response that the host made up, instead of as one
    /// without headers.
    pub failed_call_is_response: bool,
    /// HTTP calls with a body get a `content-length`.
    pub http_call_adds_length: bool,
    /// `proxy_get_status` knows the HTTP status inside `on_http_call_response`.
    pub status_of_http_call: bool,
    /// The upstream of a gRPC call is a serialized `GrpcService`, instead of a name.
    pub grpc_upstream_is_message: bool,
    /// What a gRPC call to an upstream that is not there is answered with.
    pub unknown_grpc_upstream: Status,
    /// A TCP stream ends, with its last callbacks, when its client's connection closes, instead of
    /// when the embedder says so.
    pub tcp_ends_with_downstream: bool,
    /// The end of an upstream's data counts as the close of its connection.
    pub upstream_end_is_close: bool,
    /// WASI's monotonic clock is there beside the real-time one.
    pub monotonic_clock: bool,
    /// A trap is answered with this status where the response has not begun; otherwise, and with
    /// `None`, the stream is cut.
    pub trap_status: Option<u32>,
    /// The router, which applies timeouts and retries attempts; `None` for a host without a router.
    pub router: Option<RouterRules>,
    /// The status of the local reply if the upstream refuses the connection or the stream, or resets
    /// it before the response.
    pub upstream_failure_status: u16,
    /// The local reply for a failed upstream describes the failure in its body and in the response
    /// details.
    pub failure_replies_have_text: bool,
    /// `connection: close` in a response closes an HTTP/1 connection. Otherwise, the host removes the
    /// header, and closes the connection after a response that carries the drain marker or that
    /// precedes the end of its HTTP/1 request.
    pub connection_header_closes: bool,
}

/// The rules of a router: which request headers set the policy of a request, and the defaults. The
/// router removes these headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterRules {
    /// The header with the timeout in milliseconds, from the end of the request to the end of the
    /// response; 0 disables the timeout.
    pub timeout_header: &'static str,
    /// The timeout of a request without that header.
    pub default_timeout: Duration,
    /// The header with the timeout of one attempt in milliseconds.
    pub attempt_timeout_header: &'static str,
    /// The header with the conditions for retries.
    pub retry_conditions_header: &'static str,
    /// The header with the maximum number of retries; one retry without it.
    pub max_retries_header: &'static str,
    /// The upper bound of the random pause before the first retry. It doubles with each retry.
    pub back_off_base: Duration,
    /// The maximum of that bound.
    pub back_off_max: Duration,
}

const ENVOY: Rules = Rules {
    log_before_done: true,
    streams_wait_for_done: false,
    log_for_plugins: false,
    vm_start_per_plugin: true,
    local_reply_runs_callbacks: true,
    local_reply_adds_headers: true,
    http1_drops_trailers: true,
    upgrade_begins_empty: true,
    lower_case_names: true,
    body_limit: Some(1 << 20),
    headers_pause_holds_body: true,
    trailers_from_body: false,
    request_trailers_in_log: false,
    missing_map_is_empty: true,
    malformed_pairs_are_empty: true,
    map_size_is_text: true,
    buffer_parts_fixed: true,
    buffer_range_wraps: true,
    missing_buffer_is_empty: true,
    cas_creates: true,
    record_adds_to_counter: true,
    counter_refuses_zero: true,
    properties_are_filter_state: true,
    response_details: true,
    property_node_fails: true,
    foreign_stream_is_ok: true,
    upstream_continues: false,
    late_reply_resets: true,
    failed_call_is_response: true,
    http_call_adds_length: true,
    status_of_http_call: false,
    grpc_upstream_is_message: true,
    unknown_grpc_upstream: Status::InternalFailure,
    tcp_ends_with_downstream: true,
    upstream_end_is_close: true,
    monotonic_clock: false,
    trap_status: Some(503),
    router: Some(RouterRules {
        timeout_header: "x-envoy-upstream-rq-timeout-ms",
        default_timeout: Duration::from_secs(15),
        attempt_timeout_header: "x-envoy-upstream-rq-per-try-timeout-ms",
        retry_conditions_header: "x-envoy-retry-on",
        max_retries_header: "x-envoy-max-retries",
        back_off_base: Duration::from_millis(25),
        back_off_max: Duration::from_millis(250),
    }),
    upstream_failure_status: 503,
    failure_replies_have_text: true,
    connection_header_closes: false,
};

const GENERIC: Rules = Rules {
    log_before_done: false,
    streams_wait_for_done: true,
    log_for_plugins: true,
    vm_start_per_plugin: false,
    local_reply_runs_callbacks: false,
    local_reply_adds_headers: false,
    http1_drops_trailers: false,
    upgrade_begins_empty: false,
    lower_case_names: false,
    body_limit: None,
    headers_pause_holds_body: false,
    trailers_from_body: true,
    request_trailers_in_log: true,
    missing_map_is_empty: false,
    malformed_pairs_are_empty: false,
    map_size_is_text: false,
    buffer_parts_fixed: false,
    buffer_range_wraps: false,
    missing_buffer_is_empty: false,
    cas_creates: false,
    record_adds_to_counter: false,
    counter_refuses_zero: false,
    properties_are_filter_state: false,
    response_details: false,
    property_node_fails: false,
    foreign_stream_is_ok: false,
    upstream_continues: true,
    late_reply_resets: false,
    failed_call_is_response: false,
    http_call_adds_length: false,
    status_of_http_call: true,
    grpc_upstream_is_message: false,
    unknown_grpc_upstream: Status::ParseFailure,
    tcp_ends_with_downstream: false,
    upstream_end_is_close: false,
    monotonic_clock: true,
    trap_status: None,
    router: None,
    upstream_failure_status: 502,
    failure_replies_have_text: false,
    connection_header_closes: true,
};
