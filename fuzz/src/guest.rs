//! The guests of the fuzz targets.

use libfuzzer_sys::arbitrary::Unstructured;
use sluice_sim::{Limits, Module};
use sluice_test_kit::host_functions::{HOST_FUNCTIONS, host_imports, import};

/// Functions of WASI preview 1, in the form of [`HOST_FUNCTIONS`].
const WASI: &[(&str, &str)] = &[
    ("fd_write", "iiii"),
    ("fd_pwrite", "iiiLi"),
    ("clock_time_get", "iLi"),
    ("clock_res_get", "ii"),
    ("random_get", "ii"),
    ("environ_sizes_get", "ii"),
    ("environ_get", "ii"),
    ("args_sizes_get", "ii"),
    ("fd_fdstat_get", "ii"),
    ("fd_tell", "ii"),
    ("fd_readdir", "iiiLi"),
    ("path_readlink", "iiiiii"),
    ("sock_accept", "iii"),
    ("sock_recv", "iiiiii"),
    ("sock_send", "iiiii"),
    ("poll_oneoff", "iiii"),
];

/// Callbacks with the number of their parameters, and whether they have a result.
const CALLBACKS: &[(&str, usize, bool)] = &[
    ("vm_start", 2, true),
    ("configure", 2, true),
    ("tick", 1, false),
    ("done", 1, true),
    ("log", 1, false),
    ("delete", 1, false),
    ("new_connection", 1, true),
    ("downstream_data", 3, true),
    ("upstream_data", 3, true),
    ("request_headers", 3, true),
    ("request_body", 3, true),
    ("request_trailers", 2, true),
    ("response_headers", 3, true),
    ("response_body", 3, true),
    ("http_call_response", 5, false),
    ("grpc_receive", 3, false),
    ("grpc_close", 3, false),
    ("queue_ready", 2, false),
];

fn imports() -> String {
    let wasi = WASI.iter().map(|function| import("wasi_snapshot_preview1", "", *function));
    host_imports() + &wasi.collect::<String>()
}

const PRELUDE: &str = r#"
    (memory (export "memory") 2)
    (global $heap (mut i32) (i32.const 4096))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param $n i32) (result i32) (local $at i32)
      (local.set $at (global.get $heap))
      (global.set $heap (i32.add (global.get $heap) (local.get $n)))
      (local.get $at))"#;

/// Reads the plugin configuration to the addresses 16 (pointer) and 20 (length).
const READ: &str =
    "(drop (call $get_buffer_bytes (i32.const 7) (i32.const 0) (i32.const -1) (i32.const 16)
       (i32.const 20)))";

fn module(text: &str, limits: &Limits) -> Module {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Module::new(&wasm, limits).unwrap_or_else(|error| panic!("{error}"))
}

/// A guest that replaces the request headers with its configuration, reads them back, and sends them
/// with a call and a local reply.
#[must_use]
pub fn header_map(limits: &Limits) -> Module {
    let map = "(i32.load (i32.const 16)) (i32.load (i32.const 20))";
    module(
        &format!(
            r#"(module {} {PRELUDE}
              (func (export "proxy_on_configure") (param i32 i32) (result i32) {READ} (i32.const 1))
              (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (drop (call $set_header_map_pairs (i32.const 0) {map}))
                (drop (call $get_header_map_pairs (i32.const 0) (i32.const 24) (i32.const 28)))
                (drop (call $get_header_map_value (i32.const 0) {map} (i32.const 24)
                  (i32.const 28)))
                (drop (call $remove_header_map_value (i32.const 0) {map}))
                (drop (call $http_call (i32.const 0) (i32.const 1) {map} {map} {map} (i32.const 5)
                  (i32.const 32)))
                (drop (call $grpc_call {map} {map} {map} {map} {map} (i32.const 5) (i32.const 32)))
                (drop (call $send_local_response (i32.const 200) {map} {map} {map} (i32.const 0)))
                (i32.const 0))
              (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
                (drop (call $set_header_map_pairs (i32.const 2) {map}))
                (drop (call $replace_header_map_value (i32.const 2) {map} {map}))
                (i32.const 0)))"#,
            imports()
        ),
        limits,
    )
}

/// A guest whose configuration is a script: for each callback, one byte that selects a host function,
/// and 13 words for its arguments and for the result of the callback.
#[must_use]
pub fn scripted(limits: &Limits) -> Module {
    let argument = |place: usize, kind: char| {
        let load = if kind == 'L' { "i64.load" } else { "i32.load" };
        format!("({load} offset={} (local.get $at))", 4 + 4 * place)
    };
    let cases: String = HOST_FUNCTIONS
        .iter()
        .chain(WASI)
        .enumerate()
        .map(|(index, (name, params))| {
            let arguments: String =
                params.chars().enumerate().map(|(place, kind)| argument(place, kind)).collect();
            format!(
                "(if (i32.eq (local.get $call) (i32.const {index}))
                   (then (drop (call ${name} {arguments}))))\n"
            )
        })
        .collect();
    let callbacks: String = CALLBACKS
        .iter()
        .map(|(name, params, has_result)| {
            let read = if *name == "configure" { READ } else { "" };
            let start = match *name {
                "configure" => "(global.set $script (i32.load (i32.const 16)))",
                _ => "",
            };
            let params = "i32 ".repeat(*params);
            let (result, value) = match (*name, has_result) {
                ("vm_start" | "configure", _) => ("(result i32)", "(drop (call $step)) (i32.const 1)"),
                (_, true) => ("(result i32)", "(call $step)"),
                (_, false) => ("", "(drop (call $step))"),
            };
            format!("(func (export \"proxy_on_{name}\") (param {params}) {result} {read} {start} {value})\n")
        })
        .collect();
    module(
        &format!(
            "(module {} {PRELUDE}
              (global $script (mut i32) (i32.const 0))
              (func $step (result i32) (local $at i32) (local $call i32)
                (local.set $at (global.get $script))
                (if (i32.eqz (local.get $at)) (then (return (i32.const 0))))
                (global.set $script (i32.add (local.get $at) (i32.const 56)))
                (local.set $call (i32.load8_u (local.get $at)))
                {cases}
                (i32.load offset=52 (local.get $at)))
              {callbacks})",
            imports()
        ),
        limits,
    )
}

/// A random module with the exports and imports of a filter.
pub fn smith(input: &mut Unstructured<'_>) -> Option<Vec<u8>> {
    let exported: String = CALLBACKS
        .iter()
        .map(|(name, params, has_result)| {
            let params = "i32 ".repeat(*params);
            let (result, value) =
                if *has_result { ("(result i32)", "(i32.const 0)") } else { ("", "") };
            format!("(func (export \"proxy_on_{name}\") (param {params}) {result} {value})\n")
        })
        .collect();
    let exports = format!(
        r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
            (func (export "malloc") (param i32) (result i32) (i32.const 0)) {exported})"#
    );
    let config = wasm_smith::Config {
        exports: Some(wat::parse_str(exports).ok()?),
        available_imports: Some(wat::parse_str(format!("(module {})", imports())).ok()?),
        memory64_enabled: false,
        max_memories: 1,
        max_memory32_bytes: 1 << 20,
        max_table_elements: 1000,
        gc_enabled: false,
        exceptions_enabled: false,
        threads_enabled: false,
        shared_everything_threads_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        tail_call_enabled: false,
        relaxed_simd_enabled: false,
        ..wasm_smith::Config::default()
    };
    Some(wasm_smith::Module::new(config, input).ok()?.to_bytes())
}
