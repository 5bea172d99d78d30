//! A guest that calls every function of WASI preview 1 and logs what each call returned and wrote.

use std::fmt::Write as _;

use base64ct::{Base64, Encoding as _};
use serde_json::json;
use sluice_sim::{Effect, Limits, Module, PluginOptions, Process, Profile, Vm, VmOptions};

use crate::envoy::{Bootstrap, Envoy};
use crate::eventually;
use crate::upstream::Upstream;

/// A call: the function, its parameters (`i` and `I` are integers of 32 and 64 bits), and the
/// arguments.
#[derive(Debug, Clone, Copy)]
pub struct WasiCall {
    /// The name of the function.
    pub name: &'static str,
    params: &'static str,
    arguments: &'static [i64],
}

const fn call(name: &'static str, params: &'static str, arguments: &'static [i64]) -> WasiCall {
    WasiCall { name, params, arguments }
}

/// Where calls write their results.
const OUT: i64 = 512;
/// A list of one vector: 5 bytes at 768.
const VECTOR: i64 = 1024;
/// A path of four bytes.
const PATH: i64 = 768;

/// Calls of the functions that Envoy offers, with valid and invalid arguments.
pub const CALLS: &[WasiCall] = &[
    call("args_get", "ii", &[OUT, OUT]),
    call("args_sizes_get", "ii", &[OUT, OUT + 4]),
    call("environ_get", "ii", &[OUT, OUT + 64]),
    call("environ_sizes_get", "ii", &[OUT, OUT + 4]),
    call("clock_res_get", "ii", &[0, OUT]),
    call("clock_res_get", "ii", &[1, OUT]),
    call("clock_res_get", "ii", &[2, OUT]),
    call("clock_time_get", "iIi", &[0, 1, OUT]),
    call("clock_time_get", "iIi", &[1, 1, OUT]),
    call("clock_time_get", "iIi", &[2, 1, OUT]),
    call("clock_time_get", "iIi", &[0, 1, -4]),
    call("fd_advise", "iIIi", &[1, 0, 0, 0]),
    call("fd_advise", "iIIi", &[9, 0, 0, 99]),
    call("fd_allocate", "iII", &[1, 0, 8]),
    call("fd_close", "i", &[1]),
    call("fd_close", "i", &[9]),
    call("fd_datasync", "i", &[1]),
    call("fd_datasync", "i", &[9]),
    call("fd_fdstat_get", "ii", &[0, OUT]),
    call("fd_fdstat_get", "ii", &[1, OUT]),
    call("fd_fdstat_get", "ii", &[2, OUT]),
    call("fd_fdstat_get", "ii", &[3, OUT]),
    call("fd_fdstat_set_flags", "ii", &[1, 4]),
    call("fd_fdstat_set_flags", "ii", &[9, 4]),
    call("fd_fdstat_set_rights", "iII", &[1, 0, 0]),
    call("fd_filestat_get", "ii", &[1, OUT]),
    call("fd_filestat_get", "ii", &[9, OUT]),
    call("fd_filestat_set_size", "iI", &[1, 0]),
    call("fd_filestat_set_times", "iIIi", &[1, 0, 0, 0]),
    call("fd_pread", "iiiIi", &[0, VECTOR, 1, 0, OUT]),
    call("fd_prestat_get", "ii", &[3, OUT]),
    call("fd_prestat_get", "ii", &[4, OUT]),
    call("fd_prestat_dir_name", "iii", &[3, OUT, 8]),
    call("fd_pwrite", "iiiIi", &[1, VECTOR, 1, 0, OUT]),
    call("fd_read", "iiii", &[0, VECTOR, 1, OUT]),
    call("fd_read", "iiii", &[9, VECTOR, 1, OUT]),
    call("fd_readdir", "iiiIi", &[3, OUT, 8, 0, OUT]),
    call("fd_renumber", "ii", &[1, 2]),
    call("fd_seek", "iIii", &[1, 3, 0, OUT]),
    call("fd_seek", "iIii", &[9, 3, 0, OUT]),
    call("fd_sync", "i", &[1]),
    call("fd_sync", "i", &[9]),
    call("fd_tell", "ii", &[1, OUT]),
    call("fd_write", "iiii", &[1, VECTOR, 1, OUT]),
    call("fd_write", "iiii", &[2, VECTOR, 1, OUT]),
    call("fd_write", "iiii", &[0, VECTOR, 1, OUT]),
    call("fd_write", "iiii", &[3, VECTOR, 1, OUT]),
    call("fd_write", "iiii", &[1, VECTOR, 0, OUT]),
    call("fd_write", "iiii", &[1, -8, 1, OUT]),
    call("path_create_directory", "iii", &[3, PATH, 4]),
    call("path_filestat_get", "iiiii", &[3, 0, PATH, 4, OUT]),
    call("path_filestat_set_times", "iiiiIIi", &[3, 0, PATH, 4, 0, 0, 0]),
    call("path_link", "iiiiii", &[3, 0, PATH, 4, 3, PATH]),
    call("path_open", "iiiiiIIii", &[3, 0, PATH, 4, 0, 0, 0, 0, OUT]),
    call("path_readlink", "iiiiii", &[3, PATH, 4, OUT, 8, OUT + 16]),
    call("path_remove_directory", "iii", &[3, PATH, 4]),
    call("path_rename", "iiiiii", &[3, PATH, 4, 3, PATH, 4]),
    call("path_symlink", "iiii", &[PATH, 4, 3, PATH]),
    call("path_unlink_file", "iii", &[3, PATH, 4]),
    call("poll_oneoff", "iiii", &[PATH, OUT, 1, OUT + 64]),
    call("poll_oneoff", "iiii", &[PATH, OUT, 0, OUT + 64]),
    call("sched_yield", "", &[]),
    call("random_get", "ii", &[OUT + 128, 8]),
    call("random_get", "ii", &[4096, 65_536]),
    call("random_get", "ii", &[4096, 65_537]),
    call("sock_accept", "iii", &[3, 0, OUT]),
    call("sock_recv", "iiiiii", &[3, VECTOR, 1, 0, OUT, OUT + 4]),
    call("sock_send", "iiiii", &[3, VECTOR, 1, 0, OUT]),
    call("sock_shutdown", "ii", &[3, 0]),
    call("fd_advise", "iIIi", &[0, 0, 0, 0]),
    call("fd_allocate", "iII", &[0, 0, 8]),
    call("fd_allocate", "iII", &[2, 0, 8]),
    call("fd_allocate", "iII", &[3, 0, 8]),
    call("fd_datasync", "i", &[0]),
    call("fd_datasync", "i", &[2]),
    call("fd_datasync", "i", &[3]),
    call("fd_fdstat_get", "ii", &[1, -4]),
    call("fd_fdstat_set_rights", "iII", &[0, 0, 0]),
    call("fd_fdstat_set_rights", "iII", &[2, 0, 0]),
    call("fd_fdstat_set_rights", "iII", &[3, 0, 0]),
    call("fd_filestat_get", "ii", &[0, OUT]),
    call("fd_filestat_get", "ii", &[3, OUT]),
    call("fd_filestat_set_size", "iI", &[0, 0]),
    call("fd_filestat_set_size", "iI", &[2, 0]),
    call("fd_filestat_set_size", "iI", &[3, 0]),
    call("fd_filestat_set_times", "iIIi", &[0, 0, 0, 0]),
    call("fd_filestat_set_times", "iIIi", &[2, 0, 0, 0]),
    call("fd_filestat_set_times", "iIIi", &[3, 0, 0, 0]),
    call("fd_pread", "iiiIi", &[3, VECTOR, 1, 0, OUT]),
    call("fd_pwrite", "iiiIi", &[0, VECTOR, 1, 0, OUT]),
    call("fd_pwrite", "iiiIi", &[2, VECTOR, 1, 7, OUT]),
    call("fd_pwrite", "iiiIi", &[3, VECTOR, 1, 0, OUT]),
    call("fd_pwrite", "iiiIi", &[1, -8, 1, 0, OUT]),
    call("fd_readdir", "iiiIi", &[1, OUT, 8, 0, -4]),
    call("fd_renumber", "ii", &[8, 9]),
    call("fd_seek", "iIii", &[3, 3, 9, -4]),
    call("fd_sync", "i", &[0]),
    call("fd_sync", "i", &[2]),
    call("fd_sync", "i", &[3]),
    call("fd_tell", "ii", &[0, OUT]),
    call("fd_tell", "ii", &[2, OUT]),
    call("fd_tell", "ii", &[3, OUT]),
    call("fd_tell", "ii", &[1, -4]),
    call("fd_write", "iiii", &[1, VECTOR, 1, -2]),
    call("args_sizes_get", "ii", &[-2, OUT]),
    call("environ_sizes_get", "ii", &[OUT, -2]),
    call("clock_res_get", "ii", &[0, -4]),
    call("random_get", "ii", &[-4, 8]),
    call("random_get", "ii", &[OUT, 0]),
    call("sock_accept", "iii", &[1, 0, -4]),
    call("sock_recv", "iiiiii", &[1, VECTOR, 1, 0, -2, OUT]),
    call("sock_recv", "iiiiii", &[1, VECTOR, 1, 0, OUT, -1]),
    call("sock_send", "iiiii", &[1, VECTOR, 1, 0, -2]),
    call("sock_shutdown", "ii", &[1, 3]),
    call("path_readlink", "iiiiii", &[3, PATH, 4, OUT, 8, -2]),
];

fn types(params: &str) -> String {
    let list: Vec<&str> = params.chars().map(|c| if c == 'I' { "i64" } else { "i32" }).collect();
    list.join(" ")
}

/// The import of a function with these parameters.
fn import(module: &str, name: &str, params: &str) -> String {
    let types = types(params);
    format!(r#"(import "{module}" "{name}" (func ${name} (param {types}) (result i32)))"#)
}

/// A guest that makes these calls when it is configured. It logs one line for each:
/// `CALL: ERRNO OUT`, with the first 16 bytes of the result area, which is filled with `aa` before.
///
/// # Panics
/// If the text of the module is not valid.
pub fn guest(module: &str, calls: &[WasiCall]) -> Vec<u8> {
    let (mut imports, mut data, mut body) = (String::new(), String::new(), String::new());
    let mut imported = Vec::new();
    for (index, WasiCall { name, params, arguments }) in calls.iter().enumerate() {
        if !imported.contains(name) {
            imported.push(*name);
            imports.push_str(&import(module, name, params));
        }
        let line = format!("wasi {index} {name}: ");
        let (at, size) = (131_072 + 256 * index, line.len());
        let _ = write!(data, r#"(data (i32.const {at}) "{line}")"#);
        let _ = write!(
            body,
            "(call $prepare) (call $report (i32.const {at}) (i32.const {size}) (call ${name}"
        );
        for (argument, kind) in arguments.iter().zip(params.chars()) {
            let kind = if kind == 'I' { "i64" } else { "i32" };
            let _ = write!(body, " ({kind}.const {argument})");
        }
        body.push_str("))\n");
    }
    let text = format!(
        r#"(module
             (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
             {imports}
             (memory (export "memory") 8)
             (data (i32.const {PATH}) "path")
             (data (i32.const {VECTOR}) "\00\03\00\00\05\00\00\00")
             {data}
             (func (export "proxy_abi_version_0_2_1"))
             (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 400000))
             (func $prepare (memory.fill (i32.const {OUT}) (i32.const 170) (i32.const 256)))
             (func $digit (param $value i32) (result i32)
               (i32.add (local.get $value)
                        (select (i32.const 48) (i32.const 87) (i32.lt_u (local.get $value) (i32.const 10)))))
             (func $report (param $line i32) (param $size i32) (param $errno i32)
               (local $at i32) (local $index i32) (local $byte i32)
               (local.set $at (i32.add (local.get $line) (local.get $size)))
               (i32.store8 (local.get $at)
                 (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $errno) (i32.const 10)) (i32.const 10))))
               (i32.store8 offset=1 (local.get $at)
                 (i32.add (i32.const 48) (i32.rem_u (local.get $errno) (i32.const 10))))
               (i32.store8 offset=2 (local.get $at) (i32.const 32))
               (local.set $at (i32.add (local.get $at) (i32.const 3)))
               (loop $next
                 (local.set $byte (i32.load8_u (i32.add (i32.const {OUT}) (local.get $index))))
                 (i32.store8 (local.get $at) (call $digit (i32.shr_u (local.get $byte) (i32.const 4))))
                 (i32.store8 offset=1 (local.get $at) (call $digit (i32.and (local.get $byte) (i32.const 15))))
                 (local.set $at (i32.add (local.get $at) (i32.const 2)))
                 (local.set $index (i32.add (local.get $index) (i32.const 1)))
                 (br_if $next (i32.lt_u (local.get $index) (i32.const 16))))
               (drop (call $log (i32.const 3) (local.get $line)
                                (i32.sub (local.get $at) (local.get $line)))))
             (func (export "proxy_on_configure") (param i32 i32) (result i32)
               {body}
               (i32.const 1)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("an invalid module: {error}\n{text}"))
}

/// What a call did on both hosts: the error number, and the start of the result area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// The function.
    pub name: &'static str,
    /// The line of the guest in Envoy.
    pub envoy: String,
    /// The line of the guest in the simulator.
    pub simulator: String,
}

/// The functions that Envoy 1.37 does not have; it does not load a module that imports one of them.
/// Measured with one import after the other.
const SINCE_1_39: [&str; 27] = [
    "clock_res_get",
    "fd_advise",
    "fd_allocate",
    "fd_datasync",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_pwrite",
    "fd_readdir",
    "fd_renumber",
    "fd_sync",
    "fd_tell",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// The calls of functions that the Envoy under test has.
pub fn calls() -> Vec<WasiCall> {
    let is_old = crate::envoy::version() < (1, 39);
    let has = |call: &&WasiCall| !(is_old && SINCE_1_39.contains(&call.name));
    CALLS.iter().filter(has).copied().collect()
}

/// Makes all [`calls`] on both hosts.
///
/// # Panics
/// If a host does not run the guest.
pub fn compare() -> Vec<Compared> {
    let calls = calls();
    let wasm = guest("wasi_snapshot_preview1", &calls);
    let last = format!("wasi {} ", calls.len() - 1);
    let (envoy, simulator) = (in_envoy(&wasm, &last, calls.len()), in_the_simulator(&wasm));
    assert_eq!((envoy.len(), simulator.len()), (calls.len(), calls.len()));
    let lines = envoy.iter().zip(&simulator).map(|(envoy, simulator)| {
        (without_time(envoy).to_owned(), without_time(simulator).to_owned())
    });
    let compared =
        |(call, (envoy, simulator)): (&WasiCall, _)| Compared { name: call.name, envoy, simulator };
    calls.iter().zip(lines).map(compared).collect()
}

/// The lines that the guest logs in Envoy, at its first start.
fn in_envoy(wasm: &[u8], last: &str, count: usize) -> Vec<String> {
    let upstream = Upstream::ok();
    let module = Base64::encode_string(wasm);
    let filter = json!({ "name": "guest", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": { "name": "guest", "vm_config": {
            "vm_id": "guest", "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "inline_bytes": module } } } } } });
    let bootstrap = Bootstrap::example("static", upstream.port).with_filter(filter);
    let envoy = Envoy::start(bootstrap);
    eventually("the guest to log", || envoy.log().contains(last).then_some(()));
    let log = envoy.log();
    let lines =
        log.lines().filter_map(|line| line.split_once("wasi ").map(|(_, line)| line.to_owned()));
    lines.take(count).collect()
}

fn in_the_simulator(wasm: &[u8]) -> Vec<String> {
    let module = Module::new(wasm, &Limits::default()).expect("the simulator loads it");
    let process = Process::new(Profile::Envoy, 1);
    let mut vm =
        Vm::new(&module, &process, VmOptions::default().with_vm_id("guest")).expect("a VM");
    vm.start_plugin(PluginOptions::default().with_name("guest")).expect("a plugin");
    let mut effects = Vec::new();
    vm.drain_effects(&mut effects);
    let line = |effect| match effect {
        Effect::Log { text, .. } => text.strip_prefix("wasi ").map(str::to_owned),
        _ => None,
    };
    effects.into_iter().filter_map(line).collect()
}

/// The line without the time that a clock returned.
fn without_time(line: &str) -> &str {
    match line.split_once("clock_time_get: 00 ") {
        Some((call, _)) => call,
        None => line,
    }
}
