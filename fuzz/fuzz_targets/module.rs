//! Whole modules: those of wasm-smith with the exports and imports of filters, and bytes as they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use libfuzzer_sys::arbitrary::Unstructured;
use sluice_fuzz::{budget, exchange, guest};
use sluice_sim::{Module, Profile};

fuzz_target!(|bytes: &[u8]| {
    let limits = budget(200_000).with_function_bytes(1 << 14).with_module_bytes(1 << 17);
    let wasm = match bytes.starts_with(b"\0asm") {
        true => bytes.to_vec(),
        false => match guest::smith(&mut Unstructured::new(bytes)) {
            Some(wasm) => wasm,
            None => return,
        },
    };
    if let Ok(module) = Module::new(&wasm, &limits) {
        exchange(&module, Profile::Envoy, b"configuration");
    }
});
