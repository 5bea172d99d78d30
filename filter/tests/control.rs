//! The control store: what each kind is asked, what its answers mean, and when it is asked again.

use proptest::prelude::*;
use serde_json::json;
use sluice_filter::config::StoreFormat;
use sluice_filter::drain::poller::{Due, Heard};
use sluice_filter::drain::store::{self, StoreError};
use sluice_filter::drain::{Poller, Standing};
use sluice_filter::load;
use sluice_filter::rules::ControlStore;

fn control(format: &str) -> ControlStore {
    let control =
        json!({ "cluster": "outbound|2379||etcd", "format": format, "key": "sluice/drain" });
    let document = json!({ "version": 1, "drain": { "control": control } });
    let loaded = load(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    loaded.rules.control_store().expect("a store").clone()
}

#[test]
fn each_kind_of_store_is_asked_in_its_own_way() {
    let ask = |format| store::ask(&control(format));
    let raw = ask("raw");
    assert_eq!((raw.method, raw.path.as_str(), raw.body), ("GET", "/sluice/drain", None));
    let consul = ask("consul");
    assert_eq!((consul.method, consul.path.as_str()), ("GET", "/v1/kv/sluice/drain?raw=true"));
    let etcd = ask("etcd-v3");
    assert_eq!((etcd.method, etcd.path.as_str()), ("POST", "/v3/kv/range"));
    assert_eq!(etcd.body.as_deref(), Some(r#"{"key":"c2x1aWNlL2RyYWlu"}"#));
    assert_eq!(&*control("raw").authority, "sluice", "servers refuse a | in a host");
}

#[test]
fn an_answer_is_a_drain_or_no_key_or_of_no_use() {
    let drain = br#"{"epoch":7,"mode":"terminate"}"#;
    // What etcd 3.4 answers, but for the numbers in its header.
    let etcd = br#"{"header":{"revision":"3"},"kvs":[{"key":"c2x1aWNlL2RyYWlu","version":"1","value":"eyJlcG9jaCI6NywibW9kZSI6InRlcm1pbmF0ZSJ9"}],"count":"1"}"#;
    for (format, body) in
        [(StoreFormat::Raw, &drain[..]), (StoreFormat::Consul, drain), (StoreFormat::EtcdV3, etcd)]
    {
        let command = store::answer(format, 200, body)
            .unwrap_or_else(|error| panic!("{error}"))
            .expect("a key");
        assert_eq!(command.epoch.map(|epoch| epoch.value()), Some(7));
    }
    assert_eq!(store::answer(StoreFormat::Raw, 404, b"not here"), Ok(None));
    assert_eq!(store::answer(StoreFormat::Consul, 404, b""), Ok(None));
    assert_eq!(
        store::answer(StoreFormat::EtcdV3, 200, br#"{"header":{"revision":"3"}}"#),
        Ok(None)
    );
    assert_eq!(store::answer(StoreFormat::EtcdV3, 200, b"{}"), Err(StoreError::Form));
    assert_eq!(store::answer(StoreFormat::EtcdV3, 404, b""), Err(StoreError::Status(404)));
    assert_eq!(
        store::answer(StoreFormat::EtcdV3, 200, br#"{"header":{},"kvs":[{"value":"%%"}]}"#),
        Err(StoreError::Form)
    );
    assert_eq!(
        store::answer(StoreFormat::Raw, 503, b"no healthy upstream"),
        Err(StoreError::Status(503))
    );
    let message =
        |body: &[u8]| store::answer(StoreFormat::Raw, 200, body).expect_err("no drain").to_string();
    assert_eq!(
        message(br#"{"mode":"off"}"#),
        "the drain record is wrong at epoch: missing; expected a whole number from 1 to 2^53 - 1"
    );
    assert_eq!(
        message(br#"{"epoch":1,"mode":"sleep"}"#),
        r#"the drain record is wrong at mode: found "sleep", expected one of reload, terminate, rebalance, off"#
    );
    assert_eq!(
        message(br#"{"epoch":18446744073709551615,"mode":"off"}"#),
        "the drain record is wrong at epoch: 18446744073709551615 is out of range; expected a whole number from 1 to 2^53 - 1"
    );
    assert_eq!(
        message(br#"{"epoch":1,"mode":"reload","window":"8760h"}"#),
        r#"the drain record is wrong at window: "8760h" is out of range; expected a duration from 0s to 24h"#
    );
    assert_eq!(
        message(br#"{"epoch":1,"mode":"reload","window":"0s"}"#),
        r#"the drain record is wrong at window: "0s" is out of range; expected a duration from 1ms to 24h"#
    );
}

/// Asks whenever it is due, looking every 10 ms, and hears what `heard` says at that time. Returns the moments and the lines.
fn asked(until_ms: u64, heard: impl Fn(u64) -> Heard) -> (Vec<u64>, Vec<String>) {
    let control = control("raw");
    let mut poller = Poller::default();
    let (mut moments, mut lines) = (Vec::new(), Vec::new());
    for now in (1_000_000..1_000_000 + until_ms).step_by(10) {
        if poller.is_due(&control, now) == Due::Now {
            moments.push(now - 1_000_000);
            lines.extend(poller.heard(&control, &heard(now - 1_000_000), 77).map(|news| news.line));
        }
    }
    (moments, lines)
}

#[test]
fn a_store_that_answers_is_asked_every_interval_and_nothing_is_told() {
    let (moments, lines) = asked(5_000, |_| Heard::Drain(Standing::Known, 7));
    assert_eq!(moments, [0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(lines, [""; 0]);
}

#[test]
fn a_store_that_fails_is_asked_less_and_less_and_each_change_is_told_once() {
    let outage = 10_000..200_000;
    let (moments, lines) = asked(300_000, |now| match now {
        now if outage.contains(&now) && now % 40 == 0 => Heard::Failed(StoreError::Status(503)),
        now if outage.contains(&now) => Heard::Failed(StoreError::Status(504)),
        _ => Heard::Drain(Standing::Known, 7),
    });
    let during = moments.iter().filter(|now| outage.contains(now)).count();
    assert!((8..=16).contains(&during), "{during} questions in 190 s");
    let gap = moments.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(gap.is_some_and(|gap| gap <= 30_010), "{gap:?}");
    assert_eq!(
        moments.last(),
        Some(&(moments[moments.len() - 2] + 1_000)),
        "it recovers by itself"
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("control store outbound|2379||etcd, key sluice/drain: is of no use, the last drain stays in force: it answered with status 50"));
    assert!(lines[1].ends_with("answers with epoch 7"));
}

#[test]
fn a_key_that_vanishes_or_falls_behind_is_told_once() {
    let (_, lines) = asked(10_000, |now| match now {
        0..2_000 => Heard::Drain(Standing::Higher, 7),
        2_000..5_000 => Heard::NoKey,
        5_000..7_000 => Heard::Drain(Standing::Lower, 6),
        _ => Heard::Drain(Standing::Taken, 7),
    });
    let ends = [
        "has no such key; the last drain stays in force",
        "answers with epoch 6, below the one in force, which stays",
        "gives epoch 7 another meaning than the one in force, which stays; raise the epoch",
    ];
    assert_eq!(lines.len(), ends.len(), "{lines:?}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn an_answer_that_never_comes_is_given_up() {
    let control = control("raw");
    let mut poller = Poller::default();
    assert_eq!(poller.is_due(&control, 1_000), Due::Now);
    assert_eq!(poller.is_due(&control, 6_000), Due::No);
    assert_eq!(poller.is_due(&control, 7_000), Due::Overdue);
    poller.interrupted();
    assert_eq!(poller.is_due(&control, 7_000), Due::Now, "whoever asked is gone");
}

#[test]
fn a_clock_that_jumps_delays_no_question_for_longer_than_a_pause() {
    let control = control("raw");
    for jump in [0, 500_000, 2_000_000, 900_000_000] {
        let mut poller = Poller::default();
        assert_eq!(poller.is_due(&control, 1_000_000), Due::Now);
        poller.heard(&control, &Heard::NoKey, 1);
        let due = (jump..jump + 61_000)
            .step_by(250)
            .find(|now| poller.is_due(&control, *now) == Due::Now);
        assert!(due.is_some(), "after a jump to {jump}");
    }
}

proptest! {
    /// An answer of any bytes is a drain, no key, or an error.
    #[test]
    fn no_answer_breaks_the_reader(body in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}", status in 0..700_u16) {
        for format in [StoreFormat::Raw, StoreFormat::Consul, StoreFormat::EtcdV3] {
            let _ = store::answer(format, status, &body);
            let _ = store::answer(format, status, text.as_bytes());
        }
    }
}
