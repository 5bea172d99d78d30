//! What random cases leave out, because the simulator is known to differ from Envoy, or because Envoy
//! itself depends on chance. Each entry is a gap to close; docs/traces.md lists them for users.

use super::case::Argument::Number;
use super::case::{Call, Callback, Case, Section};

/// Removes what the simulator is known to do otherwise than Envoy:
/// - a length that does not match the body
/// - a body that is paused after its headers were paused, or to which trailers are added while it is
///   paused: Envoy loses the body
/// - a local reply after the response headers, or of a guest that also continues the stream
/// - header maps after `on_log`
pub(super) fn apply(case: &mut Case) {
    let off = |name: &str| std::env::var("RG_X").is_ok_and(|text| text.contains(name));
    use Callback::{
        Delete, Done, RequestBody, RequestBodyMore, RequestHeaders, ResponseBody, ResponseBodyMore,
        ResponseHeaders, ResponseTrailers,
    };
    let resizes = |section: &Section| {
        section.returns != 0
            || section.calls.iter().any(|call| call.call == "proxy_set_buffer_bytes")
    };
    if !off("length") && case.program.values().any(resizes) {
        (case.request.has_length, case.response.has_length) = (false, false);
    }
    let replies = |section: &Section| {
        section.calls.iter().any(|call| call.call == "proxy_send_local_response")
    };
    if !off("reply") && case.program.values().any(replies) {
        for section in case.program.values_mut() {
            section.calls.retain(|call| call.call != "proxy_continue_stream");
        }
    }
    let waits = |case: &Case, at| case.program.get(&at).is_some_and(|at| at.returns != 0);
    for (headers, bodies) in [
        (RequestHeaders, [RequestBody, RequestBodyMore]),
        (ResponseHeaders, [ResponseBody, ResponseBodyMore]),
    ] {
        let headers_wait = waits(case, headers);
        for body in bodies {
            if let Some(section) = case.program.get_mut(&body).filter(|_| !off("paused")) {
                section.returns &= u32::from(!headers_wait);
            }
        }
    }
    for (callback, section) in &mut case.program {
        let changes_trailers = |call: &Call| {
            call.call.contains("header_map")
                && matches!(call.args.first(), Some(Number(1 | 3)))
                && !call.call.contains("get_header_map_value")
                && !call.call.contains("get_header_map_pairs")
        };
        section.calls.retain(|call| off("trailers") || !changes_trailers(call));
        if !off("late") && matches!(callback, ResponseBody | ResponseBodyMore | ResponseTrailers) {
            section.calls.retain(|call| call.call != "proxy_send_local_response");
        }
        // Envoy reads the memory of messages that it has sent.
        if matches!(callback, Done | Delete) {
            section.calls.retain(|call| !call.call.contains("header_map"));
        }
    }
}
