//! The control store: how each kind is read, what its responses mean, and when it is polled.

use proptest::prelude::*;
use serde_json::json;
use sluice_filter::config::StoreFormat;
use sluice_filter::drain::poller::Due;
use sluice_filter::drain::store::{self, StoreError};
use sluice_filter::drain::{KeyState, Poller};
use sluice_filter::load::load;
use sluice_filter::rules::ControlStore;

fn control(format: &str) -> ControlStore {
    let control =
        json!({ "cluster": "outbound|2379||etcd", "format": format, "key": "sluice/drain" });
    let document = json!({ "version": 1, "drain": { "control": control } });
    let loaded = load(document.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    loaded.rules.control_store().expect("a store").clone()
}

#[test]
fn each_kind_of_store_has_its_own_request() {
    let request = |format| store::request(&control(format));
    let raw = request("raw");
    assert_eq!((raw.method, raw.path.as_str(), raw.body), ("GET", "/sluice/drain", None));
    let consul = request("consul");
    assert_eq!((consul.method, consul.path.as_str()), ("GET", "/v1/kv/sluice/drain?raw=true"));
    let etcd = request("etcd-v3");
    assert_eq!((etcd.method, etcd.path.as_str()), ("POST", "/v3/kv/range"));
    assert_eq!(etcd.body.as_deref(), Some(r#"{"key":"c2x1aWNlL2RyYWlu"}"#));
    assert_eq!(&*control("raw").authority, "sluice", "servers refuse a | in a host");
}

#[test]
fn a_response_is_a_drain_or_a_missing_key_or_an_error() {
    let drain = br#"{"epoch":7,"mode":"terminate"}"#;
    // A response of etcd 3.4, with a shorter header.
    let etcd = br#"{"header":{"revision":"3"},"kvs":[{"key":"c2x1aWNlL2RyYWlu","version":"1","value":"eyJlcG9jaCI6NywibW9kZSI6InRlcm1pbmF0ZSJ9"}],"count":"1"}"#;
    for (format, body) in
        [(StoreFormat::Raw, &drain[..]), (StoreFormat::Consul, drain), (StoreFormat::EtcdV3, etcd)]
    {
        let command = store::parse_response(format, 200, body)
            .unwrap_or_else(|error| panic!("{error}"))
            .expect("a key");
        assert_eq!(command.epoch.map(|epoch| epoch.value()), Some(7));
    }
    assert_eq!(store::parse_response(StoreFormat::Raw, 404, b"not here"), Ok(None));
    assert_eq!(store::parse_response(StoreFormat::Consul, 404, b""), Ok(None));
    assert_eq!(
        store::parse_response(StoreFormat::EtcdV3, 200, br#"{"header":{"revision":"3"}}"#),
        Ok(None)
    );
    assert_eq!(store::parse_response(StoreFormat::EtcdV3, 200, b"{}"), Err(StoreError::Format));
    assert_eq!(store::parse_response(StoreFormat::EtcdV3, 404, b""), Err(StoreError::Status(404)));
    assert_eq!(
        store::parse_response(StoreFormat::EtcdV3, 200, br#"{"header":{},"kvs":[{"value":"%%"}]}"#),
        Err(StoreError::Format)
    );
    assert_eq!(
        store::parse_response(StoreFormat::Raw, 503, b"no healthy upstream"),
        Err(StoreError::Status(503))
    );
    let message = |body: &[u8]| {
        store::parse_response(StoreFormat::Raw, 200, body)
            .expect_err("an invalid record")
            .to_string()
    };
    assert_eq!(
        message(br#"{"mode":"off"}"#),
        "invalid drain record: epoch: missing; expected a whole number from 1 to 2^53 - 1"
    );
    assert_eq!(
        message(br#"{"epoch":1,"mode":"sleep"}"#),
        r#"invalid drain record: mode: found "sleep", expected one of reload, terminate, rebalance, off"#
    );
    assert_eq!(
        message(br#"{"epoch":18446744073709551615,"mode":"off"}"#),
        "invalid drain record: epoch: found 18446744073709551615, expected a whole number from 1 to 2^53 - 1"
    );
    assert_eq!(
        message(br#"{"epoch":1,"mode":"reload","window":"8760h"}"#),
        r#"invalid drain record: window: found "8760h", expected a duration from 0s to 24h"#
    );
    for at_once in [r#""window":"0s""#, r#""window_ms":0"#] {
        let body = format!(r#"{{"epoch":1,"mode":"reload",{at_once}}}"#);
        let command = store::parse_response(StoreFormat::Raw, 200, body.as_bytes());
        let window_ms = command.ok().flatten().and_then(|command| command.window_ms);
        assert_eq!(window_ms, Some(0), "{at_once}");
    }
}

/// Polls when a poll is due, for `until_ms`; `state` is the result of a poll at that time. Returns
/// the times of the polls and the reported states.
fn polls(until_ms: u64, state: impl Fn(u64) -> KeyState) -> (Vec<u64>, Vec<String>) {
    let control = control("raw");
    let mut poller = Poller::default();
    let (mut moments, mut lines) = (Vec::new(), Vec::new());
    for now in (1_000_000..1_000_000 + until_ms).step_by(10) {
        if poller.poll(&control, now) == Due::Now {
            let at = now - 1_000_000;
            moments.push(at);
            let state = state(at);
            if poller.on_response(&control, &state, 77) {
                lines.push(state.describe(&control));
            }
        }
    }
    (moments, lines)
}

#[test]
fn a_working_store_is_polled_at_the_interval_without_reports() {
    let (moments, lines) = polls(5_000, |_| KeyState::InForce(7));
    assert_eq!(moments, [0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(lines, [""; 0]);
}

#[test]
fn a_failing_store_is_polled_less_often_and_each_change_is_reported_once() {
    let outage = 10_000..200_000;
    let (moments, lines) = polls(300_000, |now| match now {
        now if outage.contains(&now) && now % 40 == 0 => KeyState::Failed(StoreError::Status(503)),
        now if outage.contains(&now) => KeyState::Failed(StoreError::Status(504)),
        _ => KeyState::InForce(7),
    });
    let during = moments.iter().filter(|now| outage.contains(now)).count();
    assert!((8..=16).contains(&during), "{during} polls in 190 s");
    let gap = moments.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(gap.is_some_and(|gap| gap <= 30_010), "{gap:?}");
    assert_eq!(
        moments.last(),
        Some(&(moments[moments.len() - 2] + 1_000)),
        "it recovers by itself"
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("control store outbound|2379||etcd, key sluice/drain: the store responded with status 50"), "{lines:?}");
    assert!(lines[1].ends_with("epoch 7 is in force"));
}

#[test]
fn a_key_that_is_deleted_or_falls_behind_is_reported_once() {
    let (_, lines) = polls(10_000, |now| match now {
        0..2_000 => KeyState::InForce(7),
        2_000..5_000 => KeyState::Missing,
        5_000..7_000 => KeyState::Lower(6),
        _ => KeyState::Conflicting(7),
    });
    let ends = [
        "no such key; the last drain stays in force",
        "epoch 6 is lower than the one in force, which stays in force",
        "epoch 7 is in force with other settings, which stay in force; raise the epoch",
    ];
    assert_eq!(lines.len(), ends.len(), "{lines:?}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
}

#[test]
fn a_poll_without_a_response_expires() {
    let control = control("raw");
    let mut poller = Poller::default();
    assert_eq!(poller.poll(&control, 1_000), Due::Now);
    assert_eq!(poller.poll(&control, 6_000), Due::No);
    assert_eq!(poller.poll(&control, 7_000), Due::Overdue);
    poller.interrupt();
    assert_eq!(poller.poll(&control, 7_000), Due::Now, "the plugin that polled is gone");
}

#[test]
fn a_clock_that_jumps_delays_a_poll_by_one_pause_at_most() {
    let control = control("raw");
    for jump in [0, 500_000, 2_000_000, 900_000_000] {
        let mut poller = Poller::default();
        assert_eq!(poller.poll(&control, 1_000_000), Due::Now);
        poller.on_response(&control, &KeyState::Missing, 1);
        let due =
            (jump..jump + 61_000).step_by(250).find(|now| poller.poll(&control, *now) == Due::Now);
        assert!(due.is_some(), "after a jump to {jump}");
    }
}

proptest! {
    #[test]
    fn any_response_is_a_drain_or_a_missing_key_or_an_error(body in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}", status in 0..700_u16) {
        for format in [StoreFormat::Raw, StoreFormat::Consul, StoreFormat::EtcdV3] {
            let _ = store::parse_response(format, status, &body);
            let _ = store::parse_response(format, status, text.as_bytes());
        }
    }
}
