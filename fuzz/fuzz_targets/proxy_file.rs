//! Files of Envoy, Istio and Envoy Gateway that `sluice check` reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_cli::check::warnings_in;

fuzz_target!(|text: &str| {
    let _ = warnings_in(text);
});
