//! The promise of `Limits`, one test for each resource: a guest that takes as much as it gets stops
//! at the limit, and what it makes the host do is bounded by its budget.

use sluice_sim::{
    Effect, Limits, Module, ModuleError, PluginOptions, Process, Profile, TrapReason, VmOptions,
};

use crate::guest::{Run, compile_raw, on, response, text};

/// A guest with these limits, in a process with the same limits.
fn limited(limits: &Limits, callbacks: &str) -> Run {
    let module = Module::new(&wat::parse_str(text(callbacks)).unwrap(), limits).unwrap();
    let process = Process::with_limits(Profile::Generic, 1, limits);
    Run::with(&process, &module, PluginOptions::default())
}

/// The code that makes `call` until it fails, with a different word at address 2048 each time, and
/// logs how often it succeeded.
fn until_it_fails(call: &str) -> String {
    format!(
        "(local $count i32)
         (loop $more
           (i32.store (i32.const 2048) (local.get $count))
           (if (i32.eqz {call}) (then
             (local.set $count (i32.add (local.get $count) (i32.const 1)))
             (br $more))))
         (call $log_number (local.get $count))"
    )
}

/// How often `call` succeeds in a tick.
fn successes(limits: &Limits, call: &str) -> usize {
    let logged = limited(limits, &on("tick", &until_it_fails(call))).logged_on_tick();
    logged[0].parse().unwrap()
}

#[test]
fn empty_entries_of_shared_data_count() {
    let limits = Limits::default().with_shared_data_bytes(1 << 20);
    let call = "(call $set_shared_data (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0)
        (i32.const 0))";
    let count = successes(&limits, call);
    assert_eq!(count, (1 << 20) / (192 + 4));
}

#[test]
fn empty_queues_and_items_count() {
    let limits = Limits::default().with_queue_bytes(1 << 20);
    let register = "(call $register_shared_queue (i32.const 2048) (i32.const 4) @p)";
    assert_eq!(successes(&limits, register), (1 << 20) / (256 + 4));
    let call = format!(
        "(drop {}) {}",
        register,
        until_it_fails("(call $enqueue_shared_queue (i32.load @p) (i32.const 0) (i32.const 0))")
            .replace("(local $count i32)", "")
    );
    let logged =
        limited(&limits, &on("tick", &format!("(local $count i32) {call}"))).logged_on_tick();
    let count: usize = logged[0].parse().unwrap();
    assert!((1000..(1 << 20) / 96).contains(&count), "{count}");
}

#[test]
fn empty_properties_count() {
    let limits = Limits::default().with_property_bytes(1 << 16);
    let call = "(call $set_property (i32.const 2048) (i32.const 4) (i32.const 0) (i32.const 0))";
    let mut run = limited(&limits, &on("request_headers", &until_it_fails(call)));
    let count: usize = run.logged_on_request()[0].parse().unwrap();
    assert_eq!(count, (1 << 16) / (128 + 4));
}

#[test]
fn metrics_and_their_names_are_limited() {
    let limits = Limits::default().with_metrics(100).with_metric_name_bytes(4);
    let call = "(call $define_metric (i32.const 0) (i32.const 2048) (i32.const 4) @p)";
    assert_eq!(successes(&limits, call), 100);
    let long = "(call $define_metric (i32.const 0) (i32.const 2048) (i32.const 5) @p)";
    assert_eq!(successes(&limits, long), 0);
}

#[test]
fn empty_headers_count() {
    let limits = Limits::default().with_header_bytes(1 << 16);
    let call = "(call $add_header_map_value (i32.const 0) (i32.const 2048) (i32.const 1)
        (i32.const 0) (i32.const 0))";
    let mut run = limited(&limits, &on("request_headers", &until_it_fails(call)));
    let count: usize = run.logged_on_request()[0].parse().unwrap();
    assert!(count < (1 << 16) / 11, "{count}");
    // A serialized map whose names and values are all empty: ten bytes of zeros for each entry.
    let set = |entries: u32| {
        let body = format!(
            "(i32.store (i32.const 70000) (i32.const {entries}))
             (call $log_number (call $set_header_map_pairs (i32.const 0) (i32.const 70000)
               (i32.const {})))",
            4 + 10 * entries
        );
        limited(&limits, &on("request_headers", &body)).logged_on_request()
    };
    assert_eq!(set(6_000), ["0"]);
    assert_eq!(set(7_000), ["10"]);
}

#[test]
fn bodies_of_a_stream_are_limited() {
    let limits = Limits::default().with_buffer_bytes(1 << 16);
    let call = "(call $set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 1000))";
    let mut run = limited(&limits, &on("request_body", &until_it_fails(call)));
    let stream = run.get(false);
    run.vm.request_body(stream, b"x", true);
    assert_eq!(run.logged(), ["65"]);
}

/// Each stream has its own limits, so the number of streams must not multiply them.
#[test]
fn all_streams_of_a_vm_together_are_limited() {
    let limits = Limits::default().with_stream_bytes(1 << 18).with_buffer_bytes(1 << 16);
    let fill = "(call $log_number (call $set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 60000))) (return (i32.const 1))";
    let mut run = limited(&limits, &on("request_body", fill));
    let mut streams = Vec::new();
    let mut statuses = String::new();
    for _ in 0..8 {
        let stream = run.get(false);
        run.vm.request_body(stream, b"x", false);
        streams.push(stream);
        statuses += &run.logged().concat();
    }
    assert!(statuses.starts_with("0000") && statuses.ends_with("1010"), "{statuses}");
    // What has left no longer counts.
    for stream in streams {
        run.vm.close_http(stream);
    }
    let stream = run.get(false);
    run.vm.request_body(stream, b"x", false);
    assert_eq!(run.logged(), ["0"]);
}

#[test]
fn streams_that_are_never_done_are_removed() {
    let limits = Limits::default().with_waiting_streams(10);
    let guest =
        on("done", "(return (i32.const 0))") + &on("delete", "(call $log_number (i32.const 1))");
    let module = Module::new(&wat::parse_str(text(&guest)).unwrap(), &limits).unwrap();
    let process = Process::with_limits(Profile::Generic, 1, &limits);
    let mut run = Run::with(&process, &module, PluginOptions::default());
    let mut deleted = 0;
    for _ in 0..30 {
        let stream = run.get(true);
        run.vm.response_headers(stream, response(), true);
        run.vm.close_http(stream);
        deleted += run.logged().len();
    }
    let waits = Profile::Generic.rules().streams_wait_for_done;
    assert_eq!(deleted, if waits { 20 } else { 30 });
}

#[test]
fn calls_without_a_response_are_limited() {
    let limits = Limits::default().with_pending_calls(7);
    let call = r#"(call $http_call @"c" @{:method: GET, :path: /, :authority: a} (i32.const 0)
        (i32.const 0) @"" (i32.const 0) @p)"#;
    assert_eq!(successes(&limits, call), 7);
}

#[test]
fn names_of_calls_count_as_effects() {
    let limits = Limits::default().with_effect_bytes(1 << 20);
    for name in
        ["(i32.const 0) (i32.const 200000) @\"m\"", "@\"s\" (i32.const 0) (i32.const 200000)"]
    {
        let call = format!("(call $grpc_stream (i32.const 0) (i32.const 0) {name} @\"\" @p)");
        assert_eq!(successes(&limits, &call), 5, "{name}");
    }
}

#[test]
fn log_lines_are_limited_and_counted() {
    let limits = Limits::default().with_log_bytes(10_000);
    let body = "(local $n i32) (loop $more
        (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1000)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const 100))))";
    let mut run = limited(&limits, &on("tick", body));
    let lines = run.logged_on_tick().len() as u64;
    assert_eq!(lines + run.vm.dropped_logs(), 100);
    assert!(lines < 10, "{lines}");
}

/// Runs a tick or request whose endless loop logs one byte in each round, and returns the number of
/// rounds within a budget.
fn rounds(callback: &str, setup: &str, round: &str) -> usize {
    let body = format!(
        "{setup} (loop $more {round}
           (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1)))
           (br $more))"
    );
    let limits = Limits::default().with_callback_budget(BUDGET).with_log_bytes(1 << 26);
    let mut run = limited(&limits, &on(callback, &body));
    match callback {
        "tick" => run.vm.tick(run.plugin),
        _ => drop(run.get(true)),
    }
    assert_eq!(run.vm.trap().unwrap().reason, TrapReason::Budget { budget: BUDGET });
    run.logged().len()
}

const BUDGET: u64 = 20_000_000;

#[test]
fn every_host_call_consumes_fuel() {
    assert!(rounds("tick", "", "") <= BUDGET as usize / 100);
    let calls = rounds("tick", "", "(drop (call $get_current_time_nanoseconds @p))");
    assert!(calls <= BUDGET as usize / 200, "{calls}");
}

/// Fills the request headers with 20,000 entries of ten bytes each.
const MANY_HEADERS: &str = "(i32.store (i32.const 70000) (i32.const 9000))
    (if (call $set_header_map_pairs (i32.const 0) (i32.const 70000) (i32.const 90004))
      (then unreachable))";

#[test]
fn searches_in_large_maps_consume_fuel() {
    for search in [
        r#"(drop (call $get_header_map_value (i32.const 0) @"x" @p @n))"#,
        r#"(drop (call $remove_header_map_value (i32.const 0) @"x"))"#,
        r#"(drop (call $get_property @"request\0headers\0x" @p @n))"#,
        r#"(drop (call $get_property @"request\0path" @p @n))"#,
        // The copy of the whole map is made before the guest's pointers fail.
        r#"(drop (call $get_property @"request\0headers" (i32.const -1) (i32.const -1)))"#,
    ] {
        let calls = rounds("request_headers", MANY_HEADERS, search);
        let free = search.contains("-1");
        assert!(free || calls <= BUDGET as usize / 90_000, "{calls} of {search}");
    }
}

#[test]
fn long_arguments_consume_fuel_even_if_the_call_fails() {
    for call in [
        "(drop (call $get_property (i32.const 0) (i32.const 200000) @p @n))",
        "(drop (call $get_shared_data (i32.const 0) (i32.const 200000) @p @n @p))",
        "(drop (call $resolve_shared_queue (i32.const 0) (i32.const 200000) @\"q\" @p))",
        "(drop (call $resolve_shared_queue @\"v\" (i32.const 0) (i32.const 200000) @p))",
        "(drop (call $define_metric (i32.const 0) (i32.const 0) (i32.const 200000) @p))",
        "(drop (call $call_foreign_function (i32.const 0) (i32.const 200000) @\"\" @p @n))",
        "(drop (call $http_call (i32.const 0) (i32.const 200000) @\"\" @\"\" @\"\" (i32.const 0) @p))",
        "(drop (call $send_local_response (i32.const 200) (i32.const 0) (i32.const 200000) @\"\" @\"\"
           (i32.const -1)))",
    ] {
        let calls = rounds("tick", "", call);
        assert!(calls <= BUDGET as usize / 200_000, "{calls} of {call}");
    }
}

#[test]
fn removing_repeated_headers_moves_each_byte_once() {
    let limits = Limits::default().with_header_bytes(4 << 20);
    // All names are empty, so that one call removes all entries.
    let body = "(i32.store (i32.const 70000) (i32.const 15000))
        (if (call $set_header_map_pairs (i32.const 0) (i32.const 70000) (i32.const 150004))
          (then unreachable))
        (drop (call $add_header_map_value (i32.const 0) @\"x\" @\"1\"))
        (drop (call $remove_header_map_value (i32.const 0) (i32.const 0) (i32.const 0)))
        (drop (call $get_header_map_size (i32.const 0) @p))
        (call $log_number (i32.load @p))";
    let mut run = limited(&limits, &on("request_headers", body));
    assert_eq!(run.logged_on_request(), [(4 + 8 + 4).to_string()]);
}

#[test]
fn all_callbacks_of_a_process_share_a_total_budget() {
    let module = Module::new(
        &wat::parse_str(text(&on(
            "tick",
            "(local $n i32) (loop $more
               (local.set $n (i32.add (local.get $n) (i32.const 1)))
               (br_if $more (i32.lt_u (local.get $n) (i32.const 10000))))",
        )))
        .unwrap(),
        &Limits::default(),
    )
    .unwrap();
    let process = Process::new(Profile::Generic, 1);
    process.set_max_instructions(200_000);
    let mut first = Run::with(&process, &module, PluginOptions::default());
    let mut second = Run::with(&process, &module, PluginOptions::default());
    let mut ticks = 0;
    while first.vm.trap().or(second.vm.trap()).is_none() {
        first.vm.tick(first.plugin);
        second.vm.tick(second.plugin);
        ticks += 1;
        assert!(ticks < 10, "the budget is exceeded");
    }
    assert!(process.is_exhausted());
    assert!(process.instructions() >= 200_000);
    let trap = first.vm.trap().or(second.vm.trap()).unwrap();
    assert_eq!(trap.reason, TrapReason::TotalBudget);
    let trapped = Effect::Trap(Box::new(trap.clone()));
    assert!(first.out().contains(&trapped) || second.out().contains(&trapped));
    assert!(sluice_sim::Vm::new(&module, &process, VmOptions::default()).is_ok());
}

fn rejection(limits: &Limits, parts: &str) -> Option<ModuleError> {
    let module = format!(
        r#"(module
            (import "env" "proxy_done" (func (result i32)))
            (memory (export "memory") 1)
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 1024))
            {parts})"#
    );
    Module::new(&wat::parse_str(module).unwrap(), limits).err()
}

#[test]
fn modules_that_are_costly_to_compile_are_rejected_first() {
    let large = format!("(func {})", "(drop (i32.const 1))".repeat(1000));
    let error = rejection(&Limits::default().with_function_bytes(2000), &large);
    let error = error.expect("the function is too large").to_string();
    // Imported functions have the first numbers.
    assert_eq!(
        error,
        "function 3 has 3002 bytes, expected at most 2000; raise Limits::function_bytes \
         (--max-function-bytes)"
    );
    assert_eq!(rejection(&Limits::default(), &large), None);

    let variables = format!("(func (local {}))", "i64 ".repeat(600));
    let error = rejection(&Limits::default().with_function_locals(500), &variables);
    let error = error.expect("the function has too many variables").to_string();
    assert!(
        error.starts_with("function 3 has 600 local variables, expected at most 500"),
        "{error}"
    );

    // The compiler needs the square of the number of loops, whatever they contain.
    let loops = format!("(func (local i32) {})", "(loop (br_if 0 (local.get 0)))".repeat(3000));
    let error = rejection(&Limits::default(), &loops).expect("the function has too many loops");
    assert!(error.to_string().contains("function 3 has 90006001 units of complexity"), "{error}");
    assert!(error.to_string().contains("(--max-function-complexity)"), "{error}");

    let many = "(func)".repeat(50);
    let error = rejection(&Limits::default().with_functions(50), &many);
    let error = error.expect("the module has too many functions").to_string();
    assert!(error.starts_with("the module has 52 functions, expected at most 50;"), "{error}");

    let data = format!("(data (i32.const 0) \"{}\")", "x".repeat(5000));
    let error = rejection(&Limits::default().with_module_bytes(4096), &data);
    let error = error.expect("the module is too large").to_string();
    assert!(error.contains(" bytes, expected at most 4096; raise Limits::module_bytes"), "{error}");
}

#[test]
fn imports_of_another_abi_have_their_own_sentence() {
    let module = |abi: &str, import: &str| {
        compile_raw(&format!(
            r#"(module (import "env" {import})
                (memory (export "memory") 1) (func (export "proxy_abi_version_{abi}"))
                (func (export "malloc") (param i32) (result i32) (i32.const 1024)))"#
        ))
        .map(|_| ())
        .map_err(|error| error.to_string())
    };
    // As measured on Envoy 1.40, which loads the modules for which the result is `Ok`.
    let log_level = r#""proxy_get_log_level" (func (param i32) (result i32))"#;
    assert_eq!(module("0_2_1", log_level), Ok(()));
    assert_eq!(
        module("0_2_0", log_level).unwrap_err(),
        "imports env.proxy_get_log_level, which hosts such as Envoy offer to modules of ABI 0.2.1 \
         only; the module declares ABI 0.2.0"
    );
    for name in ["proxy_clear_route_cache", "proxy_continue_request", "proxy_continue_response"] {
        let error = module("0_2_1", &format!(r#""{name}" (func (result i32))"#)).unwrap_err();
        assert!(
            error.starts_with(&format!("imports env.{name}, which hosts such as Envoy")),
            "{error}"
        );
    }
    let error = module("0_2_1", r#""proxy_make_tea" (func)"#).unwrap_err();
    assert_eq!(error, "imports env.proxy_make_tea, which no proxy-wasm 0.2 host offers");
    let error = module("0_1_0", r#""proxy_clear_route_cache" (func (result i32))"#).unwrap_err();
    assert!(error.contains("0_1_0, which Envoy runs and this host does not"), "{error}");
    // Emscripten's helpers.
    assert_eq!(module("0_2_1", r#""pthread_equal" (func (param i32 i32) (result i32))"#), Ok(()));
    let growth = r#""emscripten_notify_memory_growth" (func (param i32))"#;
    assert_eq!(module("0_2_0", growth), Ok(()));
}
