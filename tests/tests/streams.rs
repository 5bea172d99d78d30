//! The measurement of event streams in short, so that it keeps working: nothing here depends on how fast anything is.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sluice_tests::streams::{Broken, Event, Feed, allow};

const STREAMS: u64 = 20;
const RATE: u64 = 60;
const TURNS: u64 = 120;

fn measure(streams: &str, report: &Path) -> Output {
    let rate = RATE.to_string();
    let options = ["measure", "--streams", streams, "--length", "1s", "--rate", &rate, "--report"];
    let mut program = Command::new(env!("CARGO_BIN_EXE_bench-streams"));
    program.args(options).arg(report).output().expect("the program starts")
}

#[test]
fn a_short_measurement_loses_no_event_and_leaves_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("bench");
    let output = measure(&STREAMS.to_string(), &folder);
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();

    let report: Value = serde_json::from_str(&read("streams.json")).unwrap();
    let ways = report["ways"].as_array().unwrap();
    let names: Vec<_> = ways.iter().map(|way| way["way"].as_str().unwrap()).collect();
    assert_eq!(names, ["no proxy", "Envoy", "Envoy with Sluice"]);
    for way in ways {
        assert_eq!(way["events"], STREAMS * RATE, "{way}");
        let turns = way["turns"].as_array().unwrap();
        let events = turns.iter().map(|turn| turn["events"].as_u64().unwrap());
        assert_eq!((turns.len() as u64, events.sum()), (TURNS, STREAMS * RATE));
        let delay = |name: &str| way["delay_us"][name].as_f64().unwrap();
        assert!(0.0 < delay("median") && delay("median") <= delay("p99"), "{way}");
        assert_eq!(way["memory_bytes"].is_u64(), way["way"] != "no proxy");
    }

    let (plot, table) = (read("streams.svg"), read("streams.md"));
    assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n"), "{plot}");
    let curves = plot.lines().filter(|line| line.starts_with("<polyline") && line.len() > 1000);
    assert_eq!(curves.count(), names.len(), "{plot}");
    assert!(table.starts_with(&format!("# Delay per event, {STREAMS} server-sent-event streams")));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains(printed.trim()), "{table}");
}

#[test]
fn too_many_streams_for_this_user_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let output = measure("4000000000", folder.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("error: 4000000000 streams need a limit of 12000000200 open files, and this user may have "),
        "{said}"
    );
    assert_eq!(allow(1), Ok(()));
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nserver: envoy\r\ntransfer-encoding: chunked\r\n\r\n";
const LAST: &str = "0\r\n\r\n";

fn event(number: u64) -> Event {
    Event { number, slice: 3, sent: 1_000 + number }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The events of a stream that comes in pieces of this size, and whether it ended.
fn read(stream: &str, size: usize) -> Result<(Vec<Event>, bool), Broken> {
    let (mut feed, mut events) = (Feed::default(), Vec::new());
    for piece in stream.as_bytes().chunks(size) {
        feed.take(piece, |event| events.push(event))?;
    }
    Ok((events, feed.has_ended()))
}

#[test]
fn a_client_finds_the_events_however_they_are_cut() {
    let events = (event(0).to_string(), event(1).to_string(), event(2).to_string());
    assert!(events.0.len() == Event::LENGTH && events.0.ends_with("\n\n"), "{:?}", events.0);
    let (torn, rest) = events.1.split_at(70);
    let stream = [HEAD, &chunk(&(events.0 + torn)), &chunk(rest), &chunk(&events.2), LAST].concat();
    let all = vec![event(0), event(1), event(2)];
    for size in 1..stream.len() {
        assert_eq!(read(&stream, size), Ok((all.clone(), true)), "in pieces of {size}");
    }
    let (cut, _) = stream.split_at(stream.len() - 1);
    assert_eq!(read(cut, 1), Ok((all, false)));
}

#[test]
fn a_client_notices_what_is_wrong_with_a_stream() {
    let events = |numbers: &[u64]| -> String {
        let chunks = numbers.iter().map(|&number| chunk(&event(number).to_string()));
        std::iter::once(HEAD.to_owned()).chain(chunks).collect()
    };
    let order = |expected, found| Err(Broken::Order { expected, found });
    assert_eq!(read(&events(&[0, 2]), 50), order(1, 2));
    assert_eq!(read(&events(&[0, 1, 1]), 50), order(2, 1));
    assert_eq!(read(&events(&[1]), 50), order(0, 1));

    let broken = |stream: &str| read(stream, 1000).unwrap_err().to_string();
    let half = event(0).to_string().split_off(150);
    for (stream, said) in [
        (HEAD.replace("200", "503"), "expected status 200, found 503".to_owned()),
        (
            HEAD.replace("transfer-encoding: chunked", "content-length: 9"),
            "expected a body in chunks".to_owned(),
        ),
        (format!("{HEAD}xyz\r\n"), "expected a body in chunks, found \"xyz".to_owned()),
        (format!("{HEAD}2\r\nabcd\r\n"), "expected a body in chunks, found \"abcd".to_owned()),
        (events(&[0]) + LAST + "more", "expected nothing after the end, found 4 bytes".to_owned()),
        (
            HEAD.to_owned() + &chunk("data: 7\n\n"),
            "expected an event, found \"data: 7\"".to_owned(),
        ),
        (
            HEAD.to_owned() + &chunk(&half.replace('\n', "")) + LAST,
            "expected an event, found".to_owned(),
        ),
        ("ICY 200 OK\r\n\r\n".to_owned(), "expected HTTP/1.1".to_owned()),
    ] {
        let found = broken(&stream);
        assert!(found.starts_with(&said), "{found:?} for {stream:?}");
    }
}
