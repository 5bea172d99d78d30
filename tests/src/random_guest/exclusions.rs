//! What random cases leave out, because the simulator is known to differ from Envoy, or because Envoy
//! itself depends on chance. docs/traces.md lists for users what is not simulated.

use super::case::{Argument, Call, Callback, Case, Section};

/// Removes from a case:
/// - the pause of a local reply while its request continues: the response of the upstream follows
/// - a length of a request that gets trailers: an upstream over HTTP/2 rejects it if Envoy loses the
///   body
/// - header maps after `on_log`: Envoy reads the memory of messages that it has sent
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
