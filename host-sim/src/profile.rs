//! Profiles: the rules in which proxy-wasm hosts differ.
//!
//! The specification leaves many points open, and Envoy deviates from it in others. Each such point
//! is one field of [`Rules`]. No other module depends on the name of a host.

use crate::inline_headers::{self, InlineHeaders};

/// The host whose behavior is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// Envoy 1.40, as measured.
    #[default]
    Envoy,
    /// A host that follows the text of the ABI.
    Generic,
}

impl Profile {
    /// The rules of this host.
    pub fn rules(self) -> &'static Rules {
        match self {
            Profile::Envoy => &ENVOY,
            Profile::Generic => &GENERIC,
        }
    }

    /// The name for command lines and reports.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Envoy => "envoy",
            Profile::Generic => "generic",
        }
    }
}

/// The rules of a host. The comments describe `true`; "instead of" describes `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    // Callbacks
    /// When an HTTP stream ends, `on_log` precedes `on_done`, instead of following it.
    pub log_before_done: bool,
    /// A stream whose `on_done` returned false exists until the guest calls `proxy_done`, instead
    /// of ending at once. Plugins always wait for `proxy_done`.
    pub streams_wait_for_done: bool,
    /// `on_log` is called when a plugin context ends.
    pub log_for_plugins: bool,
    /// `on_vm_start` is called for each plugin context, instead of once for each VM.
    pub vm_start_per_plugin: bool,

    // Messages
    /// Header names are converted to lower case when they enter the host.
    pub lower_case_names: bool,
    /// Trailers of HTTP/1.1 messages are dropped. Envoy does so unless it is configured otherwise.
    pub http1_drops_trailers: bool,
    /// The end of an HTTP/1.1 message with a body is a body callback of its own, without bytes.
    pub http1_end_is_separate: bool,
    /// The body of an HTTP/1.1 upgrade request begins with an empty chunk.
    pub upgrade_sends_empty_chunk: bool,
    /// Bytes of a body that the host buffers for a paused stream; `None` for no limit.
    pub buffer_limit: Option<usize>,
    /// `Pause` from a headers callback also stops the body callbacks, unless the plugin option
    /// `allow_on_headers_stop_iteration` is set.
    pub headers_pause_stops_body: bool,
    /// `on_log` can read the request trailers.
    pub request_trailers_in_log: bool,
    /// Forwarded maps can be read in `on_log` only, instead of in all final callbacks.
    pub logged_maps_only_in_log: bool,

    // Local replies and failures
    /// The response callbacks of a stream run for its local replies.
    pub local_reply_runs_callbacks: bool,
    /// Local replies get `content-length` and `content-type`; replies to gRPC requests become gRPC
    /// responses.
    pub local_reply_adds_headers: bool,
    /// `proxy_send_local_response` after the response headers have left resets the stream, instead
    /// of returning `BAD_ARGUMENT`.
    pub late_reply_resets: bool,
    /// The status of the local reply after a trap, if the response has not begun. With `None`, or
    /// after the response has begun, the stream is reset.
    pub trap_status: Option<u32>,
    /// Properties `response.code_details` and `response.flags` exist.
    pub has_response_details: bool,

    // Header maps
    /// `proxy_get_header_map_pairs` returns an empty map if the map does not exist, instead of
    /// `BAD_ARGUMENT`.
    pub missing_map_is_empty: bool,
    /// Serialized pairs whose lengths do not match are treated as empty, instead of returning
    /// `BAD_ARGUMENT`.
    pub malformed_pairs_are_empty: bool,
    /// `proxy_get_header_map_size` counts the bytes of names and values only, instead of the
    /// serialized form.
    pub map_size_excludes_lengths: bool,
    /// Trailers can be added to a body if the last callback of the stream, of either direction,
    /// announced the end, instead of at the end of the body.
    pub end_of_stream_is_shared: bool,
    /// A guest that continues a stream with `proxy_continue_stream` keeps its access to the body and
    /// to the maps of the response that this forwards; changes have no effect. It loses the maps of
    /// the request at once.
    pub continue_keeps_access: bool,
    /// The trailers of a response to an HTTP call do not exist if they are empty.
    pub empty_call_trailers_are_missing: bool,
    /// A callback that sends a local reply for another context pauses its own stream.
    pub reply_pauses_callback: bool,
    /// `request.size` is the announced length, if there is one.
    pub request_size_is_announced: bool,
    /// A body that a guest pauses is lost in two cases: if body and trailers arrived while the
    /// headers were paused (the callback for the trailers is then made twice), and if the guest
    /// adds trailers to a request in the same callback (the request then continues).
    pub loses_paused_bodies: bool,
    /// `proxy_get_header_map_size` returns `BAD_ARGUMENT` for maps that the guest cannot change.
    pub only_open_maps_have_size: bool,
    /// In `on_log`, a value of a map that does not exist is `NOT_FOUND`, instead of `BAD_ARGUMENT`.
    pub missing_map_in_log_is_not_found: bool,
    /// The names whose repeated values are joined with commas. A host with such names keeps
    /// pseudo-headers in front, appends a replaced header at the end, and treats `host` as
    /// `:authority`.
    pub inline_headers: Option<&'static InlineHeaders>,

    // Buffers
    /// `proxy_set_buffer_bytes` can replace the beginning of a buffer, or append to it, but not
    /// start within it.
    pub buffer_rejects_inner_writes: bool,
    /// The guest can change the message of a gRPC call, for itself.
    pub grpc_message_is_writable: bool,
    /// Reading from beyond the end of a buffer returns no bytes, instead of `BAD_ARGUMENT`.
    pub buffer_reads_past_end: bool,
    /// A buffer range whose end exceeds 32 bits is truncated, instead of rejected.
    pub buffer_range_truncates: bool,
    /// A buffer that does not exist reads as empty, instead of returning `NOT_FOUND`. In Envoy this
    /// applies to the buffers that it stores as pointers.
    pub missing_buffer_is_empty: bool,

    // Shared data, metrics, properties
    /// A conditional write to a missing shared-data key creates it, instead of failing.
    pub cas_creates: bool,
    /// `proxy_record_metric` adds to a counter, instead of setting it.
    pub record_adds_to_counter: bool,
    /// Incrementing a counter by zero returns `BAD_ARGUMENT`.
    pub counter_rejects_zero: bool,
    /// Each definition of a metric returns another id, whose lowest two bits are the kind. A call
    /// that does not support this kind returns `BAD_ARGUMENT`, also if the metric does not exist.
    pub each_definition_has_id: bool,
    /// `proxy_set_property` writes to the filter state of the stream: plugins cannot write, only
    /// paths of one name can be read, and properties of the host take precedence.
    pub properties_are_filter_state: bool,
    /// Reading a path that has children but no value returns `SERIALIZATION_FAILURE`, instead of
    /// `NOT_FOUND`.
    pub property_with_children_fails: bool,
    /// Property `xds.node.user_agent_name`, by which filters recognize the host.
    pub user_agent_name: Option<&'static str>,

    // Streams
    /// Continuing or closing a stream that the context does not have returns `OK` without an
    /// effect, instead of `UNIMPLEMENTED`.
    pub foreign_stream_is_ok: bool,
    /// `proxy_continue_stream` supports the upstream of a TCP connection, instead of returning
    /// `UNIMPLEMENTED`.
    pub upstream_continues: bool,
    /// A TCP stream ends when the client closes its connection, instead of when the embedder calls
    /// [`close_tcp`](crate::Vm::close_tcp).
    pub tcp_ends_with_downstream: bool,
    /// The end of the upstream's data counts as the close of its connection.
    pub upstream_end_is_close: bool,

    // Calls
    /// A failed HTTP call is delivered as a response that the host creates, instead of as a
    /// response without headers.
    pub failed_call_is_response: bool,
    /// HTTP calls with a body get a `content-length` header.
    pub http_call_adds_length: bool,
    /// `proxy_get_status` returns the HTTP status in `on_http_call_response`.
    pub status_of_http_call: bool,
    /// HTTP and gRPC calls get `x-envoy-internal` and `x-envoy-expected-rq-timeout-ms`, and the
    /// replay adds `x-envoy-upstream-service-time` to their responses.
    pub router_adds_call_headers: bool,
    /// The guest can name the upstream of a gRPC call with a serialized `GrpcService` message,
    /// besides with a plain string. A message with an unknown cluster is `INTERNAL_FAILURE`, and the
    /// call closes with status 14; an unknown plain string is `PARSE_FAILURE`.
    pub grpc_upstream_may_be_message: bool,
    /// Sending on a gRPC stream that the guest has closed returns `OK` without an effect, instead
    /// of `BAD_ARGUMENT`.
    pub late_grpc_message_is_ok: bool,
    /// The lower two bits of the id of a call are its kind: 0 for HTTP, 1 for a unary gRPC call and
    /// 2 for a gRPC stream. Each kind is counted on its own.
    pub call_ids_have_kind: bool,
    /// The message of a gRPC status contains the response code details.
    pub grpc_message_has_details: bool,

    // Replay only: the proxy around the filter
    /// The proxy adds `x-request-id`, `x-forwarded-proto` and `x-envoy-expected-rq-timeout-ms` to
    /// requests, and `x-envoy-upstream-service-time`, `date` and `server` to responses. It removes
    /// the headers about the connections of clients and upstreams.
    pub adds_proxy_headers: bool,
    /// The router, which applies timeouts and retries attempts; `None` for a host without a router.
    pub router: Option<RouterRules>,
    /// The status of the local reply if the upstream refuses the connection or the stream, or
    /// resets it before the response.
    pub upstream_failure_status: u16,
    /// The local reply for a failed upstream describes the failure in its body and in the response
    /// details.
    pub failure_replies_have_text: bool,
    /// `connection: close` in a response closes an HTTP/1 connection. Otherwise, the host removes
    /// the header. It then closes the connection after a response that carries the drain marker or
    /// that precedes the end of its HTTP/1 request.
    pub connection_header_closes: bool,
}

/// The rules of a router: which request headers set the policy of a request, and the defaults. The
/// router removes these headers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouterRules {
    /// The header with the timeout in milliseconds, from the end of the request to the end of the
    /// response; 0 disables the timeout.
    pub timeout_header: &'static str,
    /// The header with the timeout of one attempt in milliseconds.
    pub attempt_timeout_header: &'static str,
    /// The header with the maximum number of retries.
    pub max_retries_header: &'static str,
}

const ENVOY: Rules = Rules {
    log_before_done: true,
    streams_wait_for_done: false,
    log_for_plugins: false,
    vm_start_per_plugin: true,

    lower_case_names: true,
    http1_drops_trailers: true,
    http1_end_is_separate: true,
    upgrade_sends_empty_chunk: true,
    buffer_limit: Some(1 << 20),
    headers_pause_stops_body: true,
    request_trailers_in_log: false,
    logged_maps_only_in_log: true,

    local_reply_runs_callbacks: true,
    local_reply_adds_headers: true,
    late_reply_resets: true,
    trap_status: Some(503),
    has_response_details: true,

    missing_map_is_empty: true,
    malformed_pairs_are_empty: true,
    map_size_excludes_lengths: true,
    end_of_stream_is_shared: true,
    continue_keeps_access: true,
    empty_call_trailers_are_missing: true,
    reply_pauses_callback: true,
    request_size_is_announced: true,
    loses_paused_bodies: true,
    only_open_maps_have_size: true,
    missing_map_in_log_is_not_found: true,
    inline_headers: Some(&inline_headers::ENVOY),

    buffer_rejects_inner_writes: true,
    grpc_message_is_writable: true,
    buffer_reads_past_end: true,
    buffer_range_truncates: true,
    missing_buffer_is_empty: true,

    cas_creates: true,
    record_adds_to_counter: true,
    counter_rejects_zero: true,
    each_definition_has_id: true,
    properties_are_filter_state: true,
    property_with_children_fails: true,
    user_agent_name: Some("envoy"),

    foreign_stream_is_ok: true,
    upstream_continues: false,
    tcp_ends_with_downstream: true,
    upstream_end_is_close: true,

    failed_call_is_response: true,
    http_call_adds_length: true,
    status_of_http_call: false,
    router_adds_call_headers: true,
    grpc_upstream_may_be_message: true,
    late_grpc_message_is_ok: true,
    call_ids_have_kind: true,
    grpc_message_has_details: true,

    adds_proxy_headers: true,
    router: Some(RouterRules {
        timeout_header: "x-envoy-upstream-rq-timeout-ms",
        attempt_timeout_header: "x-envoy-upstream-rq-per-try-timeout-ms",
        max_retries_header: "x-envoy-max-retries",
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

    lower_case_names: false,
    http1_drops_trailers: false,
    http1_end_is_separate: false,
    upgrade_sends_empty_chunk: false,
    buffer_limit: None,
    headers_pause_stops_body: false,
    request_trailers_in_log: true,
    logged_maps_only_in_log: false,

    local_reply_runs_callbacks: false,
    local_reply_adds_headers: false,
    late_reply_resets: false,
    trap_status: None,
    has_response_details: false,

    missing_map_is_empty: false,
    malformed_pairs_are_empty: false,
    map_size_excludes_lengths: false,
    end_of_stream_is_shared: false,
    continue_keeps_access: false,
    empty_call_trailers_are_missing: false,
    reply_pauses_callback: false,
    request_size_is_announced: false,
    loses_paused_bodies: false,
    only_open_maps_have_size: false,
    missing_map_in_log_is_not_found: false,
    inline_headers: None,

    buffer_rejects_inner_writes: false,
    grpc_message_is_writable: false,
    buffer_reads_past_end: false,
    buffer_range_truncates: false,
    missing_buffer_is_empty: false,

    cas_creates: false,
    record_adds_to_counter: false,
    counter_rejects_zero: false,
    each_definition_has_id: false,
    properties_are_filter_state: false,
    property_with_children_fails: false,
    user_agent_name: None,

    foreign_stream_is_ok: false,
    upstream_continues: true,
    tcp_ends_with_downstream: false,
    upstream_end_is_close: false,

    failed_call_is_response: false,
    http_call_adds_length: false,
    status_of_http_call: true,
    router_adds_call_headers: false,
    grpc_upstream_may_be_message: false,
    late_grpc_message_is_ok: false,
    call_ids_have_kind: false,
    grpc_message_has_details: false,

    adds_proxy_headers: false,
    router: None,
    upstream_failure_status: 502,
    failure_replies_have_text: false,
    connection_header_closes: true,
};
