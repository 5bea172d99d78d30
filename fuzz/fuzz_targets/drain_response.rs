//! What `sluice drain` makes of the responses of etcd and of admin paths. The first byte selects the
//! server and the status. A drain under etcd's key follows the one that the response shows.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_cli::drain::record_after;
use sluice_filter::drain::{Command, Record};

const NOW_MS: u64 = 1_767_225_600_000;

fuzz_target!(|bytes: &[u8]| {
    let Some((&selector, body)) = bytes.split_first() else { return };
    let is_etcd = selector % 2 == 0;
    let status = [200, 404, 500, 503][usize::from(selector) / 2 % 4];
    let command = Command::parse(br#"{"mode":"reload"}"#).expect("a valid command");
    let Some(record) = record_after(is_etcd, status, body.to_vec(), &command, NOW_MS) else {
        return;
    };
    assert_eq!(status, 200);
    assert_eq!(record.mode, command.mode);
    if is_etcd {
        assert!(record.epoch > 0 && record.started_ms == NOW_MS);
    }
    assert_eq!(Record::parse(record.to_json().as_bytes()).ok(), Some(record));
});
