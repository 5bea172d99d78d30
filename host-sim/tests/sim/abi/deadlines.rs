//! Callbacks with a deadline in epochs, instead of a budget of instructions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use sluice_sim::{Limits, Module, PluginOptions, Process, Profile, TrapReason, Vm, VmOptions};

use crate::guest::{Run, on, text};

const ENDLESS: &str = "(loop $l (br $l))";

fn module(callbacks: &str, limits: &Limits) -> Module {
    Module::new(&wat::parse_str(callbacks).unwrap(), limits).unwrap()
}

fn with_deadline(callbacks: &str) -> Module {
    module(callbacks, &Limits::default().with_callback_deadline(2))
}

fn run(module: &Module) -> Run {
    Run::with(&Process::new(Profile::Generic, 1), module, PluginOptions::default())
}

/// Calls `body` while another thread advances the epoch.
fn while_epochs_pass<T>(module: &Module, body: impl FnOnce() -> T) -> T {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                module.advance_epoch();
                std::thread::yield_now();
            }
        });
        let result = body();
        ended.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn endless_loop_ends_with_one_sentence_under_both_limits() {
    let limits = Limits::default().with_callback_budget(1_000_000);
    let mut counted = run(&module(&text(&on("tick", ENDLESS)), &limits));
    counted.vm.tick(counted.plugin);
    let trap = counted.vm.trap().unwrap().to_string();
    assert_eq!(trap, "guest trapped in proxy_on_tick: exceeded its budget of 1000000 instructions");

    let module = with_deadline(&text(&on("tick", ENDLESS)));
    let mut timed = run(&module);
    while_epochs_pass(&module, || timed.vm.tick(timed.plugin));
    let trap = timed.vm.trap().unwrap().to_string();
    assert_eq!(trap, "guest trapped in proxy_on_tick: exceeded its deadline of 2 epochs");
}

#[test]
fn endless_host_calls_end_at_the_deadline() {
    let module =
        with_deadline(&text(&on("tick", "(loop $l (call $log_number (i32.const 7)) (br $l))")));
    let mut run = run(&module);
    while_epochs_pass(&module, || run.vm.tick(run.plugin));
    let reason = run.vm.trap().map(|trap| trap.reason.clone());
    assert_eq!(reason, Some(TrapReason::Deadline { epochs: 2 }));
    assert!(run.vm.cost().host_calls > 0);
}

#[test]
fn start_function_ends_at_the_deadline() {
    let module = with_deadline(&text(&format!(r#"(func (export "_initialize") {ENDLESS})"#)));
    let process = Process::new(Profile::Generic, 1);
    let error =
        while_epochs_pass(&module, || Vm::new(&module, &process, VmOptions::default()).err());
    assert_eq!(
        error.unwrap().to_string(),
        "guest trapped in _initialize: exceeded its deadline of 2 epochs"
    );
}

#[test]
fn each_callback_has_the_whole_deadline() {
    let module = with_deadline(&text(&on("tick", "(call $log_number (i32.const 7))")));
    let mut run = run(&module);
    for _ in 0..3 {
        (0..100).for_each(|_| module.advance_epoch());
        run.vm.tick(run.plugin);
    }
    assert_eq!(run.vm.trap(), None);
    assert_eq!(run.logged(), ["7", "7", "7"]);
}

/// The guest advances the epoch itself, through a foreign function.
#[test]
fn a_callback_ends_after_as_many_epochs_as_its_deadline_has() {
    let module = with_deadline(&text(&on(
        "tick",
        r#"(loop $l (drop (call $call_foreign_function @"advance" @"" @p @n)) (br $l))"#,
    )));
    let mut run = run(&module);
    let advances = Arc::new(AtomicU32::new(0));
    let (counted, advanced) = (advances.clone(), module.clone());
    run.process.register_foreign_function("advance", move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        advanced.advance_epoch();
        Ok(Vec::new())
    });
    run.vm.tick(run.plugin);
    assert!(run.vm.trap().is_some());
    assert_eq!(advances.load(Ordering::Relaxed), 2);
}

#[test]
fn no_instructions_are_counted_with_a_deadline() {
    let module = with_deadline(&text(&on("tick", "(call $log_number (i32.const 7))")));
    let mut run = run(&module);
    run.process.set_max_instructions(1);
    let before = run.vm.cost();
    run.vm.tick(run.plugin);
    let cost = run.vm.cost() - before;
    assert_eq!((cost.callbacks, cost.host_calls, cost.instructions), (1, 1, 0));
    assert_eq!((run.process.instructions(), run.vm.trap()), (0, None));
}
