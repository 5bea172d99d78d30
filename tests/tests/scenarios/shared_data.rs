//! Shared data belongs to everybody with the same VM id: what stands under the drain's key may be anything, at any time.

use sluice_sim::replay::Report;

use super::simulator::{options, replayed};

const CONFIGURATION: &str = r#"{"version":1,"drain":{"refresh":"250ms"}}"#;

/// What is no drain record, as a trace writes it.
const RUBBISH: [&str; 24] = [
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

fn holds(text: &str, workers: u32) {
    replayed(text, &options(CONFIGURATION, workers, 1), |report| {
        assert_eq!(report.traps, 0, "{text}");
        let failures: Vec<_> = report.failures().collect();
        assert!(
            failures.is_empty(),
            "{failures:#?}\nwith {workers} workers in\n{text}{}",
            log(report)
        );
    });
}

fn log(report: &Report<'_>) -> String {
    report.log.iter().map(|line| format!("{:?} {}\n", line.at, line.text)).collect()
}

#[test]
fn rubbish_closes_nothing_and_is_counted() {
    for value in RUBBISH {
        for workers in [1, 3] {
            let text = [
                request("0s", "a", false),
                request("0s", "b", false),
                write("1s", value),
                request("2s", "a", false),
                request("3s", "b", false),
                // Nobody knows better, so it stays there; each worker counts it once, not on every tick.
                metric("4s", "sluice.drain.stale", workers.into()),
                metric("5s", "sluice.drain.epoch", 0),
                request("6s", "a", false),
            ];
            holds(&text.concat(), workers);
        }
    }
}

#[test]
fn a_drain_survives_rubbish_over_its_record() {
    for value in RUBBISH {
        for workers in [1, 3] {
            let text = [
                request("0s", "a", false),
                request("0s", "b", false),
                request("0s", "c", false),
                write("1s", r#"{"epoch":5,"mode":"reload","started_ms":1000,"window_ms":0}"#),
                request("2s", "a", true),
                write("3s", value),
                // The first worker that sees it counts it and puts the record back before another one looks.
                metric("4s", "sluice.drain.stale", 1),
                metric("4s", "sluice.drain.epoch", 5),
                request("5s", "b", true),
                request("5s", "a", false),
                // What was put back is the record: a lower epoch loses against it, a higher one wins.
                write("6s", r#"{"epoch":4,"mode":"terminate","started_ms":6000}"#),
                request("7s", "a", false),
                metric("7s", "sluice.drain.stale", 2),
                request("8s", "c", true),
                write("9s", r#"{"epoch":6,"mode":"terminate","started_ms":9000}"#),
                request("10s", "a", true),
                metric("11s", "sluice.drain.epoch", 6),
            ];
            holds(&text.concat(), workers);
        }
    }
}

/// An empty value is how a plugin erases a key; there is nothing to count, only something to put back.
#[test]
fn an_erased_record_is_put_back() {
    let text = [
        request("0s", "a", false),
        write("1s", r#"{"epoch":5,"mode":"terminate","started_ms":1000}"#),
        request("2s", "a", true),
        write("3s", r#""""#),
        request("4s", "b", true),
        write("5s", r#"{"epoch":4,"mode":"off","started_ms":5000}"#),
        request("6s", "c", true),
        metric("6s", "sluice.drain.stale", 1),
    ];
    holds(&text.concat(), 2);
}

#[test]
fn a_lower_epoch_and_the_same_epoch_again_change_nothing() {
    let text = [
        request("0s", "a", false),
        request("0s", "b", false),
        write("1s", r#"{"epoch":5,"mode":"reload","started_ms":1000,"window_ms":60000}"#),
        metric("2s", "sluice.drain.epoch", 5),
        // Somebody repeats the epoch, later and at once for everybody: the first start stays.
        write("2s", r#"{"epoch":5,"mode":"terminate","started_ms":2000}"#),
        request("3s", "new", false),
        write("4s", r#"{"epoch":1,"mode":"terminate","started_ms":4000}"#),
        request("5s", "new", false),
        metric("6s", "sluice.drain.stale", 1),
        request("61s", "a", true),
        request("61s", "b", true),
        request("62s", "new", false),
    ];
    for workers in [1, 2, 4] {
        holds(&text.concat(), workers);
    }
}

#[test]
fn mode_off_ends_a_drain() {
    let text = [
        request("0s", "a", false),
        request("0s", "b", false),
        write("1s", r#"{"epoch":5,"mode":"terminate","started_ms":1000}"#),
        request("2s", "a", true),
        write("3s", r#"{"epoch":6,"mode":"off","started_ms":3000}"#),
        request("4s", "a", false),
        request("4s", "b", false),
        metric("5s", "sluice.drain.epoch", 6),
    ];
    holds(&text.concat(), 2);
}

/// A record with fields of a later version is a record.
#[test]
fn unknown_fields_of_a_record_are_ignored() {
    let text = [
        request("0s", "a", false),
        write(
            "1s",
            r#"{"epoch":5,"mode":"reload","started_ms":1000,"by":"deploy 812","zones":["a"]}"#,
        ),
        request("2s", "a", true),
        metric("3s", "sluice.drain.stale", 0),
    ];
    holds(&text.concat(), 2);
}

/// Other keys are none of the filter's business, and the watermark is only a hint.
#[test]
fn rubbish_under_other_keys_is_ignored() {
    for key in ["sluice.drain.watermark", "somebody.else"] {
        for value in RUBBISH {
            let text = [
                request("0s", "a", false),
                write("1s", value).replace("\"sluice.drain\"", &format!("{key:?}")),
                write("2s", r#"{"epoch":5,"mode":"reload","started_ms":2000,"window_ms":0}"#),
                request("3s", "a", true),
                request("4s", "a", false),
                metric("5s", "sluice.drain.stale", 0),
            ];
            holds(&text.concat(), 2);
        }
    }
}
