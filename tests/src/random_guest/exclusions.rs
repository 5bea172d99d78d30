//! What random cases leave out, because the simulator is known to differ from Envoy, or because Envoy
//! itself depends on chance. docs/traces.md lists for users what is not simulated.

use super::case::{Argument, Call, Callback, Case, Section};

/// Something that random cases leave out.
#[derive(Debug, Clone, Copy)]
pub struct Exclusion {
    /// What Envoy does, for the page about compatibility.
    pub why: &'static str,
    /// Removes it from a case.
    remove: fn(&mut Case),
}

/// All of them.
pub const LEFT_OUT: [Exclusion; 10] = [
    Exclusion {
        why: "A response that a guest pauses while it also replies locally and continues the stream: Envoy may send parts of both responses.",
        remove: |case| {
            if case.has(&replies) && case.has(&|call| call.call == "proxy_continue_stream") {
                for callback in RESPONSE {
                    case.program.entry(callback).or_default().returns = 0;
                }
            }
        },
    },
    Exclusion {
        why: "A stream that a guest closes in the callback in which it continues it or replies: Envoy may still send parts of it.",
        remove: |case| {
            let closes = |call: &Call| call.call == "proxy_close_stream";
            for section in case.program.values_mut().filter(|section| section.has(&closes)) {
                section.calls.retain(|call| !replies(call) && call.call != "proxy_continue_stream");
            }
        },
    },
    Exclusion {
        why: "A reply to a reply over HTTP/2: what Envoy still sends and calls for the first one depends on the state of the connection.",
        remove: |case| {
            let replying = case.program.values().filter(|section| section.has(&replies));
            if case.http2 && replying.count() > 1 {
                case.retain(&RESPONSE, |call| !replies(call));
            }
        },
    },
    Exclusion {
        why: "A request of which a part has left, to which the guest replies and which it then continues: Envoy responds with 503, or ends.",
        remove: |case| {
            let continuing =
                case.program.values().filter(|section| section.has(&continues_request));
            let pauses = case.section(Callback::RequestHeaders).is_some_and(|it| it.returns != 0);
            if continuing.count() > 1 || !pauses {
                for section in case.program.values_mut().filter(|section| section.has(&replies)) {
                    section.calls.retain(|call| !continues_request(call));
                }
            }
        },
    },
    Exclusion {
        why: "The length of a request over HTTP/2 whose body the guest changes, or to which it adds trailers: an upstream over HTTP/2 resets a request of another length, one over HTTP/1 does not.",
        remove: |case| {
            let changes_length = |call: &Call| match call.args.first() {
                Some(Argument::Number(0)) => call.call == "proxy_set_buffer_bytes",
                Some(Argument::Number(1)) => call.call.contains("header_map"),
                _ => false,
            };
            if case.http2 && case.has(&changes_length) {
                case.request.has_length = false;
            }
        },
    },
    Exclusion {
        why: "The body of a request in callbacks for the response after a reply, and all bodies in the final callbacks then: Envoy may have freed them.",
        remove: |case| {
            if case.has(&replies) {
                let of_request = |call: &Call| call.args.first() == Some(&Argument::Number(0));
                case.retain(&RESPONSE, |call| !(call.call.contains("buffer") && of_request(call)));
                case.retain(&FINAL, |call| !call.call.starts_with("proxy_get_buffer"));
            }
        },
    },
    Exclusion {
        why: "Calls for a stream over HTTP/1 that a reply has ended within the same gRPC event: Envoy keeps its context until the end of the event.",
        remove: |case| {
            if !case.http2 && case.has_in(&GRPC, &replies) {
                for callback in GRPC {
                    let section = case.program.get_mut(&callback);
                    if let Some(section) = section.filter(|section| !section.has(&replies)) {
                        section.calls.clear();
                    }
                }
            }
        },
    },
    Exclusion {
        why: "Two replies in one callback for a response: Envoy resets the stream after the first.",
        remove: |case| {
            for callback in RESPONSE {
                let Some(section) = case.program.get_mut(&callback) else { continue };
                let mut is_first = true;
                section.calls.retain(|call| !replies(call) || std::mem::take(&mut is_first));
            }
        },
    },
    Exclusion {
        why: "Properties of the response after a reply to a response: Envoy reads the headers that it has replaced.",
        remove: |case| {
            if case.has_in(&RESPONSE, &replies) {
                case.retain(&FINAL, |call| !reads_response_property(call));
            }
        },
    },
    Exclusion {
        why: "Header maps in `proxy_on_done` and `proxy_on_delete`: Envoy reads the memory of messages that it has sent.",
        remove: |case| {
            let last = [Callback::Done, Callback::Delete];
            case.retain(&last, |call| !call.call.contains("header_map"));
        },
    },
];

const RESPONSE: [Callback; 4] = [
    Callback::ResponseHeaders,
    Callback::ResponseBody,
    Callback::ResponseBodyMore,
    Callback::ResponseTrailers,
];

const GRPC: [Callback; 4] = [
    Callback::GrpcInitialMetadata,
    Callback::GrpcMessage,
    Callback::GrpcTrailingMetadata,
    Callback::GrpcClose,
];

const FINAL: [Callback; 3] = [Callback::Log, Callback::Done, Callback::Delete];

/// Removes from a case what [`LEFT_OUT`] lists.
pub(super) fn apply(case: &mut Case) {
    for exclusion in LEFT_OUT {
        (exclusion.remove)(case);
    }
}

fn replies(call: &Call) -> bool {
    call.call == "proxy_send_local_response"
}

fn continues_request(call: &Call) -> bool {
    call.call == "proxy_continue_stream" && call.args == [Argument::Number(0)]
}

fn reads_response_property(call: &Call) -> bool {
    let is_response = |argument: &Argument| matches!(argument, Argument::Path(path) if path.first().is_some_and(|name| name == "response"));
    call.call == "proxy_get_property" && call.args.iter().any(is_response)
}

impl Section {
    fn has(&self, wanted: &dyn Fn(&Call) -> bool) -> bool {
        self.calls.iter().any(wanted)
    }
}

impl Case {
    fn section(&self, callback: Callback) -> Option<&Section> {
        self.program.get(&callback)
    }

    /// Whether any callback makes such a call.
    fn has(&self, wanted: &dyn Fn(&Call) -> bool) -> bool {
        self.program.values().any(|section| section.has(wanted))
    }

    /// Whether one of these callbacks makes such a call.
    fn has_in(&self, callbacks: &[Callback], wanted: &dyn Fn(&Call) -> bool) -> bool {
        callbacks.iter().any(|callback| self.section(*callback).is_some_and(|it| it.has(wanted)))
    }

    /// Keeps in these callbacks only such calls.
    fn retain(&mut self, callbacks: &[Callback], kept: impl Fn(&Call) -> bool) {
        for callback in callbacks {
            if let Some(section) = self.program.get_mut(callback) {
                section.calls.retain(&kept);
            }
        }
    }
}
