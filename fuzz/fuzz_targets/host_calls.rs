//! Host calls and WASI functions with any arguments, in any callback: the input is the script of a
//! guest.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

use sluice_fuzz::{budget, exchange, guest};
use sluice_sim::{Module, Profile};

fuzz_target!(|script: &[u8]| {
    static MODULE: OnceLock<Module> = OnceLock::new();
    let module = MODULE.get_or_init(|| guest::scripted(&budget(1_000_000)));
    for profile in [Profile::Envoy, Profile::Generic] {
        exchange(module, profile, script);
    }
});
