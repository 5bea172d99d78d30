//! Serialized header maps: a guest passes the input to the host, which returns the same map.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

use sluice_fuzz::{budget, exchange, guest};
use sluice_sim::{Module, Profile};

fuzz_target!(|bytes: &[u8]| {
    static MODULE: OnceLock<Module> = OnceLock::new();
    let module = MODULE.get_or_init(|| guest::header_map(&budget(10_000_000)));
    for profile in [Profile::Envoy, Profile::Generic] {
        exchange(module, profile, bytes);
    }
});
