//! Drains: the record under any interleaving of writers, the spread over the window, and which connections close.

use proptest::prelude::*;
use sluice_filter::config::DrainMode;
use sluice_filter::drain::{Command, Record, RecordError, Standing, Worker, spread};

/// Shared data as a proxy-wasm host keeps it: every write gets a new number, and number 0 writes unconditionally.
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

/// A worker that has seen connections up to `newest` and then learned `record`.
fn worker(newest: u64, record: &Record) -> Worker {
    let mut worker = Worker::default();
    worker.saw(newest);
    assert!(worker.look(Some(record.to_json().as_bytes()), record.started_ms).learned);
    worker
}

fn closes(worker: &Worker, connection: u64, now_ms: u64) -> bool {
    worker.closes(connection, None, || Some(now_ms))
}

#[test]
fn a_record_says_what_it_says_after_writing_and_reading() {
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
fn a_record_of_a_newer_version_is_read_without_what_is_new() {
    let json = r#"{"epoch":7,"mode":"terminate","started_ms":1,"by":{"whom":["etcd"]}}"#;
    assert_eq!(Record::parse(json.as_bytes()).map(|record| record.window_ms), Ok(0));
}

#[test]
fn what_is_no_record_is_refused_with_its_place() {
    let cases = [
        ("", "the drain record is not valid JSON at line 1, column 0: EOF while parsing a value"),
        ("7", "the drain record is wrong at configuration: found 7, expected an object"),
        (
            r#"{"mode":"reload","started_ms":1}"#,
            "the drain record is wrong at epoch: missing; expected a whole number from 1 to 2^53 - 1",
        ),
        (
            r#"{"epoch":7,"epoch":8,"mode":"reload","started_ms":1}"#,
            "the drain record is wrong at epoch: written twice in one object; expected once",
        ),
        (
            r#"{"epoch":7,"mode":"reload"}"#,
            "the drain record is wrong at started_ms: missing; expected milliseconds since 1970 from 0 to 2^53 - 1",
        ),
        (
            r#"{"epoch":7,"mode":"sleep","started_ms":1}"#,
            r#"the drain record is wrong at mode: found "sleep", expected one of reload, terminate, rebalance, off"#,
        ),
        (
            r#"{"epoch":7,"mode":"rebalance","started_ms":1}"#,
            "the drain record is wrong at percent: missing; expected a whole number from 1 to 100",
        ),
        (
            r#"{"epoch":7,"mode":"reload","started_ms":1,"window_ms":86400001}"#,
            "the drain record is wrong at window_ms: 86400001 is out of range; expected 0 to 86400000 milliseconds (a day)",
        ),
        (
            r#"{"epoch":7,"mode":"reload","started_ms":1,"routes":[]}"#,
            "the drain record is wrong at routes: found an empty array, expected an array with at least one item",
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
fn a_lower_epoch_or_no_record_is_told_once_and_replaced() {
    let mut worker = worker(10, &record(7, "reload", 1000, 0, ""));
    let ours = worker.record().map(Record::to_json);
    for stale in ["nonsense", r#"{"epoch":6,"mode":"off","started_ms":9}"#] {
        let first = worker.look(Some(stale.as_bytes()), 1100);
        assert_eq!((first.stale, first.learned, &first.write), (true, false, &ours));
        let again = worker.look(Some(stale.as_bytes()), 1200);
        assert_eq!(
            (again.stale, &again.write),
            (false, &ours),
            "the write was lost, and is repeated"
        );
    }
    assert_eq!(worker.look(None, 1300).write, ours, "somebody removed it");
    assert_eq!(worker.record().map(|record| record.epoch), Some(7));
}

#[test]
fn nothing_is_written_where_nothing_is_known() {
    let mut worker = Worker::default();
    assert_eq!(worker.look(None, 1).write, None);
    let look = worker.look(Some(b"nonsense"), 2);
    assert_eq!((look.stale, look.write), (true, None));
}

#[test]
fn the_same_epoch_again_changes_nothing() {
    let first = record(7, "reload", 1000, 0, "");
    let mut worker = worker(10, &first);
    worker.saw(20);
    assert_eq!(worker.judge(&record(7, "terminate", 2000, 0, "")), Standing::Taken);
    assert_eq!(worker.judge(&record(7, "reload", 2000, 0, "")), Standing::Known);
    let again = record(7, "reload", 2000, 0, "").to_json();
    assert!(!worker.look(Some(again.as_bytes()), 2100).learned);
    assert_eq!(worker.record(), Some(&first));
    assert!(!closes(&worker, 20, 5000), "connections since then are still new");
}

#[test]
fn a_later_start_of_the_same_epoch_is_put_right_and_nobodys_fault() {
    let mut worker = worker(10, &record(7, "reload", 1000, 0, ""));
    let later = record(7, "reload", 1001, 0, "").to_json();
    let look = worker.look(Some(later.as_bytes()), 1100);
    assert_eq!((look.stale, look.write), (false, worker.record().map(Record::to_json)));
}

#[test]
fn a_drain_whose_write_was_lost_is_written_again() {
    let mut worker = Worker::default();
    let standing = record(6, "reload", 500, 0, "").to_json();
    worker.look(Some(standing.as_bytes()), 900);
    let wanted = record(7, "reload", 1000, 0, "");
    assert_eq!(worker.judge(&wanted), Standing::Higher);
    assert!(worker.wrote(wanted.clone()).learned);
    let look = worker.look(Some(standing.as_bytes()), 1250);
    assert_eq!((look.stale, look.write), (false, Some(wanted.to_json())));
}

#[test]
fn a_lower_epoch_is_lower_whatever_it_says() {
    let worker = worker(10, &record(7, "reload", 1000, 0, ""));
    assert_eq!(worker.judge(&record(6, "terminate", 2000, 0, "")), Standing::Lower);
    assert_eq!(worker.judge(&record(6, "reload", 1000, 0, "")), Standing::Lower);
}

#[test]
fn a_command_leaves_open_what_is_settled_when_it_is_carried_out() {
    let command =
        |json: &str| Command::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let json =
        |command: Command, known| command.record(known, 5_000).map(|record| record.to_json());
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
        assert_eq!(json(command(written), known).as_deref(), Some(expected));
    }
    assert_eq!(json(command(r#"{"mode":"off"}"#), 9_007_199_254_740_991), None, "no epoch is left");
    assert_eq!(json(command(r#"{"mode":"off"}"#), u64::MAX), None);
}

#[test]
fn an_operators_slip_is_refused_and_a_stores_later_field_is_not() {
    let json = br#"{"epoch":7,"mode":"terminate","widow":"20s"}"#;
    assert!(Command::parse(json).is_ok());
    let error = Command::written(json).map_err(|error| error.to_string());
    assert!(error.is_err_and(|error| {
        error.starts_with("the drain record is wrong at widow: unknown field")
    }));
    assert!(Command::parse(br#"{"epoch":7,"mode":"reload","percent":5}"#).is_err());
}

#[test]
fn a_query_says_the_same_as_a_body() {
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
        ("window=20s", "mode: missing; expected one of reload terminate rebalance off"),
        (
            "mode=terminate&window=20",
            r#"window: found 20, expected a duration with a unit, such as "10s" or "250ms""#,
        ),
        ("mode=terminate&mode=off", "mode: written twice in one object; expected once"),
        (
            "mode=terminate&route=api",
            "route: unknown field; known here: epoch, mode, started_ms, window, window_ms, percent, routes",
        ),
        (
            "mode=reload&percent=5",
            "percent: only a rebalance closes a share of the connections; leave it out for other modes",
        ),
        (
            "mode=reload&window=1s&window_ms=5",
            "window_ms: stands beside window; expected one of them",
        ),
        ("mode=reload&routes=", r#"routes[0]: found "", expected a name"#),
    ];
    for (query, message) in wrong {
        let error = Command::from_query(query).map_err(|error| error.to_string());
        let expected = format!("the drain record is wrong at {message}");
        assert!(
            error.clone().is_err_and(|error| error.starts_with(&expected)),
            "{query}: {error:?}"
        );
    }
}

#[test]
fn a_reload_closes_what_is_old_and_nothing_else() {
    let worker = worker(10, &record(7, "reload", 1000, 0, ""));
    assert!(closes(&worker, 0, 1000) && closes(&worker, 10, 1000));
    assert!(!closes(&worker, 11, 1_000_000));
}

#[test]
fn a_worker_without_connections_closes_none() {
    let mut worker = Worker::default();
    worker.look(Some(record(7, "reload", 1000, 0, "").to_json().as_bytes()), 1000);
    assert!(!closes(&worker, 0, 5000));
}

#[test]
fn a_terminate_closes_new_connections_too() {
    let worker = worker(10, &record(7, "terminate", 1000, 0, ""));
    assert!(
        closes(&worker, 10, 1000) && closes(&worker, 11, 1000) && worker.terminating().is_some()
    );
}

#[test]
fn off_ends_a_drain() {
    let mut worker = worker(10, &record(7, "terminate", 1000, 0, ""));
    worker.look(Some(record(8, "off", 2000, 0, "").to_json().as_bytes()), 2000);
    assert!(!closes(&worker, 10, 3000) && worker.terminating().is_none());
}

#[test]
fn a_drain_of_some_routes_closes_on_their_responses_only() {
    let worker = worker(10, &record(7, "reload", 1000, 0, r#","routes":["api"]"#));
    let on = |route: Option<&str>| worker.closes(10, route, || Some(1000));
    assert!(on(Some("api")));
    assert!(!on(Some("logs")) && !on(None));
}

#[test]
fn the_clock_is_asked_only_when_it_matters() {
    let mut worker = worker(10, &record(7, "reload", 1000, 500, ""));
    let unasked = || panic!("asked for the time");
    assert!(!worker.closes(11, None, unasked), "a new connection has no moment");
    worker.look(None, 1500);
    assert!(worker.closes(3, None, unasked), "the window was over at the last look");
}

#[test]
fn a_window_far_in_the_future_never_overflows() {
    let worker = worker(10, &record(7, "reload", 9_007_199_254_740_991, 86_400_000, ""));
    assert!(!closes(&worker, 3, 9_007_199_254_740_990) && closes(&worker, 3, u64::MAX));
}

#[test]
fn a_new_vm_learns_from_shared_data_which_connections_are_old() {
    let reload = record(7, "reload", 1000, 0, "");
    let mut before = worker(1234, &reload);
    let published = before.exchange_watermark(None);
    assert_eq!(published.as_deref(), Some(r#"{"epoch":7,"connection":1234}"#));
    let mut rebuilt = Worker::default();
    assert!(rebuilt.look(Some(reload.to_json().as_bytes()), 1100).learned);
    assert_eq!(rebuilt.exchange_watermark(published.as_deref().map(str::as_bytes)), None);
    assert!(closes(&rebuilt, 1234, 1100) && !closes(&rebuilt, 1235, 1100));
}

#[test]
fn the_highest_watermark_of_all_workers_counts() {
    let reload = record(7, "reload", 1000, 0, "");
    let (mut low, mut high) = (worker(40, &reload), worker(50, &reload));
    assert!(low.begins_exchange() && high.begins_exchange());
    let first = low.exchange_watermark(None);
    let second = high.exchange_watermark(first.as_deref().map(str::as_bytes));
    assert_eq!(second.as_deref(), Some(r#"{"epoch":7,"connection":50}"#));
    assert!(low.begins_exchange(), "the first one to learn asks once more");
    assert_eq!(low.exchange_watermark(second.as_deref().map(str::as_bytes)), None);
    assert!(closes(&low, 45, 1000));
    assert!(!low.begins_exchange());
}

#[test]
fn a_watermark_of_an_earlier_epoch_does_not_lower_ours() {
    let mut worker = worker(50, &record(7, "reload", 1000, 0, ""));
    let ours = Some(r#"{"epoch":7,"connection":50}"#.to_owned());
    assert_eq!(worker.exchange_watermark(Some(br#"{"epoch":6,"connection":90}"#)), ours);
    assert_eq!(worker.exchange_watermark(Some(b"nonsense")), ours);
    assert!(!closes(&worker, 60, 2000));
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
fn closes_are_even_over_the_window_whatever_the_numbering() {
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
fn moments_of_one_epoch_say_nothing_about_the_next() {
    let early = |epoch| move |connection: &u64| spread::offset_ms(*connection, epoch, 1000) < 500;
    let both = (0..10_000).filter(early(7)).filter(early(8)).count();
    assert!((2200..=2800).contains(&both), "{both}");
}

#[test]
fn a_rebalance_closes_its_share_and_spreads_it_evenly() {
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
fn a_rebalance_closes_the_same_share_in_every_worker() {
    let rebalance = record(7, "rebalance", 1000, 0, r#","percent":40"#);
    let (one, other) = (worker(9_999, &rebalance), worker(9_999, &rebalance));
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
    /// Worker `.0` gets a configuration that asks for epoch `.1`.
    Configure(usize, u64),
    /// Worker `.0` ticks.
    Tick(usize),
    /// Worker `.0` carries out the write it has in hand, as far as its number still holds
    Write(usize),
    /// Somebody else writes this without asking.
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

/// A write that a worker is about to make, and the record that it knows then.
struct Write {
    json: String,
    cas: u32,
    learns: Option<Record>,
}

fn highest<'r>(known: Option<Record>, more: impl Iterator<Item = &'r Record>) -> Option<Record> {
    known.into_iter().chain(more.cloned()).max_by(Record::order)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// Reads and writes of several workers mix in any order, first writes overwrite each other unseen, others interfere; once things are
    /// quiet, all agree on the highest epoch that a worker knew, with the first start that a worker knew of it.
    #[test]
    fn any_interleaving_of_writers_ends_at_the_highest_epoch(steps in steps()) {
        let mut shared = Shared::default();
        let mut workers: Vec<(Worker, Option<Write>)> = (0..4).map(|_| Default::default()).collect();
        let mut known: Option<Record> = None;
        let mut now = 10;
        for step in steps {
            now += 1;
            match step {
                Step::Configure(index, epoch) => {
                    let (value, cas) = shared.read();
                    let (worker, write) = &mut workers[index];
                    let look = worker.look(value.as_deref(), now);
                    let wanted = record(epoch, "reload", now, 0, "");
                    let is_higher = worker.judge(&wanted) == Standing::Higher;
                    *write = match look.write {
                        Some(json) => Some(Write { json, cas, learns: None }),
                        None => is_higher.then(|| Write { json: wanted.to_json(), cas, learns: Some(wanted) }),
                    };
                }
                Step::Tick(index) => {
                    let (value, cas) = shared.read();
                    let (worker, write) = &mut workers[index];
                    let look = worker.look(value.as_deref(), now);
                    *write = look.write.map(|json| Write { json, cas, learns: None });
                }
                Step::Write(index) => {
                    let (worker, write) = &mut workers[index];
                    if let Some(Write { json, cas, learns }) = write.take()
                        && shared.write(&json, cas)
                        && let Some(record) = learns
                    {
                        worker.wrote(record);
                    }
                }
                Step::Foreign(json) => {
                    let cas = shared.cas;
                    shared.write(&json, cas);
                }
            }
            known = highest(known, workers.iter().filter_map(|(worker, _)| worker.record()));
        }
        let standing = shared.value.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        known = highest(known, standing.iter());
        for _ in 0..3 {
            for (worker, _) in &mut workers {
                loop {
                    let (value, cas) = shared.read();
                    let Some(json) = worker.look(value.as_deref(), now).write else { break };
                    shared.write(&json, cas);
                }
            }
        }
        for (worker, _) in &workers {
            prop_assert_eq!(worker.record(), known.as_ref());
        }
        let standing = shared.value.as_deref().and_then(|bytes| Record::parse(bytes).ok());
        prop_assert_eq!(standing, known);
    }

    /// What a worker knows never moves down, whatever stands in shared data.
    #[test]
    fn knowledge_is_monotonic(values in prop::collection::vec("(\\{\"epoch\":[1-9],\"mode\":\"(reload|off)\",\"started_ms\":[1-9]\\}|[a-z{}:\"]{0,12})", 1..40)) {
        let mut worker = Worker::default();
        let mut epoch = None;
        for (now, value) in values.iter().enumerate() {
            worker.look(Some(value.as_bytes()), now as u64);
            let next = worker.record().map(|record| record.epoch);
            prop_assert!(next >= epoch);
            epoch = next;
        }
    }

    /// Clients that keep sending requests, and reconnect when they are told to: no connection is told twice in an epoch, old ones are told
    /// within the window, new ones never.
    #[test]
    fn each_connection_closes_at_most_once_in_an_epoch(
        seed in any::<u64>(),
        window_ms in 0..5_000_u64,
        epoch in 1..1_000_u64,
        clients in 1..60_usize,
    ) {
        let mut worker = Worker::default();
        let mut next = 0_u64;
        let mut connections: Vec<u64> = (0..clients).map(|_| { next += 1 + seed % 3; next }).collect();
        let before = connections.clone();
        for connection in &connections {
            worker.saw(*connection);
        }
        let reload = record(epoch, "reload", 1_000, window_ms, "");
        let mut told = Vec::new();
        for now in (500..8_000).step_by(50) {
            if now >= 1_000 {
                worker.look(Some(reload.to_json().as_bytes()), now);
            }
            for connection in &mut connections {
                worker.saw(*connection);
                if closes(&worker, *connection, now) {
                    prop_assert!((1_000..=1_050 + window_ms).contains(&now));
                    told.push(*connection);
                    next += 1;
                    *connection = next;
                }
            }
        }
        told.sort_unstable();
        prop_assert_eq!(told, before);
    }

    /// Bytes of any kind are a record or an error.
    #[test]
    fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::parse(&bytes);
        let _ = Worker::default().exchange_watermark(Some(&bytes));
    }
}
