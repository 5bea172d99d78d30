//! The file of `--proxy`, and the same sections in a trace.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_sim::proxy::Setup;

fuzz_target!(|text: &str| {
    let _ = Setup::parse(text);
});
