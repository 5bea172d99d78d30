//! What random cases leave out, because the simulator is known to differ from Envoy, or because Envoy
//! itself depends on chance. Each entry is a gap to close; docs/traces.md lists them for users.

use super::case::Argument::Number;
use super::case::{Call, Callback, Case, Section};

/// Removes what the simulator is known to do otherwise than Envoy:
/// - trailers that the guest adds while the body is paused
/// - a local reply after the response headers, or of a guest that also continues the stream
/// - header maps after `on_log`
pub(super) fn apply(case: &mut Case) {
    let off = |name: &str| std::env::var("RG_X").is_ok_and(|text| text.contains(name));
    use Callback::{Delete, Done, ResponseBody, ResponseBodyMore, ResponseTrailers};
    let replies = |section: &Section| {
        section.calls.iter().any(|call| call.call == "proxy_send_local_response")
    };
    if !off("reply") && case.program.values().any(replies) {
        for section in case.program.values_mut() {
            section.calls.retain(|call| call.call != "proxy_continue_stream");
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
