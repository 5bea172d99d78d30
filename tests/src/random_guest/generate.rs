//! Random cases. The same seed and number make the same case.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::case::{Argument, Call, Callback, Case, Fields, Message, Section};
use super::exclusions;
use Argument::{
    Bytes, LastId, NewId, NewToken, Number, Out, Pairs, Path, Root, SecondOut, Stream, Text, Value,
};

/// The clusters that calls can name: one that responds, one that refuses connections, and one that
/// responds to gRPC.
pub(super) const CLUSTERS: [&str; 3] = ["calls", "refused", "grpc"];

/// Names of headers that programs read and write.
const NAMES: [&str; 13] = [
    "x-a",
    "x-b",
    "X-Upper",
    "accept",
    "user-agent",
    "content-type",
    "cookie",
    "set-cookie",
    "cache-control",
    "via",
    "x-tenant",
    "x-new",
    "x-case",
];

const VALUES: [&str; 6] = ["1", "two", "", "a, b", "text/plain", "x=1; y=2"];

/// Pseudo-headers, which programs read.
const PSEUDO: [&str; 5] = [":path", ":method", ":authority", ":status", ":scheme"];

const TEXTS: [&str; 6] = ["", "a", "hello", "0123456789", "{\"a\":1}", "line\nline"];

/// Properties whose values are the same in each run.
const PROPERTIES: [&[&str]; 45] = [
    &["plugin_name"],
    &["plugin_root_id"],
    &["plugin_vm_id"],
    &["request", "path"],
    &["request", "url_path"],
    &["request", "query"],
    &["request", "host"],
    &["request", "scheme"],
    &["request", "method"],
    &["request", "headers", "x-a"],
    &["request", "headers", "accept"],
    &["request", "useragent"],
    &["request", "referer"],
    &["request", "protocol"],
    &["request", "size"],
    &["response", "code"],
    &["response", "size"],
    &["response", "headers", "x-a"],
    &["response", "trailers", "x-trailer"],
    &["response", "grpc_status"],
    &["response", "code_details"],
    &["response", "flags"],
    &["connection", "mtls"],
    &["connection", "tls_version"],
    &["connection", "requested_server_name"],
    &["connection", "no_such"],
    &["request", "no_such"],
    &["response", "no_such"],
    &["no", "such"],
    &[""],
    &["request"],
    &["response"],
    &["connection"],
    &["source"],
    &["destination"],
    &["filter_state"],
    &["metadata"],
    &["upstream"],
    &["upstream", "no_such"],
    &["source", "no_such"],
    &["request", "path", "more"],
    &["plugin_name", "more"],
    &["node"],
    &["route_name"],
    &["cluster_name"],
];

/// Properties whose values differ between runs.
const RUN_PROPERTIES: [&[&str]; 11] = [
    &["connection", "id"],
    &["source", "address"],
    &["source", "port"],
    &["destination", "address"],
    &["destination", "port"],
    &["request", "time"],
    &["request", "duration"],
    &["request", "headers"],
    &["response", "headers"],
    &["response", "trailers"],
    &["connection_id"],
];

/// Calls that a guest must not make in the final callbacks.
const CHANGES: [&str; 9] = [
    "proxy_close_stream",
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_set_buffer_bytes",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_set_header_map_pairs",
    // It adds trailers.
    "proxy_get_header_map_size",
];

/// A random case.
pub(super) fn case(seed: u64, number: u32) -> Case {
    let mut random = Random(Rng::with_seed(seed.wrapping_mul(1_000_003) ^ u64::from(number)));
    random.case(number)
}

struct Random(Rng);

impl Random {
    fn one_in(&mut self, count: u32) -> bool {
        self.0.u32(0..count) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.0.usize(0..from.len())].clone()
    }

    fn text(&mut self, from: &[&str]) -> String {
        self.pick(from).to_owned()
    }

    fn case(&mut self, number: u32) -> Case {
        let http2 = self.one_in(2);
        let method = if self.one_in(2) { "GET" } else { "POST" };
        let request = self.message(http2, method == "POST");
        let has_body = !self.one_in(3);
        let response = self.message(http2, has_body);
        let mut case = Case {
            http2,
            method: method.to_owned(),
            request,
            status: self.pick(&[200, 200, 200, 201, 404, 503]),
            response,
            program: BTreeMap::new(),
        };
        for callback in Callback::ALL {
            let section = self.section(callback, number);
            if section != Section::default() {
                case.program.insert(callback, section);
            }
        }
        exclusions::apply(&mut case);
        case
    }

    fn message(&mut self, http2: bool, has_body: bool) -> Message {
        let mut headers = Fields::new();
        for _ in 0..self.0.usize(0..4) {
            let name = self.pick(&["x-a", "x-b", "x-tenant", "accept-language", "x-c"]);
            headers.push((name.to_owned(), self.text(&VALUES)));
        }
        if http2 {
            // The peers send repeated headers one after the other.
            let names: Vec<String> = headers.iter().map(|(name, _)| name.clone()).collect();
            headers.sort_by_key(|(name, _)| names.iter().position(|other| other == name));
        }
        let count = if has_body { self.0.usize(1..3) } else { 0 };
        let chunks = (0..count).map(|_| self.text(&TEXTS[1..])).collect();
        let mut trailers = Fields::new();
        if http2 && has_body && self.one_in(3) {
            trailers.push(("x-trailer".to_owned(), self.text(&VALUES[..2])));
        }
        let has_length = count > 0 && trailers.is_empty() && self.one_in(2);
        Message { headers, chunks, trailers, has_length }
    }

    fn section(&mut self, callback: Callback, number: u32) -> Section {
        let is_final = matches!(callback, Callback::Log | Callback::Done | Callback::Delete);
        let is_poke = matches!(callback, Callback::Poke1 | Callback::Poke2);
        if self.one_in(3) && !is_poke {
            return Section::default();
        }
        let mut calls = Vec::new();
        let of_call = matches!(
            callback,
            Callback::HttpCallResponse
                | Callback::GrpcInitialMetadata
                | Callback::GrpcMessage
                | Callback::GrpcTrailingMetadata
                | Callback::GrpcClose
        );
        if is_poke || (of_call && !self.one_in(4)) {
            calls.push(call("proxy_set_effective_context", vec![Stream]));
        }
        for _ in 0..self.0.usize(1..5) {
            let next = self.call(number);
            // Envoy crashes if a stream that ends is closed again, and the guest has pointers to
            // memory that is freed.
            if !(is_final && CHANGES.contains(&&*next.call)) {
                calls.push(next);
            }
        }
        if is_poke && !self.one_in(3) {
            let kind = u32::from(self.one_in(2));
            calls.push(call("proxy_continue_stream", vec![Number(kind)]));
        }
        let mut returns = u32::from(self.one_in(5));
        if callback == Callback::RequestHeaders && self.one_in(6) {
            // The stream waits, so that the response to the call is the next event.
            calls.push(if self.one_in(3) { self.grpc_call() } else { self.http_call() });
            returns = 1;
        }
        if is_final {
            returns = u32::from(!self.one_in(3));
        }
        Section { calls, returns }
    }

    /// A call that returns at once.
    fn call(&mut self, number: u32) -> Call {
        match self.0.u32(0..40) {
            0 => {
                let text = format!("guest# log {}", self.text(&VALUES));
                call("proxy_log", vec![Number(self.0.u32(1..8)), Text(text)])
            }
            1 => call("proxy_get_log_level", vec![Out]),
            2 => masked("proxy_get_current_time_nanoseconds", vec![Out]),
            3..=5 => call(
                "proxy_get_buffer_bytes",
                vec![self.buffer(), self.offset(), self.offset(), Value],
            ),
            6..=8 => call(
                "proxy_set_buffer_bytes",
                vec![self.buffer(), self.offset(), self.offset(), self.any_text()],
            ),
            9 => call("proxy_get_buffer_status", vec![self.buffer(), Out, SecondOut]),
            10 => call("proxy_get_header_map_size", vec![self.map(), Out]),
            11..=12 => call("proxy_get_header_map_pairs", vec![self.map(), Value]),
            13..=15 => {
                call("proxy_get_header_map_value", vec![self.map(), self.read_name(), Value])
            }
            16..=17 => {
                call("proxy_add_header_map_value", vec![self.map(), self.name(), self.value()])
            }
            18..=19 => {
                call("proxy_replace_header_map_value", vec![self.map(), self.name(), self.value()])
            }
            20..=21 => call("proxy_remove_header_map_value", vec![self.map(), self.name()]),
            22 => self.set_pairs(),
            23 => call("proxy_continue_stream", vec![Number(self.0.u32(0..5))]),
            24 if self.one_in(3) => call("proxy_close_stream", vec![Number(self.0.u32(0..5))]),
            24..=25 if self.one_in(3) => self.local_reply(),
            24..=26 => self.shared_data(number),
            27 => self.queue(number),
            28..=30 => self.metric(number),
            31..=33 => {
                call("proxy_get_property", vec![Path(strings(self.pick(&PROPERTIES))), Value])
            }
            34 => {
                masked("proxy_get_property", vec![Path(strings(self.pick(&RUN_PROPERTIES))), Value])
            }
            35 => call(
                "proxy_set_property",
                vec![
                    Path(vec![self.text(&["mine", "other", "request", "plugin_name"])]),
                    self.any_text(),
                ],
            ),
            36 => call(
                "proxy_get_property",
                vec![Path(vec![self.text(&["mine", "other", "request", "plugin_name"])]), Value],
            ),
            37 => {
                let context = self.pick(&[Stream, Root, Stream, Number(0xffff_fff0)]);
                call("proxy_set_effective_context", vec![context])
            }
            38 => call("proxy_get_status", vec![Out, Value]),
            _ => match self.0.u32(0..6) {
                0 => call("proxy_done", vec![]),
                1 => call(
                    "proxy_call_foreign_function",
                    vec![Text("no_such_function".to_owned()), self.any_text(), Value],
                ),
                2 => call("proxy_grpc_cancel", vec![Number(77)]),
                3 => call("proxy_grpc_close", vec![Number(77)]),
                4 => call("proxy_grpc_send", vec![Number(77), self.any_text(), Number(0)]),
                _ => self.bad_pointer(),
            },
        }
    }

    fn any_text(&mut self) -> Argument {
        Text(self.text(&TEXTS))
    }

    fn name(&mut self) -> Argument {
        Text(self.text(&NAMES[..12]))
    }

    fn read_name(&mut self) -> Argument {
        match self.one_in(3) {
            true => Text(self.text(&PSEUDO)),
            false => Text(self.text(&NAMES)),
        }
    }

    fn value(&mut self) -> Argument {
        Text(self.text(&VALUES))
    }

    /// A buffer: usually a body.
    fn buffer(&mut self) -> Argument {
        Number(self.pick(&[0, 1, 0, 1, 0, 1, 4, 5, 6, 9]))
    }

    /// An offset or a length: usually small.
    fn offset(&mut self) -> Argument {
        Number(self.pick(&[0, 0, 1, 2, 3, 5, 100, u32::MAX]))
    }

    /// A header map: usually request or response headers.
    fn map(&mut self) -> Argument {
        Number(self.pick(&[0, 0, 0, 2, 2, 2, 1, 3, 4, 5, 6, 7, 8]))
    }

    fn set_pairs(&mut self) -> Call {
        if self.one_in(3) {
            let hex = self.text(&["", "00000000", "01000000", "010000000100000001000000", "ff"]);
            let map = self.pick(&[1, 3]);
            return call("proxy_set_header_map_pairs", vec![Number(map), Bytes(hex)]);
        }
        let pairs =
            (0..self.0.usize(0..3)).map(|_| (self.text(&NAMES[..3]), self.text(&VALUES))).collect();
        call("proxy_set_header_map_pairs", vec![Number(self.pick(&[1, 3])), Pairs(pairs)])
    }

    fn local_reply(&mut self) -> Call {
        let headers = (0..self.0.usize(0..3))
            .map(|_| (self.text(&["x-a", "x-b", "content-type"]), self.text(&VALUES[..2])))
            .collect();
        let status = self.pick(&[200, 401, 403, 503]);
        let grpc = self.pick(&[u32::MAX, u32::MAX, u32::MAX, 7]);
        let details = self.text(&["", "why", "two words"]);
        call(
            "proxy_send_local_response",
            vec![Number(status), Text(details), self.any_text(), Pairs(headers), Number(grpc)],
        )
    }

    fn shared_data(&mut self, number: u32) -> Call {
        let key = Text(format!("{number}-{}", self.0.u32(0..2)));
        match self.one_in(2) {
            true => call("proxy_get_shared_data", vec![key, Value, Out]),
            false => {
                let cas = self.pick(&[0, 0, 1, 2, 3, 99]);
                call("proxy_set_shared_data", vec![key, self.any_text(), Number(cas)])
            }
        }
    }

    fn queue(&mut self, number: u32) -> Call {
        let name = Text(format!("queue-{number}"));
        match self.0.u32(0..4) {
            0 => call("proxy_register_shared_queue", vec![name, NewId]),
            1 => {
                let vm = self.text(&["guest", "guest", "", "other"]);
                call("proxy_resolve_shared_queue", vec![Text(vm), name, NewId])
            }
            2 => call("proxy_enqueue_shared_queue", vec![LastId, self.any_text()]),
            _ => call("proxy_dequeue_shared_queue", vec![LastId, Value]),
        }
    }

    fn metric(&mut self, number: u32) -> Call {
        match self.0.u32(0..3) {
            0 => {
                let kind = Number(self.pick(&[0, 1, 2, 3]));
                let name = format!("m{number}_{}", self.0.u32(0..2));
                call("proxy_define_metric", vec![kind, Text(name), NewId])
            }
            1 => call("proxy_get_metric", vec![self.metric_id(), Out]),
            _ => {
                let delta = self.pick(&[1, 2, 0, u32::MAX]);
                let name = self.text(&["proxy_increment_metric", "proxy_record_metric"]);
                call(&name, vec![self.metric_id(), Number(delta)])
            }
        }
    }

    /// The id of a metric: usually the last one; otherwise one that does not exist.
    fn metric_id(&mut self) -> Argument {
        match self.one_in(3) {
            true => Number(self.pick(&[99_999_996, 99_999_997, 99_999_998, 99_999_999])),
            false => LastId,
        }
    }

    /// A call whose pointer lies outside of the guest's memory.
    fn bad_pointer(&mut self) -> Call {
        let (at, size) = (Number(self.pick(&[u32::MAX, 0x00ff_fff0])), Number(100));
        match self.0.u32(0..5) {
            0 => call("proxy_log", vec![Number(3), at, size]),
            1 => call("proxy_get_property", vec![at, size, Value]),
            2 => call("proxy_get_header_map_value", vec![Number(0), at, size, Value]),
            3 => call("proxy_get_log_level", vec![Number(0xffff_fffe)]),
            _ => call("proxy_set_shared_data", vec![at, size, Number(0), Number(0), Number(0)]),
        }
    }

    fn grpc_call(&mut self) -> Call {
        let streams = self.one_in(3);
        // The server responds when the guest has ended its side.
        let clusters = ["refused", "missing", "grpc", "grpc"];
        let cluster = Text(self.text(if streams { &clusters[..2] } else { &clusters }));
        let [service, method] = ["service", "method"].map(|name| Text(name.to_owned()));
        let mut args = vec![cluster, service, method, Pairs(Fields::new())];
        if streams {
            args.push(NewToken);
            return call("proxy_grpc_stream", args);
        }
        args.extend([self.any_text(), Number(5000), NewToken]);
        call("proxy_grpc_call", args)
    }

    fn http_call(&mut self) -> Call {
        let cluster = self.text(&["calls", "calls", "refused", "missing"]);
        let mut headers: Fields =
            [(":method", "POST"), (":path", "/call"), (":authority", "calls")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        if self.one_in(6) {
            headers.remove(self.0.usize(0..3));
        }
        headers.push(("x-a".to_owned(), self.text(&VALUES[..2])));
        call(
            "proxy_http_call",
            vec![
                Text(cluster),
                Pairs(headers),
                self.any_text(),
                Pairs(Fields::new()),
                Number(5000),
                NewToken,
            ],
        )
    }
}

fn call(name: &str, args: Vec<Argument>) -> Call {
    Call { call: name.to_owned(), args, masked: false }
}

/// A call whose result differs between runs.
fn masked(name: &str, args: Vec<Argument>) -> Call {
    Call { masked: true, ..call(name, args) }
}

fn strings(path: &[&str]) -> Vec<String> {
    path.iter().map(|name| (*name).to_owned()).collect()
}
