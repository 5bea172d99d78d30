//! Shared data and shared queues.

use sluice_sim::{PluginOptions, Process, Profile, QueueId, Status};

use crate::guest::{BOTH, Run, compile, on, says};

/// Reads `k` and logs the status, the value and the compare-and-swap number.
const READ: &str = r#"
    (call $say (call $get_shared_data @"k" @p @n (i32.const 24)))
    (call $told) (call $say (i32.load (i32.const 24)))"#;

#[test]
fn an_absent_key_is_not_found() {
    for profile in BOTH {
        let body = says(r#"get_shared_data @"k" @p @n (i32.const 24)"#);
        assert_eq!(Run::new(profile, &on("tick", &body)).ticked(), ["1"]);
    }
}

#[test]
fn a_swap_with_the_number_that_was_read_succeeds_once() {
    for profile in BOTH {
        let body = says(r#"set_shared_data @"k" @"one" (i32.const 0)"#)
            + READ
            + &says(r#"set_shared_data @"k" @"two" (i32.load (i32.const 24))"#)
            + &says(r#"set_shared_data @"k" @"three" (i32.load (i32.const 24))"#)
            + READ;
        let said = Run::new(profile, &on("tick", &body)).ticked();
        assert_eq!(said, ["0", "0", "one", "1", "0", "8", "0", "two", "2"]);
    }
}

#[test]
fn cas_0_writes_in_any_case() {
    for profile in BOTH {
        let body = says(r#"set_shared_data @"k" @"one" (i32.const 0)"#)
            + &says(r#"set_shared_data @"k" @"two" (i32.const 0)"#)
            + READ;
        assert_eq!(Run::new(profile, &on("tick", &body)).ticked()[..4], ["0", "0", "0", "two"]);
    }
}

#[test]
fn a_swap_of_an_absent_key_is_a_mismatch() {
    let body = says(r#"set_shared_data @"k" @"one" (i32.const 5)"#);
    assert_eq!(Run::new(Profile::Generic, &on("tick", &body)).ticked(), ["8"]);
}

#[test]
fn under_envoy_a_swap_of_an_absent_key_creates_it() {
    let body = says(r#"set_shared_data @"k" @"one" (i32.const 5)"#);
    assert_eq!(Run::new(Profile::Envoy, &on("tick", &body)).ticked(), ["0"]);
}

#[test]
fn an_empty_value_is_there() {
    for profile in BOTH {
        let body = says(r#"set_shared_data @"k" @"" (i32.const 0)"#) + READ;
        assert_eq!(Run::new(profile, &on("tick", &body)).ticked()[..3], ["0", "0", ""]);
    }
}

#[test]
fn pointers_outside_of_memory_are_refused() {
    for profile in BOTH {
        let body = says(r#"set_shared_data @"k" @"v" (i32.const 0)"#)
            + &says(r#"set_shared_data (i32.const -1) (i32.const 1) @"v" (i32.const 0)"#)
            + &says(r#"set_shared_data @"k" (i32.const 262144) (i32.const 1) (i32.const 0)"#)
            + &says("get_shared_data (i32.const -1) (i32.const 1) @p @n (i32.const 24)")
            + &says(r#"get_shared_data @"k" (i32.const -1) @n (i32.const 24)"#)
            + &says(r#"get_shared_data @"k" @p @n (i32.const -1)"#)
            + &says("register_shared_queue (i32.const -1) (i32.const 1) @p")
            + &says(r#"register_shared_queue @"q" (i32.const -1)"#)
            + &says(r#"resolve_shared_queue @"" (i32.const -1) (i32.const 1) @p"#);
        let said = Run::new(profile, &on("tick", &body)).ticked();
        assert_eq!(said, ["0", "6", "6", "6", "6", "6", "6", "6", "6"]);
    }
}

#[test]
fn the_embedder_reads_and_writes_what_guests_share() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("tick", READ));
        run.process.set_shared_data("", b"k", b"from outside", 0).unwrap();
        assert_eq!(run.ticked(), ["0", "from outside", "1"]);
        assert_eq!(run.process.shared_data("", b"k"), Some((b"from outside".to_vec(), 1)));
        assert_eq!(run.process.set_shared_data("", b"k", b"x", 7), Err(Status::CasMismatch));
        assert_eq!(run.process.shared_data("other", b"k"), None, "another vm_id, other data");
    }
}

#[test]
fn shared_data_that_grows_for_ever_is_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (loop $more
              (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
              (local.set $status (call $set_shared_data (i32.const 4096) (i32.const 4)
                (i32.const 0) (i32.const 262144) (i32.const 0)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $say (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("tick", body)).ticked(), ["10"]);
    }
}

#[test]
fn items_come_out_of_a_queue_in_order() {
    for profile in BOTH {
        let body = says(r#"register_shared_queue @"q" @p"#)
            + &says(r#"register_shared_queue @"q" (i32.const 24)"#)
            + "(call $say (i32.eq (i32.load @p) (i32.load (i32.const 24))))"
            + &says("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + &says(r#"enqueue_shared_queue (i32.load (i32.const 24)) @"one""#)
            + &says(r#"enqueue_shared_queue (i32.load (i32.const 24)) @"two""#)
            + &says("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + "(call $told)"
            + &says("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + "(call $told)"
            + &says("dequeue_shared_queue (i32.load (i32.const 24)) @p @n");
        let said = Run::new(profile, &on("tick", &body)).ticked();
        assert_eq!(said, ["0", "0", "1", "7", "0", "0", "0", "one", "0", "two", "7"]);
    }
}

#[test]
fn unknown_queues_are_not_found() {
    for profile in BOTH {
        let body = says(r#"resolve_shared_queue @"" @"none" @p"#)
            + &says(r#"resolve_shared_queue @"other" @"q" @p"#)
            + &says(r#"enqueue_shared_queue (i32.const 9) @"x""#)
            + &says("dequeue_shared_queue (i32.const 9) @p @n")
            + &says("dequeue_shared_queue (i32.const 0) @p @n")
            + &says("enqueue_shared_queue (i32.const 1) (i32.const -1) (i32.const 1)");
        let mut run = Run::new(profile, &on("tick", &body));
        assert_eq!(run.ticked(), ["1", "1", "1", "1", "1", "6"]);
    }
}

#[test]
fn an_item_that_cannot_be_handed_over_stays() {
    for profile in BOTH {
        let body = says(r#"register_shared_queue @"q" (i32.const 24)"#)
            + &says(r#"enqueue_shared_queue (i32.load (i32.const 24)) @"one""#)
            + &says("dequeue_shared_queue (i32.load (i32.const 24)) (i32.const -1) @n")
            + &says("dequeue_shared_queue (i32.load (i32.const 24)) @p @n")
            + "(call $told)";
        assert_eq!(Run::new(profile, &on("tick", &body)).ticked(), ["0", "0", "6", "0", "one"]);
    }
}

#[test]
fn a_queue_tells_the_plugin_that_registered_it_in_another_vm() {
    for profile in BOTH {
        let guest = compile(
            &(on(
                "configure",
                r#"(if (local.get $b) (then (drop (call $register_shared_queue @"q" @p))))"#,
            ) + &on(
                "queue_ready",
                "(call $say (local.get $a)) (call $say (local.get $b))
                 (drop (call $dequeue_shared_queue (local.get $b) @p @n)) (call $told)",
            ) + &on(
                "tick",
                r#"(drop (call $resolve_shared_queue @"" @"q" @p))
                   (drop (call $enqueue_shared_queue (i32.load @p) @"hello"))"#,
            )),
        );
        let process = Process::new(profile, 1);
        let owner = PluginOptions { configuration: b"x".into(), ..PluginOptions::default() };
        let mut reader = Run::with(&process, &guest, owner);
        let mut writer = Run::with(&process, &guest, PluginOptions::default());
        writer.vm.tick(writer.plugin);
        let events = process.take_queue_events();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].vm, events[0].plugin), (reader.vm.id(), reader.plugin));
        assert_eq!(events[0].queue, QueueId(1));
        reader.vm.queue_ready(events[0].plugin, events[0].queue);
        assert_eq!(reader.said(), ["1", "1", "hello"]);
        assert_eq!(process.take_queue_events(), [], "each is told once");
    }
}

#[test]
fn the_last_plugin_that_registers_a_queue_is_told() {
    for profile in BOTH {
        let guest = on("configure", r#"(drop (call $register_shared_queue @"q" @p))"#)
            + &on("tick", &says(r#"enqueue_shared_queue (i32.const 1) @"x""#));
        let mut run = Run::new(profile, &guest);
        let second = run.vm.start_plugin(PluginOptions::default()).unwrap();
        run.vm.tick(run.plugin);
        let told: Vec<_> =
            run.process.take_queue_events().into_iter().map(|event| event.plugin).collect();
        assert_eq!(told, [second]);
    }
}

#[test]
fn a_queue_that_grows_for_ever_is_stopped() {
    for profile in BOTH {
        let body = r#"(local $status i32)
            (drop (call $register_shared_queue @"q" @p))
            (loop $more
              (local.set $status (call $enqueue_shared_queue (i32.load @p)
                (i32.const 0) (i32.const 262144)))
              (br_if $more (i32.eqz (local.get $status))))
            (call $say (local.get $status))"#;
        assert_eq!(Run::new(profile, &on("tick", body)).ticked(), ["10"]);
    }
}
