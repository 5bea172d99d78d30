//! The drain record, and commands of the admin path as a query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_filter::drain::command::Command;
use sluice_filter::drain::record::Record;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::parse(bytes) {
        let again = Record::parse(record.to_json().as_bytes());
        assert_eq!(again.ok(), Some(record));
    }
    let _ = Command::parse(bytes);
    let _ = Command::parse_strict(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Command::from_query(text);
    }
});
