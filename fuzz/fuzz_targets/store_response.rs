//! The responses of control stores: the first byte selects the kind and the status.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_filter::drain::store::parse_response;
use sluice_filter::config::StoreFormat;

fuzz_target!(|bytes: &[u8]| {
    let Some((&selector, body)) = bytes.split_first() else { return };
    let formats = [StoreFormat::Raw, StoreFormat::Consul, StoreFormat::EtcdV3];
    let status = [200, 404, 500][usize::from(selector) / 3 % 3];
    let _ = parse_response(formats[usize::from(selector) % 3], status, body);
});
