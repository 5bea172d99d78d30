//! What random cases leave out, because the simulator is known to differ from Envoy, or because Envoy
//! itself depends on chance. docs/traces.md lists for users what is not simulated.

use super::case::{Argument, Call, Callback, Case, Section};

/// What `apply` removes, in the same order, for the page about compatibility.
pub const LEFT_OUT: [&str; 8] = [
    "A response that a guest pauses while it also replies locally and continues the stream: Envoy may send parts of both responses.",
    "A stream that a guest closes in the callback in which it continues it or replies: Envoy may still send parts of it.",
    "A reply to a reply over HTTP/2: what Envoy still sends and calls for the first one depends on the state of the connection.",
    "A request of which a part has left, to which the guest replies and which it then continues: Envoy responds with 503, or ends.",
    "The length of a request over HTTP/2 whose body the guest changes, or to which it adds trailers: an upstream over HTTP/2 resets a request of another length, one over HTTP/1 does not.",
    "Bodies in the final callbacks of a stream to which the guest replied: Envoy may have freed them.",
    "Properties of the response after a reply to a response: Envoy reads the headers that it has replaced.",
    "Header maps in `proxy_on_done` and `proxy_on_delete`: Envoy reads the memory of messages that it has sent.",
];

/// Removes from a case what [`LEFT_OUT`] lists.
pub(super) fn apply(case: &mut Case) {
    use Callback::{
        Delete, Done, Log, RequestHeaders, ResponseBody, ResponseBodyMore, ResponseHeaders,
        ResponseTrailers,
    };
    let calls = |case: &Case, wanted: &dyn Fn(&Call) -> bool| {
        case.program.values().any(|section: &Section| section.calls.iter().any(wanted))
    };
    let is = |name: &'static str| move |call: &Call| call.call == name;
    if calls(case, &is("proxy_send_local_response")) && calls(case, &is("proxy_continue_stream")) {
        for callback in [ResponseHeaders, ResponseBody, ResponseBodyMore, ResponseTrailers] {
            case.program.entry(callback).or_default().returns = 0;
        }
    }
    for section in case.program.values_mut() {
        if section.calls.iter().any(is("proxy_close_stream")) {
            section.calls.retain(|call| {
                !matches!(&*call.call, "proxy_continue_stream" | "proxy_send_local_response")
            });
        }
    }
    let reply = is("proxy_send_local_response");
    let replies = case.program.values().filter(|section| section.calls.iter().any(reply)).count();
    if case.http2 && replies > 1 {
        for callback in [ResponseHeaders, ResponseBody, ResponseBodyMore, ResponseTrailers] {
            if let Some(section) = case.program.get_mut(&callback) {
                section.calls.retain(|call| call.call != "proxy_send_local_response");
            }
        }
    }
    let replies_to_response = [ResponseHeaders, ResponseBody, ResponseBodyMore, ResponseTrailers]
        .iter()
        .any(|callback| has_call(case, *callback, reply));
    if replies_to_response {
        for callback in [Log, Done, Delete] {
            if let Some(section) = case.program.get_mut(&callback) {
                section.calls.retain(|call| !reads_property(call, "response"));
            }
        }
    }
    let continues =
        |call: &Call| call.call == "proxy_continue_stream" && call.args == [Argument::Number(0)];
    let pauses = |case: &Case, callback| {
        case.program.get(&callback).is_some_and(|section| section.returns != 0)
    };
    let continuing = case.program.values().filter(|section| section.calls.iter().any(continues));
    if continuing.count() > 1 || !pauses(case, RequestHeaders) {
        for section in case.program.values_mut() {
            if section.calls.iter().any(reply) {
                section.calls.retain(|call| !continues(call));
            }
        }
    }
    let changes_length = |call: &Call| match call.args.first() {
        Some(Argument::Number(0)) => call.call == "proxy_set_buffer_bytes",
        Some(Argument::Number(1)) => call.call.contains("header_map"),
        _ => false,
    };
    if case.http2 && calls(case, &changes_length) {
        case.request.has_length = false;
    }
    if replies > 0 {
        for callback in [Log, Done, Delete] {
            if let Some(section) = case.program.get_mut(&callback) {
                section.calls.retain(|call| !call.call.starts_with("proxy_get_buffer"));
            }
        }
    }
    for callback in [Done, Delete] {
        if let Some(section) = case.program.get_mut(&callback) {
            section.calls.retain(|call| !call.call.contains("header_map"));
        }
    }
}

fn has_call(case: &Case, callback: Callback, wanted: impl Fn(&Call) -> bool) -> bool {
    case.program.get(&callback).is_some_and(|section| section.calls.iter().any(wanted))
}

/// Whether the call reads a property whose path begins with this name.
fn reads_property(call: &Call, first: &str) -> bool {
    let begins = |argument: &Argument| matches!(argument, Argument::Path(path) if path.first().is_some_and(|name| name == first));
    call.call == "proxy_get_property" && call.args.iter().any(begins)
}
