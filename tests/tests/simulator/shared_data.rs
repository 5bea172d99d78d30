//! All plugins with the same VM id can write shared data, so the key of the drain record can
//! contain any value at any time.

use sluice_sim::replay::Report;

use super::replays::{options, replayed};

const CONFIGURATION: &str = r#"{"version":1,"drain":{"refresh":"250ms"}}"#;

/// Values that are not drain records.
const INVALID: [&str; 24] = [
    r#""   ""#,
    r#""drain""#,
    r#""\u0000\u0001\u0002""#,
    r#""ünïcödé 🙂""#,
    r#""{""#,
    r#""{\"epoch\":9""#,
    r#""[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[""#,
    "null",
    "true",
    "42",
    "[]",
    "{}",
    r#"[{"epoch":9,"mode":"reload","started_ms":0}]"#,
    r#"{"epoch":9}"#,
    r#"{"epoch":9,"mode":"reload"}"#,
    r#"{"epoch":"9","mode":"reload","started_ms":0}"#,
    r#"{"epoch":-9,"mode":"reload","started_ms":0}"#,
    r#"{"epoch":9.5,"mode":"reload","started_ms":0}"#,
    r#"{"epoch":18446744073709551615,"mode":"reload","started_ms":0}"#,
    r#"{"epoch":9,"mode":"RELOAD","started_ms":0}"#,
    r#"{"epoch":9,"mode":"reload","started_ms":-1}"#,
    r#"{"epoch":9,"mode":"reload","started_ms":0,"window_ms":1e300}"#,
    r#"{"epoch":9,"mode":"rebalance","started_ms":0}"#,
    r#"{"epoch":9,"epoch":9,"mode":"reload","started_ms":0}"#,
];

fn write(at: &str, value: &str) -> String {
    format!("{{\"at\":\"{at}\",\"shared_data\":{{\"key\":\"sluice.drain\",\"value\":{value}}}}}\n")
}

fn request(at: &str, connection: &str, closed: bool) -> String {
    format!(
        "{{\"at\":\"{at}\",\"connection\":\"{connection}\",\"request\":{{}},\
         \"expect\":{{\"status\":200,\"closed\":{closed}}}}}\n"
    )
}

fn metric(at: &str, name: &str, value: u64) -> String {
    format!("{{\"at\":\"{at}\",\"metrics\":{{\"{name}\":{value}}}}}\n")
}

fn assert_holds(text: &str, workers: u32) {
    replayed(text, &options(CONFIGURATION, workers, 1), |report| {
        assert_eq!(report.traps.len(), 0, "{text}");
        let failures: Vec<_> = report.failures().collect();
        assert!(
            failures.is_empty(),
            "{failures:#?}\nwith {workers} workers in\n{text}{}",
            log(report)
        );
    });
}

fn log(report: &Report) -> String {
    report.log.iter().map(|line| format!("{:?} {}\n", line.at, line.text)).collect()
}

#[test]
fn invalid_record_closes_nothing_and_is_counted() {
    for value in INVALID {
        for workers in [1, 3] {
            let text = [
                request("0s", "a", false),
                request("0s", "b", false),
                write("1s", value),
                request("2s", "a", false),
                request("3s", "b", false),
                // No worker has a valid record, so the value stays. Each worker counts it once, not
                // on each tick.
                metric("4s", "sluice.drain.stale", workers.into()),
                metric("5s", "sluice.drain.epoch", 0),
                request("6s", "a", false),
            ];
            assert_holds(&text.concat(), workers);
        }
    }
}

#[test]
fn drain_continues_if_its_record_is_overwritten() {
    for value in INVALID {
        for workers in [1, 3] {
            let text = [
                request("0s", "a", false),
                request("0s", "b", false),
                request("0s", "c", false),
                write(
                    "1s",
                    r#"{"epoch":5,"mode":"reload","started_ms":1767225601000,"window_ms":0}"#,
                ),
                request("2s", "a", true),
                write("3s", value),
                // The first worker that reads the value counts it and restores the record.
                metric("4s", "sluice.drain.stale", 1),
                metric("4s", "sluice.drain.epoch", 5),
                request("5s", "b", true),
                request("5s", "a", false),
                // The restored record is replaced by a higher epoch, not by a lower one.
                write("6s", r#"{"epoch":4,"mode":"terminate","started_ms":1767225606000}"#),
                request("7s", "a", false),
                metric("7s", "sluice.drain.stale", 2),
                request("8s", "c", true),
                write("9s", r#"{"epoch":6,"mode":"terminate","started_ms":1767225609000}"#),
                request("10s", "a", true),
                metric("11s", "sluice.drain.epoch", 6),
            ];
            assert_holds(&text.concat(), workers);
        }
    }
}

/// A plugin erases a key by writing an empty value, which is not counted as invalid.
#[test]
fn erased_record_is_restored() {
    let text = [
        request("0s", "a", false),
        write("1s", r#"{"epoch":5,"mode":"terminate","started_ms":1767225601000}"#),
        request("2s", "a", true),
        write("3s", r#""""#),
        request("4s", "b", true),
        write("5s", r#"{"epoch":4,"mode":"off","started_ms":1767225605000}"#),
        request("6s", "c", true),
        metric("6s", "sluice.drain.stale", 1),
    ];
    assert_holds(&text.concat(), 2);
}

#[test]
fn lower_and_repeated_epochs_change_nothing() {
    let text = [
        request("0s", "a", false),
        request("0s", "b", false),
        write("1s", r#"{"epoch":5,"mode":"reload","started_ms":1767225601000,"window_ms":60000}"#),
        metric("2s", "sluice.drain.epoch", 5),
        // The same epoch with another mode and a later start: the first record stays.
        write("2s", r#"{"epoch":5,"mode":"terminate","started_ms":1767225602000}"#),
        request("3s", "new", false),
        write("4s", r#"{"epoch":1,"mode":"terminate","started_ms":1767225604000}"#),
        request("5s", "new", false),
        metric("6s", "sluice.drain.stale", 1),
        request("61s", "a", true),
        request("61s", "b", true),
        request("62s", "new", false),
    ];
    for workers in [1, 2, 4] {
        assert_holds(&text.concat(), workers);
    }
}

#[test]
fn mode_off_ends_a_drain() {
    let text = [
        request("0s", "a", false),
        request("0s", "b", false),
        write("1s", r#"{"epoch":5,"mode":"terminate","started_ms":1767225601000}"#),
        request("2s", "a", true),
        write("3s", r#"{"epoch":6,"mode":"off","started_ms":1767225603000}"#),
        request("4s", "a", false),
        request("4s", "b", false),
        metric("5s", "sluice.drain.epoch", 6),
    ];
    assert_holds(&text.concat(), 2);
}

/// A later version may add fields.
#[test]
fn unknown_fields_of_a_record_are_ignored() {
    let text = [
        request("0s", "a", false),
        write(
            "1s",
            r#"{"epoch":5,"mode":"reload","started_ms":1767225601000,"by":"deploy 812","zones":["a"]}"#,
        ),
        request("2s", "a", true),
        metric("3s", "sluice.drain.stale", 0),
    ];
    assert_holds(&text.concat(), 2);
}

/// The filter does not read other keys, and the watermark is only a hint.
#[test]
fn invalid_values_of_other_keys_are_ignored() {
    for key in ["sluice.drain.watermark", "another.plugin"] {
        for value in INVALID {
            let text = [
                request("0s", "a", false),
                write("1s", value).replace("\"sluice.drain\"", &format!("{key:?}")),
                write(
                    "2s",
                    r#"{"epoch":5,"mode":"reload","started_ms":1767225602000,"window_ms":0}"#,
                ),
                request("3s", "a", true),
                request("4s", "a", false),
                metric("5s", "sluice.drain.stale", 0),
            ];
            assert_holds(&text.concat(), 2);
        }
    }
}
