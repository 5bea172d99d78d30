//! Modules that load, modules that do not, and the errors.

use sluice_sim::{
    AbiVersion, Effect, Limits, Module, ModuleError, PluginOptions, Process, Profile, TrapReason,
    Vm, VmError, VmOptions,
};

use crate::guest::{Run, compile, compile_raw, on};

const ABI: &str = r#"(func (export "proxy_abi_version_0_2_1"))"#;
const MEMORY: &str = r#"(memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 1024))"#;

fn rejection(parts: &[&str]) -> ModuleError {
    match compile_raw(&format!("(module {})", parts.concat())) {
        Ok(_) => panic!("the module was accepted"),
        Err(error) => error,
    }
}

fn vm(parts: &[&str]) -> Result<Vm, VmError> {
    let module = compile_raw(&format!("(module {})", parts.concat())).unwrap();
    Vm::new(&module, &Process::new(Profile::Generic, 1), VmOptions::default())
}

#[test]
fn invalid_modules_are_rejected() {
    for bytes in [&b""[..], b"not wasm", b"\0asm\x01\0\0\0\x01"] {
        let error = Module::new(bytes, &Limits::default()).err();
        assert!(matches!(error, Some(ModuleError::Invalid { .. })), "{error:?}");
    }
}

#[test]
fn missing_and_unknown_abi_versions_are_rejected() {
    let none = ModuleError::Abi { found: "no such marker".into() };
    assert_eq!(rejection(&[MEMORY]), none);
    let old = r#"(func (export "proxy_abi_version_0_1_0"))"#;
    let error = rejection(&[MEMORY, old]);
    assert_eq!(error, ModuleError::Abi { found: "proxy_abi_version_0_1_0".into() });
    assert_eq!(
        error.to_string(),
        "exports neither proxy_abi_version_0_2_0 nor proxy_abi_version_0_2_1, \
         found proxy_abi_version_0_1_0, which Envoy runs and this host does not; build the module with \
         an SDK for ABI 0.2"
    );
}

#[test]
fn both_abi_versions_load() {
    for (marker, version) in [
        ("proxy_abi_version_0_2_0", AbiVersion::V0_2_0),
        ("proxy_abi_version_0_2_1", AbiVersion::V0_2_1),
    ] {
        let module = compile_raw(&format!(r#"(module (func (export "{marker}")) {MEMORY})"#));
        assert_eq!(module.unwrap().abi(), version);
    }
}

#[test]
fn error_names_the_unknown_import() {
    let error = rejection(&[r#"(import "env" "proxy_make_tea" (func))"#, ABI, MEMORY]);
    assert_eq!(
        error.to_string(),
        "imports env.proxy_make_tea, which no proxy-wasm 0.2 host offers"
    );
}

#[test]
fn error_names_the_import_with_another_type() {
    let error = rejection(&[r#"(import "env" "proxy_log" (func (param i64)))"#, ABI, MEMORY]);
    assert!(matches!(error, ModuleError::ImportType { .. }), "{error:?}");
    assert!(error.to_string().contains("proxy_log"), "{error}");
}

#[test]
fn error_names_the_callback_with_another_type() {
    let callback = r#"(func (export "proxy_on_tick") (param i64) (result i32) (i32.const 0))"#;
    assert_eq!(
        rejection(&[ABI, MEMORY, callback]).to_string(),
        "exports proxy_on_tick as (i64) -> (i32), expected (i32) -> ()"
    );
    let callback = r#"(func (export "proxy_on_done") (param i32) (result i64) (i64.const 1))"#;
    assert_eq!(
        rejection(&[ABI, MEMORY, callback]).to_string(),
        "exports proxy_on_done as (i32) -> (i64), expected (i32) -> (i32)"
    );
    let memory = r#"(export "proxy_on_log" (memory 0))"#;
    assert_eq!(
        rejection(&[ABI, MEMORY, memory]).to_string(),
        "exports proxy_on_log as an export that is not a function, expected (i32) -> ()"
    );
}

#[test]
fn modules_without_memory_or_allocator_are_rejected() {
    let memory = r#"(memory (export "memory") 1)"#;
    assert_eq!(
        rejection(&[ABI, memory]),
        ModuleError::MissingExport { name: "proxy_on_memory_allocate" }
    );
    let allocator = r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))"#;
    assert_eq!(rejection(&[ABI, allocator]), ModuleError::MissingExport { name: "memory" });
}

#[test]
fn module_with_too_much_memory_is_not_instantiated() {
    let module = compile_raw(&format!(
        r#"(module {ABI} (memory (export "memory") 65536)
           (func (export "malloc") (param i32) (result i32) (i32.const 0)))"#
    ))
    .unwrap();
    let error = Vm::new(&module, &Process::new(Profile::Generic, 1), VmOptions::default()).err();
    assert!(matches!(error, Some(VmError::Instantiate { .. })), "{error:?}");
}

/// A function that stores `number` for a later function to read.
fn note(name: &str, params: &str, number: u32) -> String {
    format!(
        r#"(func (export "{name}") {params}
             (i32.store (i32.const 0) (i32.add (i32.mul (i32.load (i32.const 0)) (i32.const 10))
               (i32.const {number}))))"#
    )
}

fn started(parts: &[&str]) -> Option<u32> {
    let logged = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let tick = r#"(func (export "proxy_on_tick") (param i32)
        (drop (call $log (i32.const 4) (i32.const 0) (i32.const 2))))"#;
    let mut vm = vm(&[logged, ABI, MEMORY, tick, &parts.concat()]).unwrap();
    let plugin = vm.start_plugin(PluginOptions::default()).unwrap();
    vm.tick(plugin);
    let mut effects = Vec::new();
    vm.drain_effects(&mut effects);
    match &effects[..] {
        [Effect::Log { text, .. }] => Some(text.as_bytes()[0].into()),
        _ => None,
    }
}

#[test]
fn reactor_is_initialized_before_main() {
    let main = r#"(func (export "main") (param i32 i32) (result i32)
        (i32.store (i32.const 0) (i32.add (i32.mul (i32.load (i32.const 0)) (i32.const 10)) (i32.const 2)))
        (i32.const 0))"#;
    let parts = [&*note("_initialize", "", 1), main, &*note("_start", "", 3)];
    assert_eq!(started(&parts), Some(12));
}

#[test]
fn command_is_started_without_main() {
    let parts = [&*note("_start", "", 3), &*note("main", "", 4)];
    assert_eq!(started(&parts), Some(3));
}

#[test]
fn trap_at_start_is_an_error() {
    for name in ["_initialize", "_start"] {
        let start = format!(r#"(func (export "{name}") unreachable)"#);
        match vm(&[ABI, MEMORY, &start]) {
            Err(VmError::Trap(trap)) => {
                assert_eq!((trap.callback, trap.reason), (name, TrapReason::Unreachable));
            }
            other => panic!("expected a trap, got {:?}", other.err()),
        }
    }
    let start = "(func $start unreachable) (start $start)";
    assert!(matches!(vm(&[ABI, MEMORY, start]), Err(VmError::Trap(_))));
}

#[test]
fn module_can_only_log_at_start() {
    let log = r#"(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))"#;
    let start = r#"(func (export "_initialize") (drop (call $log (i32.const 2) (i32.const 0) (i32.const 1))))"#;
    assert!(vm(&[log, ABI, MEMORY, start]).is_ok());
    let done = r#"(import "env" "proxy_done" (func $done (result i32)))"#;
    let start = r#"(func (export "_initialize") (drop (call $done)))"#;
    match vm(&[done, ABI, MEMORY, start]) {
        Err(VmError::Trap(trap)) => assert_eq!(
            trap.to_string(),
            "guest trapped in _initialize: called proxy_done while its module starts"
        ),
        other => panic!("expected a trap, got {:?}", other.err()),
    }
}

#[test]
fn command_may_exit() {
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let start = |code| format!(r#"(func (export "_start") (call $exit (i32.const {code})))"#);
    assert!(vm(&[exit, ABI, MEMORY, &start(0)]).is_ok());
    match vm(&[exit, ABI, MEMORY, &start(3)]) {
        Err(VmError::Trap(trap)) => assert_eq!(trap.reason, TrapReason::Exit(3)),
        other => panic!("expected a trap, got {:?}", other.err()),
    }
}

#[test]
fn module_runs_in_several_vms() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let module = compile(&on("tick", "(call $log_number (i32.const 1))"));
    let process = Process::new(Profile::Generic, 1);
    shared(&module);
    shared(&process);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (module, process) = (module.clone(), process.clone());
            std::thread::spawn(move || {
                Run::with(&process, &module, PluginOptions::default()).logged_on_tick()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), ["1"]);
    }
}
