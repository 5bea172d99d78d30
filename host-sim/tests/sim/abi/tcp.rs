//! TCP connections: how data is forwarded, paused and closed.

use sluice_sim::{Effect, Peer, Profile, Side, StreamInfo};

use crate::guest::{BOTH, Run, on};

fn open(run: &mut Run) -> sluice_sim::StreamId {
    run.vm.open_tcp(run.plugin, StreamInfo::default())
}

#[test]
fn data_passes_in_both_directions() {
    for profile in BOTH {
        let log_arguments = "(call $log_number (local.get $b)) (call $log_number (local.get $c))";
        let guest = on("new_connection", "(call $log_number (local.get $a))")
            + &on("downstream_data", log_arguments)
            + &on("upstream_data", log_arguments);
        let mut run = Run::new(profile, &guest);
        let stream = open(&mut run);
        run.vm.downstream_data(stream, b"req", false);
        run.vm.upstream_data(stream, b"result", false);
        run.vm.downstream_data(stream, b"", true);
        assert_eq!(run.logged(), ["2", "3", "0", "6", "0", "0", "1"]);
        run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
        let expected = [
            Effect::ToUpstream { stream, bytes: b"req".into(), end: false },
            Effect::ToDownstream { stream, bytes: b"result".into(), end: false },
            Effect::ToUpstream { stream, bytes: vec![], end: true },
        ];
        assert_eq!(run.effects, expected);
        run.vm.downstream_data(stream, b"late", false);
        assert_eq!(run.effects_without_logs(), []);
    }
}

#[test]
fn paused_data_is_passed_whole_and_can_be_changed_and_continued() {
    for profile in BOTH {
        let guest = on(
            "downstream_data",
            "(call $log_number (local.get $b)) (return (i32.const 1))",
        ) + &on(
            "tick",
            r#"(drop (call $set_effective_context (i32.const 2)))
                (call $log_number (call $set_buffer_bytes (i32.const 2) (i32.const 0) (i32.const 0) @"<"))
                (call $log_number (call $continue_stream (i32.const 2)))"#,
        );
        let mut run = Run::new(profile, &guest);
        let stream = open(&mut run);
        run.vm.downstream_data(stream, b"one", false);
        run.vm.downstream_data(stream, b"two", true);
        assert_eq!(run.logged(), ["3", "6"]);
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["0", "0"]);
        let sent = run.effects.pop();
        assert_eq!(sent, Some(Effect::ToUpstream { stream, bytes: b"<onetwo".into(), end: true }));
    }
}

fn continue_upstream(profile: Profile) -> (Vec<String>, Vec<Effect>) {
    let guest = on("upstream_data", "(return (i32.const 1))")
        + &on(
            "tick",
            "(drop (call $set_effective_context (i32.const 2)))
             (call $log_number (call $continue_stream (i32.const 3)))",
        );
    let mut run = Run::new(profile, &guest);
    let stream = open(&mut run);
    run.vm.upstream_data(stream, b"one", false);
    run.vm.tick(run.plugin);
    let logged = run.logged();
    run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
    (logged, run.effects)
}

#[test]
fn paused_upstream_data_can_be_continued() {
    let (logged, sent) = continue_upstream(Profile::Generic);
    assert_eq!(logged, ["0"]);
    assert!(matches!(sent[..], [Effect::ToDownstream { .. }]), "{sent:?}");
}

#[test]
fn envoy_cannot_continue_paused_upstream_data() {
    assert_eq!(continue_upstream(Profile::Envoy), (vec!["12".to_owned()], vec![]));
}

#[test]
fn paused_connection_buffers_data_until_it_is_continued() {
    for profile in BOTH {
        let guest = on("new_connection", "(return (i32.const 1))")
            + &on("downstream_data", "(call $log_number (local.get $b))")
            + &on(
                "tick",
                "(drop (call $set_effective_context (i32.const 2)))
                 (drop (call $continue_stream (i32.const 2)))",
            );
        let mut run = Run::new(profile, &guest);
        let stream = open(&mut run);
        run.vm.downstream_data(stream, b"one", false);
        run.vm.downstream_data(stream, b"two", false);
        assert_eq!(run.out(), []);
        run.vm.tick(run.plugin);
        assert_eq!(run.logged(), ["6"]);
        run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
        let sent = Effect::ToUpstream { stream, bytes: b"onetwo".into(), end: false };
        assert_eq!(run.effects, [Effect::Connected { stream }, sent]);
    }
}

#[test]
fn guest_can_close_either_side() {
    for profile in BOTH {
        let body = "(call $log_number (call $close_stream (i32.const 2)))
            (call $log_number (call $close_stream (i32.const 3))) (return (i32.const 1))";
        let mut run = Run::new(profile, &on("downstream_data", body));
        let stream = open(&mut run);
        run.vm.downstream_data(stream, b"x", false);
        assert_eq!(run.logged(), ["0", "0"]);
        run.effects.retain(|effect| !matches!(effect, Effect::Log { .. }));
        let closes =
            [Side::Downstream, Side::Upstream].map(|side| Effect::CloseConnection { stream, side });
        assert_eq!(run.effects, closes);
    }
}

/// Logs a number in each callback at the end of a connection, and the peer that closed it.
fn ends() -> String {
    on(
        "downstream_connection_close",
        "(call $log_number (i32.const 1)) (call $log_number (local.get $b))",
    ) + &on(
        "upstream_connection_close",
        "(call $log_number (i32.const 2)) (call $log_number (local.get $b))",
    ) + &on("done", "(call $log_number (i32.const 9))")
        + &on("log", "(call $log_number (i32.const 8))")
        + &on("delete", "(call $log_number (i32.const 10))")
}

#[test]
fn embedder_ends_a_connection() {
    let mut run = Run::new(Profile::Generic, &ends());
    let stream = open(&mut run);
    run.vm.upstream_data(stream, b"", true);
    run.vm.upstream_close(stream, Peer::Remote);
    run.vm.downstream_close(stream, Peer::Local);
    run.vm.downstream_close(stream, Peer::Local);
    assert_eq!(run.logged(), ["2", "2", "1", "1"], "each side closes once");
    run.vm.close_tcp(stream);
    run.vm.close_tcp(stream);
    assert_eq!(run.logged(), ["9", "8", "10"]);
}

#[test]
fn envoy_connection_ends_with_its_client_and_end_of_data_closes_the_upstream() {
    let mut run = Run::new(Profile::Envoy, &ends());
    let stream = open(&mut run);
    run.vm.upstream_data(stream, b"", true);
    run.vm.upstream_close(stream, Peer::Remote);
    run.vm.downstream_close(stream, Peer::Remote);
    assert_eq!(run.logged(), ["2", "0", "1", "2", "9", "8", "10"]);
    run.vm.close_tcp(stream);
    assert_eq!(run.logged(), [""; 0]);
}

#[test]
fn trap_closes_both_sides_once() {
    for profile in BOTH {
        let mut run = Run::new(profile, &on("downstream_data", "unreachable"));
        let (stream, other) = (open(&mut run), open(&mut run));
        run.vm.downstream_data(stream, b"x", false);
        run.vm.downstream_data(stream, b"x", false);
        let closes = |stream| {
            [Side::Downstream, Side::Upstream].map(|side| Effect::CloseConnection { stream, side })
        };
        let out = run.out();
        assert!(matches!(out[0], Effect::Trap(_)), "{out:?}");
        assert_eq!(out[1..], closes(stream));
        run.vm.upstream_data(other, b"x", false);
        assert_eq!(run.out(), closes(other));
    }
}
