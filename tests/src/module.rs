//! Modules for Envoy that differ from the built filter.

use std::fs;
use std::path::{Path, PathBuf};

/// Writes a copy of a module that has the same code and other bytes, so that Envoy starts a new VM
/// for it; returns its path.
///
/// # Panics
/// If a file cannot be read or written.
pub fn other_version(module: &Path, folder: &Path, version: u8) -> PathBuf {
    let mut bytes = fs::read(module)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", module.display()));
    // A custom section: its id, its size, the length of its name, its name, its content.
    bytes.extend([0, 9, 7, b'v', b'e', b'r', b's', b'i', b'o', b'n', version]);
    let copy = folder.join(format!("version-{version}.wasm"));
    fs::write(&copy, bytes).unwrap_or_else(|error| panic!("cannot write a module: {error}"));
    copy
}

/// A filter of another author that writes a value to shared data when it is configured.
///
/// # Panics
/// If the key or the value has a quote or a backslash that WebAssembly text does not allow.
pub fn writer_to_shared_data(key: &str, value: &str) -> Vec<u8> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let (key_size, value_size) = (key.len(), value.len());
    let text = format!(
        r#"(module
             (import "env" "proxy_set_shared_data"
               (func $set (param i32 i32 i32 i32 i32) (result i32)))
             (memory (export "memory") 1)
             (data (i32.const 1024) "{}")
             (data (i32.const 2048) "{}")
             (func (export "proxy_abi_version_0_2_1"))
             (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 8192))
             (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
             (func (export "proxy_on_configure") (param i32 i32) (result i32)
               (drop (call $set (i32.const 1024) (i32.const {key_size})
                                (i32.const 2048) (i32.const {value_size}) (i32.const 0)))
               (i32.const 1)))"#,
        quoted(key),
        quoted(value)
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("an invalid module: {error}"))
}
