//! The plugin configuration. Whatever is accepted can also be explained.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_filter::load;

fuzz_target!(|document: &[u8]| {
    let _ = load(document);
});
