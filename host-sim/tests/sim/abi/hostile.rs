//! Broken and hostile guests: each one affects its own streams, but not the host.

use std::sync::OnceLock;

use proptest::prelude::*;
use sluice_sim::{
    Effect, FailurePolicy, Limits, Module, Part, PluginOptions, Process, Profile, ReplySource,
    ResetCause, StartError, TrapReason, Vm, VmOptions,
};

use crate::guest::{BOTH, Run, compile_raw, on, request, response, text};

/// Runs `body` in a tick and returns the reason of its trap.
fn trap_of(body: &str) -> TrapReason {
    let mut run = Run::new(Profile::Generic, &on("tick", body));
    run.vm.tick(run.plugin);
    let trap = run.vm.trap().expect("the guest traps").clone();
    assert_eq!((trap.callback, trap.stream), ("proxy_on_tick", None));
    assert!(run.out().contains(&Effect::Trap(Box::new(trap.clone()))));
    trap.reason
}

#[test]
fn endless_loop_is_stopped() {
    after_costly_tick("(loop $l (br $l))");
}

/// Runs `body` in a tick of a guest with a budget of ten million instructions.
fn after_costly_tick(body: &str) -> Run {
    let limits = Limits::default().with_callback_budget(10_000_000);
    let wasm = wat::parse_str(text(&on("tick", body))).unwrap();
    let module = Module::new(&wasm, &limits).unwrap();
    let process = Process::new(Profile::Generic, 1);
    let mut run = Run::with(&process, &module, PluginOptions::default());
    run.vm.tick(run.plugin);
    let reason = run.vm.trap().map(|trap| trap.reason.clone());
    assert_eq!(reason, Some(TrapReason::Budget { budget: 10_000_000 }));
    run
}

/// The number of operations on the guest's whole memory that exceeds a budget of ten million.
const TIMES: usize = 10_000_000 / 262_144 + 1;

#[test]
fn bulk_instructions_consume_fuel() {
    after_costly_tick(
        "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 262144)) (br $l))",
    );
}

#[test]
fn bytes_from_the_guest_consume_fuel() {
    let run = after_costly_tick(
        r#"(loop $l
             (drop (call $set_shared_data @"k" (i32.const 0) (i32.const 262144) (i32.const 0)))
             (br $l))"#,
    );
    let (_, writes) = run.process.shared_data("", b"k").unwrap();
    assert!(writes as usize <= TIMES, "{writes}");
    let mut run = after_costly_tick(
        "(loop $l (drop (call $log (i32.const 2) (i32.const 0) (i32.const 262144))) (br $l))",
    );
    let lines = run.logged().len() + run.vm.dropped_logs() as usize;
    assert!(lines <= TIMES, "{lines}");
}

#[test]
fn bytes_to_the_guest_consume_fuel() {
    let mut run = after_costly_tick(
        r#"(drop (call $set_shared_data @"k" (i32.const 0) (i32.const 150000) (i32.const 0)))
           (loop $l
             (global.set $heap (i32.const 65536))
             (drop (call $get_shared_data @"k" @p @n (i32.const 24)))
             (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1)))
             (br $l))"#,
    );
    let reads = run.logged().len() + run.vm.dropped_logs() as usize;
    assert!(reads <= 10_000_000 / 150_000, "{reads}");
}

#[test]
fn changes_of_large_maps_consume_fuel() {
    let guest = on(
        "request_headers",
        r#"(drop (call $add_header_map_value (i32.const 0) @"a" (i32.const 4096) (i32.const 200000)))
           (loop $l
             (drop (call $replace_header_map_value (i32.const 0) @"x-a" @"1"))
             (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1)))
             (br $l))"#,
    );
    let mut run = Run::new(Profile::Generic, &guest);
    run.get(true);
    let budget = Limits::default().callback_budget;
    assert_eq!(run.vm.trap().unwrap().reason, TrapReason::Budget { budget });
    let changes = run.logged().len() + run.vm.dropped_logs() as usize;
    assert!(changes <= budget as usize / 200_000, "{changes}");
}

#[test]
fn endless_recursion_is_stopped() {
    let guest = on("tick", "(call $deeper)") + "(func $deeper (call $deeper) (call $deeper))";
    let mut run = Run::new(Profile::Generic, &guest);
    run.vm.tick(run.plugin);
    let reason = &run.vm.trap().unwrap().reason;
    assert_eq!(*reason, TrapReason::Stack { bytes: Limits::default().stack_bytes });
}

#[test]
fn traps_have_a_reason() {
    assert_eq!(trap_of("unreachable"), TrapReason::Unreachable);
    let TrapReason::Fault(text) = trap_of("(drop (i32.load (i32.const -8)))") else { panic!() };
    assert!(text.contains("out of bounds"), "{text}");
    let TrapReason::Fault(text) = trap_of("(drop (i32.div_u (i32.const 1) (i32.const 0)))") else {
        panic!()
    };
    assert!(text.contains("divide by zero"), "{text}");
}

#[test]
fn memory_does_not_grow_beyond_its_limit() {
    let limits = Limits::default().with_memory_bytes(8 * 65_536);
    let body = "(call $log_number (memory.grow (i32.const 4)))
        (call $log_number (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))";
    let wasm = wat::parse_str(text(&on("tick", body))).unwrap();
    let module = Module::new(&wasm, &limits).unwrap();
    let process = Process::new(Profile::Generic, 1);
    let mut run = Run::with(&process, &module, PluginOptions::default());
    assert_eq!(run.logged_on_tick(), ["4", "1"]);
}

#[test]
fn invalid_allocation_is_rejected() {
    for (address, status) in
        [("i32.const 0", "6"), ("i32.const -4", "6"), ("i32.const 262143", "6")]
    {
        let guest = on(
            "request_headers",
            r#"(call $log_number (call $get_header_map_value (i32.const 0) @":path" @p @n))
               (call $log_number (call $get_header_map_pairs (i32.const 0) @p @n))"#,
        );
        let lying = text(&guest).replace(
            "(local $at i32)\n    (local.set $at (global.get $heap))",
            &format!("(local $at i32) (return ({address}))\n (local.set $at (global.get $heap))"),
        );
        let module = compile_raw(&lying).unwrap();
        let process = Process::new(Profile::Generic, 1);
        let mut run = Run::with(&process, &module, PluginOptions::default());
        assert_eq!(run.logged_on_request(), [status, status], "{address}");
    }
}

/// A guest whose allocator runs `body` first.
fn with_allocator(body: &str, guest: &str) -> Run {
    let module = text(guest).replace(
        "(local $at i32)\n    (local.set $at (global.get $heap))",
        &format!("(local $at i32) {body} (local.set $at (global.get $heap))"),
    );
    let module = compile_raw(&module).unwrap();
    Run::with(&Process::new(Profile::Generic, 1), &module, PluginOptions::default())
}

const READ_PATH: &str = r#"(call $log_number (call $get_header_map_value (i32.const 0) @":path" @p @n)) (call $log_bytes)"#;

#[test]
fn host_call_from_the_allocator_ends_the_vm() {
    let call = "(drop (call $remove_header_map_value (i32.const 0) (i32.const 0) (i32.const 1)))";
    let mut run = with_allocator(call, &on("request_headers", READ_PATH));
    run.get(true);
    let trap = run.vm.trap().expect("the guest traps");
    assert_eq!(
        trap.reason.to_string(),
        "called proxy_remove_header_map_value while its allocator runs"
    );
}

#[test]
fn allocator_can_log() {
    let call = "(drop (call $log (i32.const 2) (i32.const 1024) (i32.const 1)))";
    let mut run = with_allocator(call, &on("request_headers", READ_PATH));
    assert_eq!(run.logged_on_request(), [":", "0", "/a?b=c"]);
}

#[test]
fn trap_in_the_allocator_ends_the_vm() {
    let mut run = with_allocator("unreachable", &on("request_headers", READ_PATH));
    run.get(true);
    assert_eq!(run.vm.trap().unwrap().reason, TrapReason::Unreachable);
}

#[test]
fn trap_in_configure_is_an_error() {
    let module = wat::parse_str(text(&on("configure", "unreachable"))).unwrap();
    let module = Module::new(&module, &Limits::default()).unwrap();
    let mut vm = Vm::new(&module, &Process::new(Profile::Envoy, 1), VmOptions::default()).unwrap();
    for _ in 0..2 {
        match vm.start_plugin(PluginOptions::default()) {
            Err(StartError::Trap(trap)) => assert_eq!(trap.callback, "proxy_on_configure"),
            other => panic!("expected a trap, got {other:?}"),
        }
    }
}

/// Traps on a request with a body if its path is `/a?b=c`.
const TRAPS_ON_BODY: &str = "unreachable";

#[test]
fn envoy_sends_503_after_a_trap_or_cuts_a_started_response() {
    let guest = on("request_body", TRAPS_ON_BODY) + &on("log", "(call $log_number (i32.const 8))");
    let mut run = Run::new(Profile::Envoy, &guest);
    let (waiting, streaming) = (run.get(true), run.get(true));
    run.vm.response_headers(streaming, response(), false);
    let trapping = run.get(false);
    run.effects_without_logs();
    run.vm.request_body(trapping, b"x", true);
    let out = run.effects_without_logs();
    let Effect::Trap(trap) = &out[0] else { panic!("expected a trap, got {out:?}") };
    assert_eq!((trap.stream, trap.callback), (Some(trapping), "proxy_on_request_body"));
    let reply = |stream| Effect::LocalReply {
        stream,
        status: 503,
        source: ReplySource::Trap,
        details: "wasm_fail_stream".into(),
    };
    let headers = [(":status", "503")].into_iter().collect();
    let part = Part::Headers { map: headers, end: true };
    let replies = |stream| vec![reply(stream), Effect::Response { stream, part: part.clone() }];
    assert_eq!(out[1..], replies(trapping));
    assert_eq!(run.effects_without_logs(), [], "the other streams end with their next event");
    run.vm.response_headers(waiting, response(), true);
    assert_eq!(run.effects_without_logs(), replies(waiting));
    run.vm.response_body(streaming, b"x", false);
    let cut = Effect::Reset { stream: streaming, cause: ResetCause::Trap };
    assert_eq!(run.effects_without_logs(), [cut]);
    run.vm.response_body(streaming, b"x", true);
    let later = run.get(true);
    assert_eq!(run.effects_without_logs(), replies(later), "no later request is served");
    run.vm.close_http(waiting);
    assert_eq!(run.out(), [], "the crashed guest runs no code");
}

#[test]
fn trap_cuts_the_stream() {
    let mut run = Run::new(Profile::Generic, &on("request_headers", "unreachable"));
    let stream = run.get(true);
    let out = run.effects_without_logs();
    let cut = Effect::Reset { stream, cause: ResetCause::Trap };
    assert!(matches!(&out[..], [Effect::Trap(_), last] if *last == cut), "{out:?}");
}

/// Measured on Envoy 1.40.
#[test]
fn a_fail_open_plugin_fails_open_streams_and_passes_later_ones() {
    let guest = on("request_body", "unreachable") + &on("response_body", "(return (i32.const 1))");
    let module = crate::guest::compile(&guest);
    let options = PluginOptions::default().with_failure_policy(FailurePolicy::FailOpen);
    let mut run = Run::with(&Process::new(Profile::Envoy, 1), &module, options);
    let waiting = run.get(true);
    let trapping = run.get(false);
    run.effects_without_logs();
    run.vm.request_body(trapping, b"x", true);
    let out = run.effects_without_logs();
    let failed = |effect: &Effect, failed| matches!(effect, Effect::LocalReply { stream, status: 503, .. } if *stream == failed);
    assert!(failed(&out[1], trapping), "{out:?}");
    run.vm.response_headers(waiting, response(), false);
    let out = run.effects_without_logs();
    assert!(failed(&out[0], waiting), "{out:?}");
    let later = run.get(true);
    let part = Part::Headers { map: request(), end: true };
    assert_eq!(run.effects_without_logs(), [Effect::Request { stream: later, part }]);
    run.vm.response_headers(later, response(), false);
    run.vm.response_body(later, b"x", true);
    let parts = [
        Part::Headers { map: response(), end: false },
        Part::Body { bytes: b"x".into(), end: true },
    ];
    let parts = parts.map(|part| Effect::Response { stream: later, part });
    assert_eq!(run.effects_without_logs(), parts);
}

#[test]
fn unlimited_messages_are_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (drop (call $grpc_stream @"auth" @"s" @"m" @"" @p))
            (loop $more
              (local.set $status (call $grpc_send (i32.load @p) (i32.const 0) (i32.const 200000)
                (i32.const 0)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("tick", body)).logged_on_tick(), ["10"]);
    }
}

#[test]
fn unlimited_canceled_calls_are_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (local.set $status
                (call $grpc_stream @"auth" @"s" @"m" @"" @p))
              (drop (call $grpc_cancel (i32.load @p)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("tick", body)).logged_on_tick(), ["10"]);
    }
}

/// The names and the numbers of parameters of the calls that `scripted_guest` can make.
const CALLS: &[(&str, &[u8])] = &[
    ("get_buffer_bytes", b"iiiii"),
    ("set_buffer_bytes", b"iiiii"),
    ("get_buffer_status", b"iii"),
    ("get_header_map_size", b"ii"),
    ("get_header_map_pairs", b"iii"),
    ("set_header_map_pairs", b"iii"),
    ("get_header_map_value", b"iiiii"),
    ("add_header_map_value", b"iiiii"),
    ("replace_header_map_value", b"iiiii"),
    ("remove_header_map_value", b"iii"),
    ("continue_stream", b"i"),
    ("close_stream", b"i"),
    ("get_status", b"iii"),
    ("send_local_response", b"iiiiiiii"),
    ("set_effective_context", b"i"),
    ("done", b""),
    ("http_call", b"iiiiiiiiii"),
    ("grpc_call", b"iiiiiiiiiiii"),
    ("grpc_stream", b"iiiiiiiii"),
    ("grpc_send", b"iiii"),
    ("grpc_cancel", b"i"),
    ("grpc_close", b"i"),
    ("set_shared_data", b"iiiii"),
    ("get_shared_data", b"iiiii"),
    ("register_shared_queue", b"iii"),
    ("resolve_shared_queue", b"iiiii"),
    ("enqueue_shared_queue", b"iii"),
    ("dequeue_shared_queue", b"iii"),
    ("define_metric", b"iiii"),
    ("record_metric", b"iL"),
    ("increment_metric", b"iL"),
    ("get_metric", b"ii"),
    ("get_property", b"iiii"),
    ("set_property", b"iiii"),
    ("call_foreign_function", b"iiiiii"),
    ("log", b"iii"),
    ("set_tick_period_milliseconds", b"i"),
];

/// A guest that reads a script from its plugin configuration. The script has for each callback
/// which host call to make, with which arguments, and the result of the callback: 1 byte for the
/// call, 12 words for the arguments, 1 word for the result.
fn scripted_guest() -> &'static Module {
    static PUPPET: OnceLock<Module> = OnceLock::new();
    PUPPET.get_or_init(|| {
        let mut cases = String::new();
        for (index, (name, params)) in CALLS.iter().enumerate() {
            let arguments: String = params
                .iter()
                .enumerate()
                .map(|(place, kind)| match kind {
                    b'L' => format!(
                        "(i64.load (i32.add (local.get $at) (i32.const {})))",
                        4 + place * 4
                    ),
                    _ => format!(
                        "(i32.load (i32.add (local.get $at) (i32.const {})))",
                        4 + place * 4
                    ),
                })
                .collect();
            cases += &format!(
                "(if (i32.eq (local.get $call) (i32.const {index}))
                   (then (drop (call ${name} {arguments}))))\n"
            );
        }
        let step = format!(
            "(global $script (mut i32) (i32.const 0))
             (func $step (result i32) (local $at i32) (local $call i32)
               (local.set $at (global.get $script))
               (if (i32.eqz (local.get $at)) (then (return (i32.const 0))))
               (global.set $script (i32.add (local.get $at) (i32.const 56)))
               (local.set $call (i32.load8_u (local.get $at)))
               {cases}
               (i32.load (i32.add (local.get $at) (i32.const 52))))"
        );
        let configure =
            "(drop (call $get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) @p @n))
            (global.set $script (i32.load @p))";
        let with_result = [
            "request_headers",
            "request_body",
            "request_trailers",
            "response_headers",
            "response_body",
            "response_trailers",
            "new_connection",
            "downstream_data",
            "upstream_data",
            "done",
        ];
        let without_result = [
            "tick",
            "log",
            "delete",
            "queue_ready",
            "http_call_response",
            "grpc_receive",
            "grpc_close",
            "downstream_connection_close",
        ];
        let mut guest = on("configure", configure) + &step;
        for name in with_result {
            guest += &on(name, "(return (call $step))");
        }
        for name in without_result {
            guest += &on(name, "(drop (call $step))");
        }
        let wasm = wat::parse_str(text(&guest)).unwrap();
        let limits = Limits::default().with_callback_budget(1_000_000);
        Module::new(&wasm, &limits).unwrap()
    })
}

/// Numbers that a hostile guest would choose: small ones, addresses in its memory, and the largest.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0..10_u32, 0..70_000_u32, 262_100..262_160_u32, any::<u32>(), Just(u32::MAX)]
}

fn step() -> impl Strategy<Value = Vec<u8>> {
    let call = 0..CALLS.len() as u8;
    let result = prop_oneof![Just(0_u32), Just(1), any::<u32>()];
    (call, proptest::collection::vec(number(), 12), result).prop_map(|(call, numbers, result)| {
        let mut bytes = vec![call, 0, 0, 0];
        for number in numbers.into_iter().chain([result]) {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    })
}

/// Runs all events of a guest's life, in a valid order.
fn live(profile: Profile, script: Vec<u8>) -> Vec<Effect> {
    let process = Process::new(profile, 1);
    process.register_foreign_function("f", |_, arguments| Ok(arguments.to_vec()));
    let options = PluginOptions::default().with_configuration(script);
    let mut run = Run::with(&process, scripted_guest(), options);
    let (plugin, vm) = (run.plugin, &mut run.vm);
    let first = vm.open_http(plugin, Default::default());
    let second = vm.open_http(plugin, Default::default());
    let tcp = vm.open_tcp(plugin, Default::default());
    vm.request_headers(first, request(), false);
    vm.request_body(first, b"one", false);
    vm.tick(plugin);
    vm.request_headers(second, request(), true);
    vm.request_trailers(first, [("t", "1")].into_iter().collect());
    vm.downstream_data(tcp, b"request", false);
    vm.response_headers(first, response(), false);
    vm.response_body(first, &[0; 4096], false);
    vm.upstream_data(tcp, b"response", true);
    vm.tick(plugin);
    vm.response_headers(second, response(), true);
    for call in 1..4 {
        let call = sluice_sim::CallId(call);
        vm.http_call_response(call, response(), b"body", Default::default());
        vm.grpc_message(call, b"message");
        vm.grpc_close(call, 3, "closed");
    }
    vm.response_body(first, b"end", true);
    for event in process.take_queue_events() {
        vm.queue_ready(event.plugin, event.queue);
    }
    vm.close_http(first);
    vm.downstream_close(tcp, sluice_sim::Peer::Remote);
    vm.tick(plugin);
    vm.close_http(second);
    vm.close_tcp(tcp);
    vm.stop_plugin(plugin);
    vm.tick(plugin);
    run.out()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No arguments of the guest make the host panic, and equal scripts have equal effects.
    #[test]
    fn no_arguments_panic_the_host(steps in proptest::collection::vec(step(), 1..24)) {
        let script = steps.concat();
        for profile in BOTH {
            prop_assert_eq!(live(profile, script.clone()), live(profile, script.clone()));
        }
    }
}
