//! Drains: the record with any interleaving of writers, the spread over the window, which
//! connections close.

use proptest::prelude::*;
use sluice_filter::config::DrainMode;
use sluice_filter::drain::{Command, DrainView, EpochOrdering, Record, RecordError, epoch, spread};

/// Shared data of a proxy-wasm host: every write changes the number, and number 0 writes
/// unconditionally.
#[derive(Default)]
struct Shared {
    value: Option<Vec<u8>>,
    cas: u32,
}

impl Shared {
    fn read(&self) -> (Option<Vec<u8>>, u32) {
        (self.value.clone(), if self.value.is_some() { self.cas } else { 0 })
    }

    fn write(&mut self, json: &str, cas: u32) -> bool {
        let free = cas == 0 || cas == self.cas;
        if free {
            self.value = Some(json.as_bytes().to_vec());
            self.cas += 1;
        }
        free
    }
}

fn record(epoch: u64, mode: &str, started_ms: u64, window_ms: u64, more: &str) -> Record {
    let json = format!(
        r#"{{"epoch":{epoch},"mode":"{mode}","started_ms":{started_ms},"window_ms":{window_ms}{more}}}"#
    );
    Record::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// The view of a worker that saw connections up to `newest` before it learned `record`.
fn view(newest: u64, record: &Record) -> DrainView {
    let mut view = DrainView::default();
    view.observe_connection(newest);
    assert!(view.merge(Some(record.to_json().as_bytes()), record.started_ms).learned);
    view
}

fn closes(view: &DrainView, connection: u64, now_ms: u64) -> bool {
    view.closes(connection, None, || Some(now_ms))
}

#[test]
fn a_record_survives_writing_and_parsing() {
    let records = [
        r#"{"epoch":7,"mode":"reload","started_ms":1000,"window_ms":30000,"routes":["api","logs-2"]}"#,
        r#"{"epoch":9007199254740991,"mode":"rebalance","started_ms":0,"window_ms":1,"percent":25}"#,
        r#"{"epoch":1,"mode":"off","started_ms":5,"window_ms":0}"#,
    ];
    for json in records {
        assert_eq!(
            Record::parse(json.as_bytes()).map(|record| record.to_json()),
            Ok(json.to_owned())
        );
    }
}

#[test]
fn unknown_fields_of_a_newer_version_are_ignored() {
    let json = r#"{"epoch":7,"mode":"terminate","started_ms":1,"by":{"store":["etcd"]}}"#;
    assert_eq!(Record::parse(json.as_bytes()).map(|record| record.window_ms), Ok(0));
}

#[test]
fn an_invalid_record_is_refused_with_its_place() {
    let cases = [
        ("", "the drain record is not valid JSON at line 1, column 0: EOF while parsing a value"),
        ("7", "invalid drain record: configuration: found 7, expected an object"),
        (
            r#"{"mode":"reload","started_ms":1}"#,
            "invalid drain record: epoch: missing, expected a whole number from 1 to 2^53 - 1",
        ),
        (
            r#"{"epoch":7,"epoch":8,"mode":"reload","started_ms":1}"#,
            "invalid drain record: epoch: found twice in one object, expected once",
        ),
        (
            r#"{"epoch":7,"mode":"reload"}"#,
            "invalid drain record: started_ms: missing, expected milliseconds since 1970 from 0 to 2^53 - 1",
        ),
        (
            r#"{"epoch":7,"mode":"sleep","started_ms":1}"#,
            r#"invalid drain record: mode: found "sleep", expected one of reload, terminate, rebalance, off"#,
        ),
        (
            r#"{"epoch":7,"mode":"rebalance","started_ms":1}"#,
            "invalid drain record: percent: missing, expected a whole number from 1 to 100",
        ),
        (
            r#"{"epoch":7,"mode":"reload","started_ms":1,"window_ms":86400001}"#,
            "invalid drain record: window_ms: found 86400001, expected 0 to 86400000 milliseconds (a day)",
        ),
        (
            r#"{"epoch":7,"mode":"reload","started_ms":1,"routes":[]}"#,
            "invalid drain record: routes: found an empty array, expected an array with at least one item",
        ),
    ];
    for (json, message) in cases {
        assert_eq!(
            Record::parse(json.as_bytes()).map_err(|error| error.to_string()),
            Err(message.into())
        );
    }
    assert_eq!(Record::parse(b"\xff"), Err(RecordError::NotUtf8));
    assert_eq!(Record::parse(&vec![b' '; 1 << 21]), Err(RecordError::TooLarge { found: 1 << 21 }));
}

#[test]
fn a_lower_epoch_or_an_invalid_record_is_reported_once_and_replaced() {
    let mut worker = view(10, &record(7, "reload", 1000, 0, ""));
    let ours = worker.record().map(Record::to_json);
    for ignored in ["nonsense", r#"{"epoch":6,"mode":"off","started_ms":9}"#] {
        let first = worker.merge(Some(ignored.as_bytes()), 1100);
        assert_eq!((first.ignored, first.learned, &first.write), (true, false, &ours));
        let again = worker.merge(Some(ignored.as_bytes()), 1200);
        assert_eq!(
            (again.ignored, &again.write),
            (false, &ours),
            "the write failed, and is repeated"
        );
    }
    assert_eq!(worker.merge(None, 1300).write, ours, "the record was removed");
    assert_eq!(worker.record().map(|record| record.epoch), Some(7));
}

#[test]
fn a_view_without_a_record_writes_nothing() {
    let mut worker = DrainView::default();
    assert_eq!(worker.merge(None, 1).write, None);
    let merge = worker.merge(Some(b"nonsense"), 2);
    assert_eq!((merge.ignored, merge.write), (true, None));
}

#[test]
fn the_same_epoch_again_changes_nothing() {
    let first = record(7, "reload", 1000, 0, "");
    let mut worker = view(10, &first);
    worker.observe_connection(20);
    assert_eq!(worker.compare(&record(7, "terminate", 2000, 0, "")), EpochOrdering::Conflicting);
    assert_eq!(worker.compare(&record(7, "reload", 2000, 0, "")), EpochOrdering::Same);
    let again = record(7, "reload", 2000, 0, "").to_json();
    assert!(!worker.merge(Some(again.as_bytes()), 2100).learned);
    assert_eq!(worker.record(), Some(&first));
    assert!(!closes(&worker, 20, 5000), "connections since then are still new");
}

#[test]
fn a_later_start_of_the_same_epoch_is_corrected_without_a_report() {
    let mut worker = view(10, &record(7, "reload", 1000, 0, ""));
    let later = record(7, "reload", 1001, 0, "").to_json();
    let merge = worker.merge(Some(later.as_bytes()), 1100);
    assert_eq!((merge.ignored, merge.write), (false, worker.record().map(Record::to_json)));
}

#[test]
fn a_drain_that_was_overwritten_is_written_again() {
    let mut worker = DrainView::default();
    let stored = record(6, "reload", 500, 0, "").to_json();
    worker.merge(Some(stored.as_bytes()), 900);
    let wanted = record(7, "reload", 1000, 0, "");
    assert_eq!(worker.compare(&wanted), EpochOrdering::Higher);
    assert!(worker.record_written(wanted.clone()).learned);
    let merge = worker.merge(Some(stored.as_bytes()), 1250);
    assert_eq!((merge.ignored, merge.write), (false, Some(wanted.to_json())));
}

#[test]
fn settings_do_not_change_the_order_of_epochs() {
    let worker = view(10, &record(7, "reload", 1000, 0, ""));
    assert_eq!(worker.compare(&record(6, "terminate", 2000, 0, "")), EpochOrdering::Lower);
    assert_eq!(worker.compare(&record(6, "reload", 1000, 0, "")), EpochOrdering::Lower);
}

#[test]
fn a_command_gets_its_epoch_start_and_window_when_it_is_applied() {
    let command =
        |json: &str| Command::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let json = |command: Command, in_force| {
        Record::from_command(&command, in_force, 5_000).map(|record| record.to_json())
    };
    let cases = [
        (
            r#"{"mode":"reload"}"#,
            7,
            r#"{"epoch":8,"mode":"reload","started_ms":5000,"window_ms":30000}"#,
        ),
        (
            r#"{"mode":"terminate"}"#,
            0,
            r#"{"epoch":1,"mode":"terminate","started_ms":5000,"window_ms":0}"#,
        ),
        (
            r#"{"epoch":3,"mode":"rebalance","percent":33,"window":"1m30s","routes":["api"]}"#,
            7,
            r#"{"epoch":3,"mode":"rebalance","started_ms":5000,"window_ms":90000,"percent":33,"routes":["api"]}"#,
        ),
        (
            r#"{"epoch":9,"mode":"off","started_ms":4,"window_ms":0}"#,
            7,
            r#"{"epoch":9,"mode":"off","started_ms":4,"window_ms":0}"#,
        ),
    ];
    for (written, known, expected) in cases {
        assert_eq!(json(command(written), known).as_deref(), Ok(expected));
    }
}

/// 2026-01-01 in milliseconds.
const NOW_MS: u64 = 1_767_225_600_000;

#[test]
fn an_epoch_that_leaves_no_room_for_others_is_refused() {
    let epoch_at = |epoch: u64, in_force: u64, now_ms: u64| {
        let json = format!(r#"{{"epoch":{epoch},"mode":"terminate"}}"#);
        let command = Command::parse(json.as_bytes()).expect("a command");
        Record::from_command(&command, in_force, now_ms).map(|record| record.epoch)
    };
    let last = 9_007_199_254_740_991;
    for usual in [1, 4711, NOW_MS / 1000, NOW_MS, NOW_MS * 1000] {
        assert_eq!(epoch_at(usual, 0, NOW_MS), Ok(usual), "counters and timestamps are accepted");
    }
    let error = epoch_at(last, 7, NOW_MS).expect_err("too high");
    assert_eq!((error.epoch, error.highest), (last, epoch::highest(NOW_MS)));
    // A host whose clock starts at 1970 accepts counters and timestamps in milliseconds.
    assert_eq!(epoch_at(NOW_MS, 0, 0), Ok(NOW_MS));
    assert_eq!(epoch_at(error.highest, 7, NOW_MS), Ok(error.highest));
    assert!(epoch_at(error.highest + 1, 7, NOW_MS).is_err());
    // The highest accepted epoch does not prevent the next one, even if the clock is set back.
    let next = Command::parse(br#"{"mode":"off"}"#).expect("a command");
    for now_ms in [0, NOW_MS, NOW_MS + 1] {
        let record = Record::from_command(&next, error.highest, now_ms);
        assert_eq!(record.map(|record| record.epoch), Ok(error.highest + 1));
    }
    assert!(Record::from_command(&next, last, NOW_MS).is_err(), "JSON has no such number");
    assert!(Record::from_command(&next, u64::MAX, NOW_MS).is_err());
}

#[test]
fn a_shared_record_with_too_high_an_epoch_is_ignored_and_replaced() {
    let mut worker = view(10, &record(7, "reload", NOW_MS, 0, ""));
    let ours = worker.record().map(Record::to_json);
    let poison = r#"{"epoch":9007199254740991,"mode":"terminate","started_ms":0}"#;
    let merge = worker.merge(Some(poison.as_bytes()), NOW_MS);
    assert_eq!((merge.ignored, merge.learned, &merge.write), (true, false, &ours));
    let error = merge.error.expect("an error").to_string();
    assert!(
        error.starts_with("the drain record is ignored: epoch 9007199254740991 is too high"),
        "{error}"
    );
    assert_eq!(worker.record().map(Record::to_json), ours);
    let mut new = DrainView::default();
    assert_eq!(new.merge(Some(poison.as_bytes()), NOW_MS).write, None);
    assert!(new.record().is_none());
}

#[test]
fn a_record_of_a_newer_version_is_followed_and_not_rewritten() {
    let newer = br#"{"epoch":8,"mode":"reload","started_ms":1000,"window_ms":0,"by":"etcd"}"#;
    let mut worker = view(10, &record(7, "reload", 1000, 0, ""));
    let merge = worker.merge(Some(newer), 1000);
    assert_eq!((merge.learned, merge.write), (true, None));
    assert_eq!(worker.merge(Some(newer), 1250).write, None);
}

#[test]
fn a_terminate_fails_health_checks_and_closes_from_its_start_on() {
    let mut worker = DrainView::default();
    worker.observe_connection(10);
    let later = record(7, "terminate", NOW_MS + 5_000, 0, "").to_json();
    assert!(worker.merge(Some(later.as_bytes()), NOW_MS).learned);
    for (now, started) in [(NOW_MS, false), (NOW_MS + 4_999, false), (NOW_MS + 5_000, true)] {
        assert_eq!(closes(&worker, 10, now), started);
        assert_eq!(worker.is_terminating(|| Some(now)), started, "both at the same time");
    }
    assert!(!worker.is_terminating(|| None));
    worker.merge(None, NOW_MS + 5_000);
    assert!(worker.is_terminating(|| panic!("the clock was read")));
}

#[test]
fn an_unknown_field_is_refused_from_an_operator_and_ignored_from_a_store() {
    let json = br#"{"epoch":7,"mode":"terminate","widow":"20s"}"#;
    assert!(Command::parse(json).is_ok());
    let error = Command::parse_strict(json).map_err(|error| error.to_string());
    assert!(
        error.is_err_and(|error| {
            error.starts_with("invalid drain record: widow: unknown field")
        })
    );
    assert!(Command::parse(br#"{"epoch":7,"mode":"reload","percent":5}"#).is_err());
}

#[test]
fn a_query_and_a_body_parse_to_the_same_command() {
    let cases = [
        ("mode=terminate&window=20s", r#"{"mode":"terminate","window":"20s"}"#),
        ("epoch=9&mode=rebalance&percent=33", r#"{"epoch":9,"mode":"rebalance","percent":33}"#),
        ("mode=reload&routes=api%2Clogs%2D2", r#"{"mode":"reload","routes":["api","logs-2"]}"#),
        ("mode=reload&routes=api,logs-2&", r#"{"mode":"reload","routes":["api","logs-2"]}"#),
    ];
    for (query, body) in cases {
        let read = Command::from_query(query);
        assert!(read.is_ok(), "{query}: {read:?}");
        assert_eq!(read, Command::parse(body.as_bytes()));
        let written = read.as_ref().map(Command::to_query).unwrap_or_default();
        assert_eq!(Command::from_query(&written), read, "{written}");
    }
    let wrong = [
        ("window=20s", "mode: missing, expected one of reload terminate rebalance off"),
        (
            "mode=terminate&window=20",
            r#"window: found 20, expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        ("mode=terminate&mode=off", "mode: found twice in one object, expected once"),
        (
            "mode=terminate&route=api",
            "route: unknown field, expected one of epoch, mode, started_ms, window, window_ms, percent, routes",
        ),
        (
            "mode=reload&percent=5",
            "percent: found without the mode rebalance, the only one with a percentage; remove it",
        ),
        (
            "mode=reload&window=1s&window_ms=5",
            "window_ms: set together with window; expected only one of them",
        ),
        ("mode=reload&routes=", r#"routes[0]: found "", expected 1 to 64 letters"#),
    ];
    for (query, message) in wrong {
        let error = Command::from_query(query).map_err(|error| error.to_string());
        let expected = format!("invalid drain record: {message}");
        assert!(
            error.clone().is_err_and(|error| error.starts_with(&expected)),
            "{query}: {error:?}"
        );
    }
}

#[test]
fn a_reload_closes_old_connections_only() {
    let worker = view(10, &record(7, "reload", 1000, 0, ""));
    assert!(closes(&worker, 0, 1000) && closes(&worker, 10, 1000));
    assert!(!closes(&worker, 11, 1_000_000));
}

#[test]
fn a_worker_without_connections_closes_none() {
    let mut worker = DrainView::default();
    worker.merge(Some(record(7, "reload", 1000, 0, "").to_json().as_bytes()), 1000);
    assert!(!closes(&worker, 0, 5000));
}

#[test]
fn a_terminate_closes_new_connections_too() {
    let worker = view(10, &record(7, "terminate", 1000, 0, ""));
    assert!(
        closes(&worker, 10, 1000) && closes(&worker, 11, 1000) && worker.is_terminating(|| None)
    );
}

#[test]
fn off_ends_a_drain() {
    let mut worker = view(10, &record(7, "terminate", 1000, 0, ""));
    worker.merge(Some(record(8, "off", 2000, 0, "").to_json().as_bytes()), 2000);
    assert!(!closes(&worker, 10, 3000) && !worker.is_terminating(|| None));
}

#[test]
fn a_drain_of_some_routes_closes_on_their_responses_only() {
    let worker = view(10, &record(7, "reload", 1000, 0, r#","routes":["api"]"#));
    let on = |route: Option<&str>| worker.closes(10, route, || Some(1000));
    assert!(on(Some("api")));
    assert!(!on(Some("logs")) && !on(None));
}

#[test]
fn the_clock_is_read_only_if_the_decision_depends_on_it() {
    let mut worker = view(10, &record(7, "reload", 1000, 500, ""));
    let no_clock = || panic!("the clock was read");
    assert!(!worker.closes(11, None, no_clock), "a new connection has no moment");
    worker.merge(None, 1500);
    assert!(worker.closes(3, None, no_clock), "the window had passed at the last merge");
}

#[test]
fn a_window_far_in_the_future_never_overflows() {
    let worker = view(10, &record(7, "reload", 9_007_199_254_740_991, 86_400_000, ""));
    assert!(!closes(&worker, 3, 9_007_199_254_740_990) && closes(&worker, 3, u64::MAX));
}

#[test]
fn a_new_vm_takes_the_watermark_from_shared_data() {
    let reload = record(7, "reload", 1000, 0, "");
    let mut before = view(1234, &reload);
    let published = before.exchange_watermark(None);
    assert_eq!(published.as_deref(), Some(r#"{"epoch":7,"connection":1234}"#));
    let mut rebuilt = DrainView::default();
    assert!(rebuilt.merge(Some(reload.to_json().as_bytes()), 1100).learned);
    assert_eq!(rebuilt.exchange_watermark(published.as_deref().map(str::as_bytes)), None);
    assert!(closes(&rebuilt, 1234, 1100) && !closes(&rebuilt, 1235, 1100));
}

#[test]
fn the_first_vm_that_learns_an_epoch_decides_which_connections_are_old() {
    let reload = record(7, "reload", 1000, 0, "");
    let mut first = view(40, &reload);
    let published = first.exchange_watermark(None);
    // A connection arrives before the second VM learns the epoch.
    let mut second = view(50, &reload);
    assert!(second.needs_watermark());
    assert_eq!(second.exchange_watermark(published.as_deref().map(str::as_bytes)), None);
    assert!(!second.needs_watermark());
    assert!(closes(&second, 40, 1000) && !closes(&second, 45, 1000));
    assert!(first.needs_watermark(), "another VM may have written since");
    assert_eq!(first.exchange_watermark(published.as_deref().map(str::as_bytes)), None);
    assert!(!first.needs_watermark());
}

#[test]
fn a_process_without_connections_has_no_old_ones_however_often_a_vm_begins() {
    let reload = record(7, "reload", 1000, 0, "");
    let mut first = DrainView::default();
    first.merge(Some(reload.to_json().as_bytes()), 1000);
    let published = first.exchange_watermark(None);
    assert_eq!(published.as_deref(), Some(r#"{"epoch":7,"connection":null}"#));
    let mut later = DrainView::default();
    later.exchange_connections(Some(b"60"));
    later.merge(Some(reload.to_json().as_bytes()), 9000);
    later.exchange_watermark(published.as_deref().map(str::as_bytes));
    assert!(!closes(&later, 50, 9000), "it was opened after the drain began");
}

#[test]
fn a_watermark_of_another_epoch_is_not_adopted() {
    let mut worker = view(50, &record(7, "reload", 1000, 0, ""));
    let ours = Some(r#"{"epoch":7,"connection":50}"#.to_owned());
    assert_eq!(worker.exchange_watermark(Some(br#"{"epoch":6,"connection":40}"#)), ours);
    assert_eq!(worker.exchange_watermark(Some(b"nonsense")), ours);
    assert_eq!(worker.exchange_watermark(Some(br#"{"epoch":8,"connection":90}"#)), None);
    assert!(!closes(&worker, 60, 2000) && worker.needs_watermark());
    let mut new = DrainView::default();
    new.merge(Some(record(7, "reload", 1000, 0, "").to_json().as_bytes()), 1000);
    let adopted = new.exchange_watermark(Some(br#"{"epoch":6,"connection":40}"#));
    assert_eq!(adopted.as_deref(), Some(r#"{"epoch":7,"connection":40}"#), "these are older still");
}

#[test]
fn only_a_higher_connection_is_published() {
    let mut one = DrainView::default();
    assert!(one.observe_connection(7) && one.has_unpublished_connection());
    assert_eq!(one.exchange_connections(None).as_deref(), Some("7"));
    assert!(!one.has_unpublished_connection());
    assert!(!one.observe_connection(7) && !one.observe_connection(3));
    let mut other = DrainView::default();
    assert!(other.observe_connection(5));
    assert_eq!(other.exchange_connections(Some(b"7")), None);
    assert!(!other.observe_connection(6), "the process has a newer one");
    assert!(other.observe_connection(8));
    for foreign in [&b"nonsense"[..], b"-1", b"\xff", b"18446744073709551615", b"[9]"] {
        other.keep_connection_unpublished();
        assert_eq!(other.exchange_connections(Some(foreign)).as_deref(), Some("8"), "{foreign:?}");
    }
}

/// Closes in each tenth of a window.
fn tenths(connections: impl Iterator<Item = u64>, epoch: u64) -> [u32; 10] {
    let mut tenths = [0; 10];
    for connection in connections {
        tenths[(spread::offset_ms(connection, epoch, 30_000) / 3_000) as usize] += 1;
    }
    tenths
}

#[test]
fn closes_are_even_over_the_window_with_any_stride_of_ids() {
    for epoch in [1, 2, 3, 7, 1 << 20, 1 << 52] {
        for stride in [1, 2, 3, 4, 7, 8, 10, 16, 64, 100, 1024, 4096, 1 << 32] {
            for start in [0, 1, 1_000_000] {
                let tenths = tenths((0..10_000).map(|n| start + n * stride), epoch);
                let even = tenths.iter().all(|count| (750..=1250).contains(count));
                assert!(even, "epoch {epoch} stride {stride} start {start}: {tenths:?}");
            }
        }
    }
}

#[test]
fn close_times_of_one_epoch_are_independent_of_the_next() {
    let early = |epoch| move |connection: &u64| spread::offset_ms(*connection, epoch, 1000) < 500;
    let both = (0..10_000).filter(early(7)).filter(early(8)).count();
    assert!((2200..=2800).contains(&both), "{both}");
}

/// VMs with different versions of the module must compute the same moment for a connection.
#[test]
fn the_moment_of_a_connection_never_changes_between_versions() {
    let offsets = [(0, 1), (7, 3), (1000, 9), (u64::MAX, 1 << 52)]
        .map(|(connection, epoch)| spread::offset_ms(connection, epoch, 1_000_000));
    assert_eq!(offsets, [368_189, 908_213, 454_555, 711_321]);
}

#[test]
fn a_rebalance_closes_its_percentage_and_spreads_it_evenly() {
    for percent in [1, 10, 33, 50, 90, 100] {
        for epoch in [1, 2, 9] {
            for stride in [1, 2, 8, 1024] {
                let connections = (0..10_000).map(|n| n * stride);
                let chosen: Vec<u64> =
                    connections.filter(|c| spread::is_chosen(*c, epoch, percent)).collect();
                let share = chosen.len() as f64 / 100.0;
                assert!((share - percent as f64).abs() < 3.0, "{share} of {percent} %");
                if percent >= 33 {
                    let even = chosen.len() as f64 / 10.0;
                    let tenths = tenths(chosen.iter().copied(), epoch);
                    let in_limits = |count: &u32| (f64::from(*count) - even).abs() <= even * 0.25;
                    assert!(tenths.iter().all(in_limits), "{percent} %: {tenths:?}");
                }
            }
        }
    }
}

#[test]
fn a_rebalance_closes_the_same_connections_in_every_worker() {
    let rebalance = record(7, "rebalance", 1000, 0, r#","percent":40"#);
    let (one, other) = (view(9_999, &rebalance), view(9_999, &rebalance));
    let chosen = (0..10_000).filter(|c| closes(&one, *c, 1000)).count();
    assert!((3700..=4300).contains(&chosen), "{chosen}");
    assert!((0..10_000).all(|c| closes(&one, c, 1000) == closes(&other, c, 1000)));
    assert!(
        !closes(&one, 10_000, 1000) && one.record().map(|r| r.mode) == Some(DrainMode::Rebalance)
    );
}

/// A step of one of the writers.
#[derive(Debug, Clone)]
enum Step {
    /// Worker `.0` gets a configuration with epoch `.1`.
    Configure(usize, u64),
    /// Worker `.0` ticks.
    Tick(usize),
    /// Worker `.0` performs its pending write, if its number is still valid.
    Write(usize),
    /// Another program writes this value.
    Foreign(String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let foreign = prop_oneof![
        Just("nonsense".to_owned()),
        (1..9_u64)
            .prop_map(|epoch| format!(r#"{{"epoch":{epoch},"mode":"reload","started_ms":5}}"#)),
    ];
    let step = prop_oneof![
        3 => (0..4_usize, 1..9_u64).prop_map(|(worker, epoch)| Step::Configure(worker, epoch)),
        6 => (0..4_usize).prop_map(Step::Tick),
        6 => (0..4_usize).prop_map(Step::Write),
        1 => foreign.prop_map(Step::Foreign),
    ];
    prop::collection::vec(step, 1..60)
}

/// A pending write, and the record that the worker learns with it.
struct Write {
    json: String,
    cas: u32,
    learns: Option<Record>,
}

fn highest<'r>(known: Option<Record>, more: impl Iterator<Item = &'r Record>) -> Option<Record> {
    known.into_iter().chain(more.cloned()).max_by(Record::precedence)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Several workers read and write in any order, first writes overwrite each other, and other
    /// programs interfere. In the end, all workers have the highest epoch that any of them knew,
    /// with its earliest start.
    #[test]
    fn any_interleaving_of_writers_ends_at_the_highest_epoch(steps in steps()) {
        let mut shared = Shared::default();
        let mut workers: Vec<(DrainView, Option<Write>)> = (0..4).map(|_| Default::default()).collect();
        let mut known: Option<Record> = None;
        let mut now = 10;
        for step in steps {
            now += 1;
            match step {
                Step::Configure(index, epoch) => {
                    let (value, cas) = shared.read();
                    let (worker, write) = &mut workers[index];
                    let merge = worker.merge(value.as_deref(), now);
                    let wanted = record(epoch, "reload", now, 0, "");
                    let is_higher = worker.compare(&wanted) == EpochOrdering::Higher;
                    *write = match merge.write {
                        Some(json) => Some(Write { json, cas, learns: None }),
                        None => is_higher.then(|| Write { json: wanted.to_json(), cas, learns: Some(wanted) }),
                    };
                }
                Step::Tick(index) => {
                    let (value, cas) = shared.read();
                    let (worker, write) = &mut workers[index];
                    let merge = worker.merge(value.as_deref(), now);
                    *write = merge.write.map(|json| Write { json, cas, learns: None });
                }
                Step::Write(index) => {
                    let (worker, write) = &mut workers[index];
                    if let Some(Write { json, cas, learns }) = write.take()
                        && shared.write(&json, cas)
                        && let Some(record) = learns
                    {
                        worker.record_written(record);
                    }
                }
                Step::Foreign(json) => {
                    let cas = shared.cas;
                    shared.write(&json, cas);
                }
            }
            known = highest(known, workers.iter().filter_map(|(worker, _)| worker.record()));
        }
        let stored = shared.value.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        known = highest(known, stored.iter());
        for _ in 0..3 {
            for (worker, _) in &mut workers {
                loop {
                    let (value, cas) = shared.read();
                    let Some(json) = worker.merge(value.as_deref(), now).write else { break };
                    shared.write(&json, cas);
                }
            }
        }
        for (worker, _) in &workers {
            prop_assert_eq!(worker.record(), known.as_ref());
        }
        let stored = shared.value.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        prop_assert_eq!(stored, known);
    }

    /// The epoch of a view never decreases, whatever shared data contains.
    #[test]
    fn the_epoch_of_a_view_never_decreases(values in prop::collection::vec("(\\{\"epoch\":[1-9],\"mode\":\"(reload|off)\",\"started_ms\":[1-9]\\}|[a-z{}:\"]{0,12})", 1..40)) {
        let mut worker = DrainView::default();
        let mut epoch = None;
        for (now, value) in values.iter().enumerate() {
            worker.merge(Some(value.as_bytes()), now as u64);
            let next = worker.record().map(|record| record.epoch);
            prop_assert!(next >= epoch);
            epoch = next;
        }
    }

    /// Clients send requests continuously and reconnect after a close. A drain closes no connection
    /// twice, closes old ones within the window, and new ones never.
    #[test]
    fn each_connection_closes_at_most_once_in_an_epoch(
        seed in any::<u64>(),
        window_ms in 0..5_000_u64,
        epoch in 1..1_000_u64,
        clients in 1..60_usize,
    ) {
        let mut worker = DrainView::default();
        let mut next = 0_u64;
        let mut connections: Vec<u64> = (0..clients).map(|_| { next += 1 + seed % 3; next }).collect();
        let before = connections.clone();
        for connection in &connections {
            worker.observe_connection(*connection);
        }
        let reload = record(epoch, "reload", 1_000, window_ms, "");
        let mut closed = Vec::new();
        for now in (500..8_000).step_by(50) {
            if now >= 1_000 {
                worker.merge(Some(reload.to_json().as_bytes()), now);
            }
            for connection in &mut connections {
                worker.observe_connection(*connection);
                if closes(&worker, *connection, now) {
                    prop_assert!((1_000..=1_050 + window_ms).contains(&now));
                    closed.push(*connection);
                    next += 1;
                    *connection = next;
                }
            }
        }
        closed.sort_unstable();
        prop_assert_eq!(closed, before);
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::parse(&bytes);
        let mut worker = view(10, &record(7, "reload", 1000, 0, ""));
        let _ = worker.exchange_watermark(Some(&bytes));
        let _ = worker.exchange_connections(Some(&bytes));
    }
}
