//! What random cases leave out, because the simulator is known to differ from Envoy, or because Envoy
//! itself depends on chance. docs/traces.md lists for users what is not simulated.

use super::case::{Argument, Call, Callback, Case, Section};

/// What [`apply`] removes, in the same order, for the page about compatibility.
pub const LEFT_OUT: [&str; 3] = [
    "A local reply that the guest pauses while it also continues the request. In Envoy, the response of the upstream follows the reply.",
    "The length of a request over HTTP/2 to which the guest adds trailers: an upstream over HTTP/2 resets the request if Envoy loses its body.",
    "Header maps in `proxy_on_done` and `proxy_on_delete`: Envoy reads the memory of messages that it has sent.",
];

/// Removes from a case what [`LEFT_OUT`] lists.
pub(super) fn apply(case: &mut Case) {
    use Callback::{Delete, Done, ResponseBody, ResponseBodyMore, ResponseHeaders};
    let calls = |case: &Case, wanted: &dyn Fn(&Call) -> bool| {
        case.program.values().any(|section: &Section| section.calls.iter().any(wanted))
    };
    let is = |name: &'static str| move |call: &Call| call.call == name;
    if calls(case, &is("proxy_send_local_response")) && calls(case, &is("proxy_continue_stream")) {
        for callback in [ResponseHeaders, ResponseBody, ResponseBodyMore] {
            case.program.entry(callback).or_default().returns = 0;
        }
    }
    let request_trailers = |call: &Call| {
        call.call.contains("header_map") && call.args.first() == Some(&Argument::Number(1))
    };
    if case.http2 && calls(case, &request_trailers) {
        case.request.has_length = false;
    }
    for callback in [Done, Delete] {
        if let Some(section) = case.program.get_mut(&callback) {
            section.calls.retain(|call| !call.call.contains("header_map"));
        }
    }
}
