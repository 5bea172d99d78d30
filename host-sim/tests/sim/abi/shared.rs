//! Shared data and shared queues: conditional writes, notifications and limits.

use sluice_sim::{PluginOptions, Process, Profile, QueueId, Status};

use crate::guest::{BOTH, Run, compile, log_status, on};

/// Reads `k`, and logs the status, the value and the compare-and-swap number.
const READ: &str = r#"
    (call $log_number (call $get_shared_data @"k" @p @n (i32.const 24)))
    (call $log_bytes) (call $log_number (i32.load (i32.const 24)))"#;

#[test]
fn absent_key_is_not_found() {
    for profile in BOTH {
        let body = log_status(r#"get_shared_data @"k" @p @n (i32.const 24)"#);
        assert_eq!(Run::new(profile, &on("tick", &body)).logged_on_tick(), ["1"]);
    }
}

#[test]
fn swap_with_the_current_cas_succeeds_once() {
    for profile in BOTH {
        let body = log_status(r#"set_shared_data @"k" @"one" (i32.const 0)"#)
            + READ
            + &log_status(r#"set_shared_data @"k" @"two" (i32.load (i32.const 24))"#)
            + &log_status(r#"set_shared_data @"k" @"three" (i32.load (i32.const 24))"#)
            + READ;
        let logged = Run::new(profile, &on("tick", &body)).logged_on_tick();
        assert_eq!(logged, ["0", "0", "one", "1", "0", "8", "0", "two", "2"]);
    }
}

#[test]
fn cas_0_writes_unconditionally() {
    for profile in BOTH {
        let body = log_status(r#"set_shared_data @"k" @"one" (i32.const 0)"#)
            + &log_status(r#"set_shared_data @"k" @"two" (i32.const 0)"#)
            + READ;
        assert_eq!(
            Run::new(profile, &on("tick", &body)).logged_on_tick()[..4],
            ["0", "0", "0", "two"]
        );
    }
}

#[test]
fn swap_of_an_absent_key_is_a_mismatch() {
    let body = log_status(r#"set_shared_data @"k" @"one" (i32.const 5)"#);
    assert_eq!(Run::new(Profile::Generic, &on("tick", &body)).logged_on_tick(), ["8"]);
}

#[test]
fn envoy_creates_an_absent_key_in_a_swap() {
    let body = log_status(r#"set_shared_data @"k" @"one" (i32.const 5)"#);
    assert_eq!(Run::new(Profile::Envoy, &on("tick", &body)).logged_on_tick(), ["0"]);
}

#[test]
fn empty_value_is_found() {
    for profile in BOTH {
        let body = log_status(r#"set_shared_data @"k" @"" (i32.const 0)"#) + READ;
        assert_eq!(Run::new(profile, &on("tick", &body)).logged_on_tick()[..3], ["0", "0", ""]);
    }
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let body = log_status(r#"set_shared_data @"k" @"v" (i32.const 0)"#)
            + &log_status(r#"set_shared_data (i32.const -1) (i32.const 1) @"v" (i32.const 0)"#)
            + &log_status(r#"set_shared_data @"k" (i32.const 262144) (i32.const 1) (i32.const 0)"#)
            + &log_status("get_shared_data (i32.const -1) (i32.const 1) @p @n (i32.const 24)")
            + &log_status(r#"get_shared_data @"k" (i32.const -1) @n (i32.const 24)"#)
            + &log_status(r#"get_shared_data @"k" @p @n (i32.const -1)"#)
            + &log_status("register_shared_queue (i32.const -1) (i32.const 1) @p")
            + &log_status(r#"register_shared_queue @"q" (i32.const -1)"#)
            + &log_status(r#"resolve_shared_queue @"" (i32.const -1) (i32.const 1) @p"#);
        let logged = Run::new(profile, &on("tick", &body)).logged_on_tick();
        assert_eq!(logged, ["0", "6", "6", "6", "6", "6", "6", "6", "6"]);
    }
}

#[test]
fn embedder_reads_and_writes_shared_data() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("tick", READ));
        run.process.set_shared_data("", b"k", b"from outside", 0).unwrap();
        assert_eq!(run.logged_on_tick(), ["0", "from outside", "1"]);
        assert_eq!(run.process.shared_data("", b"k"), Some((b"from outside".to_vec(), 1)));
        assert_eq!(run.process.set_shared_data("", b"k", b"x", 7), Err(Status::CasMismatch));
        assert_eq!(run.process.shared_data("other", b"k"), None, "another vm_id, other data");
    }
}

#[test]
fn size_of_shared_data_is_limited() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
              (local.set $status (call $set_shared_data (i32.const 4096) (i32.const 4)
                (i32.const 0) (i32.const 262144) (i32.const 0)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("tick", body)).logged_on_tick(), ["10"]);
    }
}

#[test]
fn queue_items_are_in_order() {
    for profile in BOTH {
        let body = log_status(r#"register_shared_queue @"q" @p"#)
            + &log_status(r#"register_shared_queue @"q" (i32.const 24)"#)
            + "(call $log_number (i32.eq (i32.load @p) (i32.load (i32.const 24))))"
            + &log_status("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + &log_status(r#"enqueue_shared_queue (i32.load (i32.const 24)) @"one""#)
            + &log_status(r#"enqueue_shared_queue (i32.load (i32.const 24)) @"two""#)
            + &log_status("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + "(call $log_bytes)"
            + &log_status("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + "(call $log_bytes)"
            + &log_status("dequeue_shared_queue (i32.load (i32.const 24)) @p @n");
        let logged = Run::new(profile, &on("tick", &body)).logged_on_tick();
        assert_eq!(logged, ["0", "0", "1", "7", "0", "0", "0", "one", "0", "two", "7"]);
    }
}

#[test]
fn unknown_queues_are_not_found() {
    for profile in BOTH {
        let body = log_status(r#"resolve_shared_queue @"" @"none" @p"#)
            + &log_status(r#"resolve_shared_queue @"other" @"q" @p"#)
            + &log_status(r#"enqueue_shared_queue (i32.const 9) @"x""#)
            + &log_status("dequeue_shared_queue (i32.const 9) @p @n")
            + &log_status("dequeue_shared_queue (i32.const 0) @p @n")
            + &log_status("enqueue_shared_queue (i32.const 1) (i32.const -1) (i32.const 1)");
        let mut run = Run::new(profile, &on("tick", &body));
        assert_eq!(run.logged_on_tick(), ["1", "1", "1", "1", "1", "6"]);
    }
}

#[test]
fn item_that_cannot_be_delivered_stays_in_the_queue() {
    for profile in BOTH {
        let body = log_status(r#"register_shared_queue @"q" (i32.const 24)"#)
            + &log_status(r#"enqueue_shared_queue (i32.load (i32.const 24)) @"one""#)
            + &log_status("dequeue_shared_queue (i32.load (i32.const 24)) (i32.const -1) @n")
            + &log_status("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + "(call $log_bytes)";
        assert_eq!(
            Run::new(profile, &on("tick", &body)).logged_on_tick(),
            ["0", "0", "6", "0", "one"]
        );
    }
}

#[test]
fn queue_notifies_the_registered_plugin_in_another_vm() {
    for profile in BOTH {
        let guest = compile(
            &(on(
                "configure",
                r#"(if (local.get $b) (then (drop (call $register_shared_queue @"q" @p))))"#,
            ) + &on(
                "queue_ready",
                "(call $log_number (local.get $a)) (call $log_number (local.get $b))
                 (drop (call $dequeue_shared_queue (local.get $b) @p @n)) (call $log_bytes)",
            ) + &on(
                "tick",
                r#"(drop (call $resolve_shared_queue @"" @"q" @p))
                   (drop (call $enqueue_shared_queue (i32.load @p) @"hello"))"#,
            )),
        );
        let process = Process::new(profile, 1);
        let owner = PluginOptions::default().with_configuration(b"x");
        let mut reader = Run::with(&process, &guest, owner);
        let mut writer = Run::with(&process, &guest, PluginOptions::default());
        writer.vm.tick(writer.plugin);
        let events = process.take_queue_events();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].vm, events[0].plugin), (reader.vm.id(), reader.plugin));
        assert_eq!(events[0].queue, QueueId(1));
        reader.vm.queue_ready(events[0].plugin, events[0].queue);
        assert_eq!(reader.logged(), ["1", "1", "hello"]);
        assert_eq!(process.take_queue_events(), [], "each plugin is notified once");
    }
}

#[test]
fn queue_notifies_the_last_registered_plugin() {
    for profile in BOTH {
        let guest = on("configure", r#"(drop (call $register_shared_queue @"q" @p))"#)
            + &on("tick", &log_status(r#"enqueue_shared_queue (i32.const 1) @"x""#));
        let mut run = Run::new(profile, &guest);
        let second = run.vm.start_plugin(PluginOptions::default()).unwrap();
        run.vm.tick(run.plugin);
        let notified: Vec<_> =
            run.process.take_queue_events().into_iter().map(|event| event.plugin).collect();
        assert_eq!(notified, [second]);
    }
}

#[test]
fn size_of_queues_is_limited() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (drop (call $register_shared_queue @"q" @p))
            (loop $more
              (local.set $status (call $enqueue_shared_queue (i32.load @p)
                (i32.const 0) (i32.const 262144)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $log_number (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("tick", body)).logged_on_tick(), ["10"]);
    }
}
