//! A short measurement of event streams, and the reader that checks them. No assertion depends on
//! speed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use sluice_tests::streams::{Event, EventReader, StreamError, raise_open_file_limit};

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
fn measurement_receives_each_event_and_writes_its_report() {
    let _exclusive = crate::exclusive();
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
fn too_many_streams_for_the_open_file_limit_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let output = measure("4000000000", folder.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.starts_with("error: 4000000000 streams need a limit of 12000000200 open files, but the hard limit is "),
        "{error}"
    );
    assert_eq!(raise_open_file_limit(1), Ok(()));
}

const HEADERS: &str = "HTTP/1.1 200 OK\r\nserver: envoy\r\ntransfer-encoding: chunked\r\n\r\n";
const LAST: &str = "0\r\n\r\n";

fn event(number: u64) -> Event {
    Event { number, turn: 3, sent: 1_000 + number }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Reads a stream in parts of this size; returns its events and whether it ended.
fn read(stream: &str, size: usize) -> Result<(Vec<Event>, bool), StreamError> {
    let (mut reader, mut events) = (EventReader::default(), Vec::new());
    for part in stream.as_bytes().chunks(size) {
        reader.push(part, |event| events.push(event))?;
    }
    Ok((events, reader.has_ended()))
}

#[test]
fn events_are_read_from_parts_of_any_size() {
    let events = (event(0).to_string(), event(1).to_string(), event(2).to_string());
    assert!(events.0.len() == Event::LENGTH && events.0.ends_with("\n\n"), "{:?}", events.0);
    let (torn, rest) = events.1.split_at(70);
    let stream =
        [HEADERS, &chunk(&(events.0 + torn)), &chunk(rest), &chunk(&events.2), LAST].concat();
    let all = vec![event(0), event(1), event(2)];
    for size in 1..stream.len() {
        assert_eq!(read(&stream, size), Ok((all.clone(), true)), "parts of {size} bytes");
    }
    let (cut, _) = stream.split_at(stream.len() - 1);
    assert_eq!(read(cut, 1), Ok((all, false)));
}

#[test]
fn each_deviation_of_a_stream_is_an_error() {
    let events = |numbers: &[u64]| -> String {
        let chunks = numbers.iter().map(|&number| chunk(&event(number).to_string()));
        std::iter::once(HEADERS.to_owned()).chain(chunks).collect()
    };
    let order = |expected, found| Err(StreamError::Order { expected, found });
    assert_eq!(read(&events(&[0, 2]), 50), order(1, 2));
    assert_eq!(read(&events(&[0, 1, 1]), 50), order(2, 1));
    assert_eq!(read(&events(&[1]), 50), order(0, 1));

    let error = |stream: &str| read(stream, 1000).unwrap_err().to_string();
    let half = event(0).to_string().split_off(150);
    for (stream, expected) in [
        (HEADERS.replace("200", "503"), "expected status 200, found 503".to_owned()),
        (
            HEADERS.replace("transfer-encoding: chunked", "content-length: 9"),
            "expected a body in chunks".to_owned(),
        ),
        (format!("{HEADERS}xyz\r\n"), "expected a body in chunks, found \"xyz".to_owned()),
        (format!("{HEADERS}2\r\nabcd\r\n"), "expected a body in chunks, found \"cd".to_owned()),
        (events(&[0]) + LAST + "more", "expected nothing after the end, found 4 bytes".to_owned()),
        (
            HEADERS.to_owned() + &chunk("data: 7\n\n"),
            "expected an event, found \"data: 7\"".to_owned(),
        ),
        (
            HEADERS.to_owned() + &chunk(&half.replace('\n', "")) + LAST,
            "expected an event, found".to_owned(),
        ),
        (
            format!("{HEADERS}0\r\nx-a: b\r\n\r\n"),
            "expected no trailers, found \"x-a: b".to_owned(),
        ),
        ("ICY 200 OK\r\n\r\n".to_owned(), "expected HTTP/1.1".to_owned()),
    ] {
        let found = error(&stream);
        assert!(found.starts_with(&expected), "{found:?} for {stream:?}");
    }
}
