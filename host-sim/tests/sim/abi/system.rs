//! Logs, the clock, and the part of WASI that proxies provide.

use std::time::Duration;

use sluice_sim::{Effect, LogLevel, PluginOptions, Process, Profile, START_TIME, Vm, VmOptions};

use crate::guest::{BOTH, Run, compile, compile_raw, log_status, on};

#[test]
fn line_is_logged_at_its_level() {
    for profile in BOTH {
        let body: String =
            (0..7).map(|level| log_status(&format!("log (i32.const {level}) @\"x\""))).collect();
        let mut run = Run::new(profile, &on("tick", &body));
        run.vm.tick(run.plugin);
        let levels: Vec<LogLevel> = run
            .out()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Log { level, text } if text == "x" => Some(level),
                _ => None,
            })
            .collect();
        use LogLevel::*;
        assert_eq!(levels, [Trace, Debug, Info, Warn, Error, Critical]);
        assert_eq!(run.logged_on_tick().pop().unwrap(), "2", "there is no seventh level");
    }
}

#[test]
fn lines_below_the_log_level_are_dropped_and_the_guest_can_read_the_level() {
    for profile in BOTH {
        let body = log_status(r#"log (i32.const 2) @"quiet""#)
            + &log_status("get_log_level @p")
            + "(drop (call $log (i32.const 4) (i32.const 16) (i32.const 1)))";
        let options = VmOptions::default().with_log_level(LogLevel::Warn);
        let module = compile(&on("tick", &body));
        let mut vm = Vm::new(&module, &Process::new(profile, 1), options).unwrap();
        let plugin = vm.start_plugin(PluginOptions::default()).unwrap();
        vm.tick(plugin);
        let mut effects = Vec::new();
        vm.drain_effects(&mut effects);
        let expected = Effect::Log { level: LogLevel::Error, text: "\u{3}".into() };
        assert_eq!(effects, [expected], "the level, 3, is at the address of the guest");
    }
}

#[test]
fn invalid_utf8_in_log_lines_is_replaced() {
    for profile in BOTH {
        let body = "(i32.store (i32.const 4096) (i32.const 0x41ff41))
            (drop (call $log (i32.const 2) (i32.const 4096) (i32.const 3)))";
        assert_eq!(Run::new(profile, &on("tick", body)).logged_on_tick(), ["A\u{fffd}A"]);
    }
}

#[test]
fn pointers_outside_memory_are_rejected() {
    for profile in BOTH {
        let body = log_status("log (i32.const 2) (i32.const -1) (i32.const 1)")
            + &log_status("log (i32.const 2) (i32.const 0) (i32.const -1)")
            + &log_status("get_log_level (i32.const -1)")
            + &log_status("get_current_time_nanoseconds (i32.const 262137)");
        assert_eq!(Run::new(profile, &on("tick", &body)).logged_on_tick(), ["6"; 4]);
    }
}

#[test]
fn log_lines_beyond_the_limit_are_dropped_and_counted() {
    for profile in BOTH {
        let body = "(local $count i32)
            (loop $more
              (drop (call $log (i32.const 2) (i32.const 4096) (i32.const 65536)))
              (local.set $count (i32.add (local.get $count) (i32.const 1)))
              (br_if $more (i32.lt_u (local.get $count) (i32.const 100))))";
        let mut run = Run::new(profile, &on("tick", body));
        assert_eq!(run.logged_on_tick().len(), 15);
        assert_eq!(run.vm.dropped_logs(), 85);
        assert_eq!(run.logged_on_tick().len(), 15, "draining makes room");
    }
}

#[test]
fn time_advances_only_with_the_embedder() {
    for profile in BOTH {
        let body =
            log_status("get_current_time_nanoseconds @p") + "(call $log_number (i32.load @p))";
        let mut run = Run::new(profile, &on("tick", &body));
        let start = u64::try_from(START_TIME.as_nanos()).unwrap() as u32;
        assert_eq!(run.logged_on_tick(), ["0".to_owned(), start.to_string()]);
        run.process.set_now(Duration::from_micros(5));
        assert_eq!(run.logged_on_tick(), ["0", "5000"]);
    }
}

/// A guest that imports WASI from this module and logs through its standard streams.
fn wasi(module: &str, body: &str) -> String {
    format!(
        r#"(module
          (import "{module}" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "{module}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
          (import "{module}" "random_get" (func $random (param i32 i32) (result i32)))
          (import "{module}" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
          (import "{module}" "environ_get" (func $environ (param i32 i32) (result i32)))
          (import "{module}" "args_sizes_get" (func $args (param i32 i32) (result i32)))
          (import "{module}" "args_get" (func $args_get (param i32 i32) (result i32)))
          (import "{module}" "proc_exit" (func $exit (param i32)))
          (import "{module}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
          (import "{module}" "fd_close" (func $close (param i32) (result i32)))
          (import "{module}" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
          (import "{module}" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
          (import "{module}" "sched_yield" (func $yield (result i32)))
          (import "{module}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\10\00\00\00\05\00\00\00\15\00\00\00\07\00\00\00hello, world\n")
          (func (export "proxy_abi_version_0_2_0"))
          (func (export "malloc") (param i32) (result i32) (i32.const 1024))
          (func $line (param $fd i32) (param $count i32) (result i32)
            (call $fd_write (local.get $fd) (i32.const 0) (local.get $count) (i32.const 64)))
          ;; Logs a digit, or `?` for a number that has more.
          (func $log_number (param $v i32)
            (i32.store (i32.const 512) (i32.const 520)) (i32.store (i32.const 516) (i32.const 2))
            (i32.store8 (i32.const 520) (i32.add (i32.const 48) (i32.div_u (local.get $v) (i32.const 10))))
            (i32.store8 (i32.const 521) (i32.add (i32.const 48) (i32.rem_u (local.get $v) (i32.const 10))))
            (drop (call $fd_write (i32.const 1) (i32.const 512) (i32.const 1) (i32.const 64))))
          (func (export "proxy_on_tick") (param i32) {body}))"#
    )
}

fn wasi_logged(profile: Profile, body: &str) -> Vec<String> {
    let module = compile_raw(&wasi("wasi_snapshot_preview1", body)).unwrap();
    Run::with(&Process::new(profile, 1), &module, PluginOptions::default()).logged_on_tick()
}

#[test]
fn standard_streams_are_logged() {
    for profile in BOTH {
        for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
            let body = "(drop (call $line (i32.const 1) (i32.const 2)))
                (drop (call $line (i32.const 2) (i32.const 1)))
                (call $log_number (i32.load (i32.const 64)))";
            let module = compile_raw(&wasi(module, body)).unwrap();
            let mut run = Run::with(&Process::new(profile, 1), &module, PluginOptions::default());
            run.vm.tick(run.plugin);
            let expected = [
                (LogLevel::Info, "hello, world"),
                (LogLevel::Error, "hello"),
                (LogLevel::Info, "05"),
            ];
            let expected =
                expected.map(|(level, text)| Effect::Log { level, text: text.to_owned() });
            assert_eq!(run.out(), expected);
        }
    }
}

#[test]
fn wasi_calls_return_the_errors_of_envoy() {
    for profile in BOTH {
        let body = "(call $log_number (call $line (i32.const 0) (i32.const 1)))
            (call $log_number (call $line (i32.const 3) (i32.const 1)))
            (call $log_number (call $line (i32.const 1) (i32.const -1)))
            (call $log_number (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)))
            (call $log_number (call $close (i32.const 1)))
            (call $log_number (call $prestat (i32.const 3) (i32.const 64)))
            (call $log_number (call $stat (i32.const 1) (i32.const 64)))
            (call $log_number (call $stat (i32.const 3) (i32.const 64)))
            (call $log_number (call $yield))
            (call $log_number (call $poll (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 64)))";
        let expected = ["08", "08", "21", "52", "00", "08", "00", "08", "00", "00"];
        assert_eq!(wasi_logged(profile, body), expected);
    }
}

const CLOCKS: &str = "(call $log_number (call $clock (i32.const 0) (i64.const 0) (i32.const 64)))
    (call $log_number (call $clock (i32.const 1) (i64.const 0) (i32.const 64)))
    (call $log_number (call $clock (i32.const 2) (i64.const 0) (i32.const 64)))
    (call $log_number (call $clock (i32.const 0) (i64.const 0) (i32.const -1)))";

#[test]
fn wasi_has_two_clocks() {
    for profile in BOTH {
        assert_eq!(wasi_logged(profile, CLOCKS), ["00", "00", "58", "21"]);
    }
}

#[test]
fn wasi_has_no_arguments_and_the_environment_of_the_embedder() {
    for profile in BOTH {
        let body = "(call $log_number (call $args (i32.const 100) (i32.const 104)))
            (call $log_number (i32.load (i32.const 100)))
            (call $log_number (call $args_get (i32.const 100) (i32.const 104)))
            (call $log_number (call $sizes (i32.const 72) (i32.const 76)))
            (call $log_number (i32.load (i32.const 72))) (call $log_number (i32.load (i32.const 76)))
            (call $log_number (call $environ (i32.const 80) (i32.const 256)))
            (i32.store (i32.const 0) (i32.load (i32.const 80)))
            (drop (call $line (i32.const 1) (i32.const 1)))
            (call $log_number (call $environ (i32.const -1) (i32.const 256)))";
        let module = compile_raw(&wasi("wasi_snapshot_preview1", body)).unwrap();
        let options = VmOptions::default().with_env(vec![("KEY".into(), "v".into())]);
        let mut vm = Vm::new(&module, &Process::new(profile, 1), options).unwrap();
        let plugin = vm.start_plugin(PluginOptions::default()).unwrap();
        vm.tick(plugin);
        let mut effects = Vec::new();
        vm.drain_effects(&mut effects);
        let logged: Vec<String> = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Log { text, .. } => Some(text),
                _ => None,
            })
            .collect();
        assert_eq!(logged, ["00", "00", "00", "00", "01", "06", "00", "KEY=v", "21"]);
    }
}

/// Fills some bytes at random and logs them as printable text.
fn random_bytes(seed: u64) -> Vec<String> {
    let body = "(drop (call $random (i32.const 64) (i32.const 64)))
        (call $log_number (i32.and (i32.load8_u (i32.const 64)) (i32.const 63)))
        (call $log_number (i32.and (i32.load8_u (i32.const 99)) (i32.const 63)))
        (call $log_number (i32.and (i32.load8_u (i32.const 127)) (i32.const 63)))
        (call $log_number (call $random (i32.const -1) (i32.const 1)))
        (call $log_number (call $random (i32.const 0) (i32.const 65537)))";
    let module = compile_raw(&wasi("wasi_snapshot_preview1", body)).unwrap();
    let process = Process::new(Profile::Generic, seed);
    Run::with(&process, &module, PluginOptions::default()).logged_on_tick()
}

#[test]
fn random_bytes_depend_on_the_seed() {
    assert_eq!(random_bytes(1), random_bytes(1));
    assert_ne!(random_bytes(1)[..3], random_bytes(2)[..3]);
    assert_eq!(random_bytes(1)[3..], ["21", "28"]);
}
