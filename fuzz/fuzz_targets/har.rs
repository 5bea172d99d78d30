//! Recordings of browsers. What is imported is a valid trace.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_cli::import::converted;

fuzz_target!(|recording: &[u8]| {
    let _ = converted(true, recording);
});
