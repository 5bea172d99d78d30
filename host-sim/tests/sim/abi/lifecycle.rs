//! Contexts: how plugins and streams start and end, and the effective context.

use std::time::Duration;

use sluice_sim::{
    CallId, Effect, HeaderMap, PluginOptions, Process, Profile, StartError, StreamInfo, Vm,
    VmOptions,
};

use crate::guest::{BOTH, Run, compile, log_status, on, request, response};

fn configured(configuration: &str) -> PluginOptions {
    PluginOptions::default().with_configuration(configuration)
}

#[test]
fn plugin_reads_both_configurations() {
    for profile in BOTH {
        let read = |kind| {
            format!(
                "(call $log_number (local.get $b))
                 (drop (call $get_buffer_bytes (i32.const {kind}) (i32.const 0) (i32.const 99) @p @n))
                 (call $log_bytes)"
            )
        };
        let guest = on("vm_start", &read(6)) + &on("configure", &read(7));
        let options = VmOptions::default().with_vm_configuration(b"vm");
        let mut vm = Vm::new(&compile(&guest), &Process::new(profile, 1), options).unwrap();
        vm.start_plugin(configured("plugin")).unwrap();
        let mut effects = Vec::new();
        vm.drain_effects(&mut effects);
        let logged = effects.iter().filter_map(|effect| match effect {
            Effect::Log { text, .. } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(logged.collect::<Vec<_>>(), ["2", "vm", "6", "plugin"]);
    }
}

#[test]
fn rejected_configuration_keeps_other_plugins_running() {
    for profile in BOTH {
        let guest = on("configure", "(return (i32.eq (local.get $b) (i32.const 4)))")
            + &on("delete", "(call $log_number (i32.const 9))")
            + &on("tick", "(call $log_number (i32.const 1))");
        let mut run = Run::with(&Process::new(profile, 1), &compile(&guest), configured("good"));
        let refused = run.vm.start_plugin(configured("not good"));
        assert_eq!(refused, Err(StartError::Refused { callback: "proxy_on_configure" }));
        assert_eq!(run.logged(), ["9"], "the guest forgets the context");
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["1"]);
    }
}

#[test]
fn rejected_vm_start_is_an_error() {
    for profile in BOTH {
        let guest = compile(&on("vm_start", "(return (i32.const 0))"));
        let mut vm = Vm::new(&guest, &Process::new(profile, 1), VmOptions::default()).unwrap();
        let refused = vm.start_plugin(PluginOptions::default());
        assert_eq!(refused, Err(StartError::Refused { callback: "proxy_on_vm_start" }));
    }
}

fn starts(profile: Profile) -> usize {
    let mut run = Run::new(profile, &on("vm_start", "(call $log_number (i32.const 1))"));
    run.vm.start_plugin(PluginOptions::default()).unwrap();
    run.logged().len()
}

#[test]
fn vm_starts_once() {
    assert_eq!(starts(Profile::Generic), 1);
}

#[test]
fn envoy_starts_the_vm_for_each_plugin() {
    assert_eq!(starts(Profile::Envoy), 2);
}

#[test]
fn contexts_have_parents_and_ids_are_not_reused() {
    for profile in BOTH {
        let guest = on(
            "context_create",
            "(call $log_number (local.get $a)) (call $log_number (local.get $b))",
        );
        let mut run = Run::new(profile, &guest);
        let first = run.open();
        run.vm.close_http(first);
        run.open();
        assert_eq!(run.logged(), ["1", "0", "2", "1", "3", "1"]);
    }
}

#[test]
fn stopped_plugin_stays_until_its_streams_end() {
    for profile in BOTH {
        let guest = on("done", "(call $log_number (local.get $a))");
        let mut run = Run::new(profile, &guest);
        let stream = run.open();
        run.vm.stop_plugin(run.plugin);
        assert_eq!(run.logged(), [""; 0], "its stream is still there");
        run.vm.close_http(stream);
        assert_eq!(run.logged(), ["2", "1"]);
        let late = run.open();
        run.vm.request_headers(late, crate::guest::request(), true);
        assert_eq!(run.effects_without_logs(), [], "a plugin that has ended opens nothing");
    }
}

/// A guest whose streams are not done in `on_done`; it calls `proxy_done` in a tick.
fn done_later() -> String {
    on("done", "(call $log_number (i32.const 9)) (return (i32.ne (local.get $a) (i32.const 2)))")
        + &on("log", "(call $log_number (i32.const 8))")
        + &on("delete", "(call $log_number (i32.const 10))")
        + &on(
            "tick",
            &("(call $log_number (call $set_effective_context (i32.const 2)))".to_owned()
                + &log_status("done")),
        )
}

#[test]
fn stream_stays_until_the_guest_is_done() {
    let mut run = Run::new(Profile::Generic, &done_later());
    let stream = run.open();
    run.vm.close_http(stream);
    assert_eq!(run.logged(), ["9"]);
    run.vm.close_http(stream);
    assert_eq!(run.logged(), [""; 0], "it is closed once");
    run.vm.tick(run.plugin);
    assert_eq!(run.logged(), ["0", "0", "8", "10"]);
    run.vm.tick(run.plugin);
    assert_eq!(run.logged(), ["2", "1"], "the context is gone, and the plugin awaits nothing");
}

#[test]
fn envoy_stream_does_not_wait_for_the_guest() {
    let mut run = Run::new(Profile::Envoy, &done_later());
    let stream = run.open();
    run.vm.close_http(stream);
    assert_eq!(run.logged(), ["8", "9", "10"]);
}

#[test]
fn plugin_stays_until_the_guest_is_done() {
    for profile in BOTH {
        let guest = on("done", "(return (i32.const 0))")
            + &on("delete", "(call $log_number (i32.const 10))")
            + &on("tick", &log_status("done"));
        let mut run = Run::new(profile, &guest);
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["1"], "the plugin is not stopping");
        run.vm.stop_plugin(run.plugin);
        assert_eq!(run.logged(), [""; 0]);
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["0", "10"]);
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), [""; 0]);
    }
}

#[test]
fn stream_can_outlive_its_stopped_plugin() {
    for profile in BOTH {
        let guest = on("done", "(return (i32.ne (local.get $a) (i32.const 1)))")
            + &on("tick", &log_status("done"))
            + &on(
                "request_headers",
                r#"(call $log_number (call $http_call @"etcd"
                       @{:method: GET, :path: /, :authority: etcd} @"" @{} (i32.const 0) @p))
                   (call $log_number (call $get_property @"plugin_name" @p @n))
                   (call $log_number (call $set_tick_period_milliseconds (i32.const 9)))"#,
            )
            + &on("http_call_response", "(call $log_number (i32.const 7))");
        let mut run = Run::new(profile, &guest);
        run.vm.stop_plugin(run.plugin);
        let stream = run.open();
        assert_eq!(run.logged_on_tick(), ["0"], "the plugin ends");
        run.vm.request_headers(stream, request(), true);
        assert_eq!(run.logged(), ["0", "1", "10"]);
        run.vm.http_call_response(CallId(1), response(), b"", HeaderMap::new());
        run.vm.close_http(stream);
        assert_eq!(run.logged(), [""; 0], "no plugin receives the response");
    }
}

fn plugin_end(profile: Profile) -> Vec<String> {
    let guest = on("done", "(call $log_number (i32.const 9))")
        + &on("log", "(call $log_number (i32.const 8))")
        + &on("delete", "(call $log_number (i32.const 10))");
    let mut run = Run::new(profile, &guest);
    run.vm.stop_plugin(run.plugin);
    run.logged()
}

#[test]
fn plugin_end_calls_on_log() {
    assert_eq!(plugin_end(Profile::Generic), ["9", "8", "10"]);
}

#[test]
fn envoy_does_not_call_on_log_at_plugin_end() {
    assert_eq!(plugin_end(Profile::Envoy), ["9", "10"]);
}

#[test]
fn unknown_effective_context_is_rejected() {
    for profile in BOTH {
        let body = "(call $log_number (call $set_effective_context (i32.const 99)))
            (call $log_number (call $set_effective_context (i32.const 0)))
            (call $log_number (call $set_effective_context (i32.const 1)))";
        assert_eq!(Run::new(profile, &on("tick", body)).logged_on_tick(), ["2", "2", "0"]);
    }
}

#[test]
fn effective_context_ends_with_the_callback() {
    for profile in BOTH {
        let tick = r#"(drop (call $set_effective_context (i32.const 2)))
            (call $log_number (call $get_property @"connection\0id" @p @n))"#;
        let guest = on("tick", tick)
            + &on(
                "configure",
                r#"(call $log_number (call $get_property @"connection\0id" @p @n))"#,
            );
        let mut run = Run::new(profile, &guest);
        run.open();
        run.vm.tick(run.plugin);
        run.vm.start_plugin(PluginOptions::default()).unwrap();
        assert_eq!(run.logged(), ["1", "0", "1"]);
    }
}

#[test]
fn tick_period_can_be_set_by_a_stream_and_disabled() {
    for profile in BOTH {
        let guest = on("configure", &log_status("set_tick_period_milliseconds (i32.const 250)"))
            + &on("request_headers", &log_status("set_tick_period_milliseconds (i32.const 10)"))
            + &on("response_headers", &log_status("set_tick_period_milliseconds (i32.const 0)"));
        let mut run = Run::new(profile, &guest);
        assert_eq!(run.vm.tick_period(run.plugin), Some(Duration::from_millis(250)));
        let stream = run.get(true);
        assert_eq!(run.vm.tick_period(run.plugin), Some(Duration::from_millis(10)));
        run.vm.response_headers(stream, crate::guest::response(), true);
        assert_eq!(run.vm.tick_period(run.plugin), None);
        assert_eq!(run.logged(), ["0", "0", "0"]);
    }
}

#[test]
fn guest_without_callbacks_forwards_everything() {
    for profile in BOTH {
        let mut run = Run::new(profile, "");
        let stream = run.get(false);
        run.vm.request_body(stream, b"x", true);
        run.vm.response_headers(stream, crate::guest::response(), false);
        run.vm.response_body(stream, b"y", true);
        run.vm.close_http(stream);
        assert_eq!(run.effects_without_logs().len(), 4);
    }
}

#[test]
fn events_of_an_ended_stream_do_nothing() {
    for profile in BOTH {
        let mut run = Run::new(profile, "");
        let stream = run.get(true);
        run.vm.close_http(stream);
        run.effects_without_logs();
        let next = run.vm.open_http(run.plugin, StreamInfo::default());
        assert_ne!(stream, next);
        run.vm.response_headers(stream, crate::guest::response(), true);
        run.vm.close_http(stream);
        assert_eq!(run.effects_without_logs(), []);
        run.vm.request_headers(next, crate::guest::request(), true);
        assert_eq!(run.effects_without_logs().len(), 1);
    }
}

#[test]
fn cost_counts_callbacks_host_calls_and_instructions() {
    for profile in BOTH {
        let guest = on("request_headers", "(call $log_number (i32.const 7))");
        let mut run = Run::new(profile, &guest);
        let before = run.vm.cost();
        run.get(true);
        let once = run.vm.cost() - before;
        assert_eq!((once.callbacks, once.host_calls), (1, 1), "no other callback is exported");
        assert!(once.instructions > 100, "{once:?}");
        let before = run.vm.cost();
        run.get(true);
        assert_eq!(run.vm.cost() - before, once, "the same events cost the same");
    }
}
