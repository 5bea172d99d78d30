//! Replays of traces that are longer than memory: what is read when, and what is reported when.

use std::cell::Cell;
use std::io::{self, BufRead, Read};

use sluice_sim::replay::{
    ConfigurationReport, ConnectionReport, ExchangeReport, MetricsReport, Note, Options,
    ReplayError, Sink, check, replay_to,
};
use sluice_sim::trace::TraceReader;

/// A sink that counts.
#[derive(Default)]
struct Count<'c> {
    exchanges: Cell<u64>,
    connections: u64,
    notes: u64,
    /// The number of lines that were read, for the largest distance.
    read: Option<&'c Cell<u64>>,
    most_ahead: u64,
    /// Fails at this exchange.
    fails_at: Option<u64>,
}

impl Sink for Count<'_> {
    fn exchange(&mut self, exchange: ExchangeReport<'_>) -> io::Result<()> {
        let ended = self.exchanges.get() + 1;
        self.exchanges.set(ended);
        if let Some(read) = self.read {
            self.most_ahead = self.most_ahead.max(read.get() - u64::from(exchange.line));
        }
        match self.fails_at == Some(ended) {
            true => Err(io::Error::new(io::ErrorKind::StorageFull, "full")),
            false => Ok(()),
        }
    }

    fn connection(&mut self, _: ConnectionReport<'_>) -> io::Result<()> {
        self.connections += 1;
        Ok(())
    }

    fn configuration(&mut self, _: ConfigurationReport) -> io::Result<()> {
        Ok(())
    }

    fn metrics(&mut self, _: MetricsReport) -> io::Result<()> {
        Ok(())
    }

    fn note(&mut self, _: Note) -> io::Result<()> {
        self.notes += 1;
        Ok(())
    }
}

/// An input that makes its lines when they are read, and counts them.
struct Lines<'c, L> {
    line: L,
    read: &'c Cell<u64>,
    text: Vec<u8>,
    used: usize,
}

impl<'c, L: FnMut(u64) -> Option<String>> Lines<'c, L> {
    fn new(read: &'c Cell<u64>, line: L) -> Self {
        Self { line, read, text: Vec::new(), used: 0 }
    }
}

impl<L: FnMut(u64) -> Option<String>> Read for Lines<'_, L> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let text = self.fill_buf()?;
        let length = text.len().min(out.len());
        out[..length].copy_from_slice(&text[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl<L: FnMut(u64) -> Option<String>> BufRead for Lines<'_, L> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.text.len() {
            let number = self.read.get() + 1;
            self.text = (self.line)(number).map(String::into_bytes).unwrap_or_default();
            self.used = 0;
            if !self.text.is_empty() {
                self.read.set(number);
            }
        }
        Ok(&self.text[self.used..])
    }

    fn consume(&mut self, bytes: usize) {
        self.used += bytes;
    }
}

fn request(number: u64) -> String {
    format!("{{\"at\":\"{number}ms\",\"request\":{{}},\"expect\":{{\"status\":200}}}}\n")
}

#[test]
fn exchanges_are_reported_while_the_trace_is_read() {
    let read = Cell::new(0);
    let lines = Lines::new(&read, |number| (number <= 50_000).then(|| request(number)));
    let reader = TraceReader::new("endless", lines).expect("a first event");
    let mut sink = Count { read: Some(&read), ..Count::default() };
    let summary = replay_to(None, reader, &Options::default(), &mut sink).expect("a replay");
    assert_eq!((summary.expected(), summary.failed(), sink.exchanges.get()), (50_000, 0, 50_000));
    assert!(sink.most_ahead <= 1001, "{} lines ahead", sink.most_ahead);
}

#[test]
fn a_mistake_ends_the_replay_like_the_end_of_the_trace() {
    let read = Cell::new(0);
    let lines = Lines::new(&read, |number| match number {
        1..=10 => Some(format!(
            "{{\"at\":\"{number}s\",\"request\":{{}},\"upstream\":{{\"after\":\"9s\"}},\
             \"expect\":{{\"status\":200}}}}\n"
        )),
        _ => Some("{\"at\":\"3s\",\"request\":{}}\n".to_owned()),
    });
    let reader = TraceReader::new("t", lines).expect("a first event");
    let mut sink = Count::default();
    let summary = replay_to(None, reader, &Options::default(), &mut sink).expect("a replay");
    let mistake = summary.stopped.as_ref().expect("a mistake").to_string();
    assert!(mistake.starts_with("t:11: at: 3s is before"), "{mistake}");
    // The exchanges that were open at the mistake have run to their end.
    assert_eq!((summary.expected(), summary.failed(), sink.exchanges.get()), (10, 0, 10));
}

#[test]
fn an_input_that_fails_ends_the_replay() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("unplugged"))
        }
    }
    let text = request(1).repeat(3);
    let input = io::BufReader::new(text.as_bytes().chain(Broken));
    let reader = TraceReader::new("t", input).expect("a first event");
    let mut sink = Count::default();
    let summary = replay_to(None, reader, &Options::default(), &mut sink).expect("a replay");
    let stopped = summary.stopped.as_ref().expect("an error").to_string();
    assert_eq!(stopped, "t: cannot be read: unplugged");
    assert_eq!(sink.exchanges.get(), 3);
}

#[test]
fn a_sink_that_fails_ends_the_replay() {
    let read = Cell::new(0);
    let lines = Lines::new(&read, |number| Some(request(number)));
    let reader = TraceReader::new("endless", lines).expect("a first event");
    let mut sink = Count { fails_at: Some(5), ..Count::default() };
    let error = replay_to(None, reader, &Options::default(), &mut sink).expect_err("full");
    assert!(matches!(error, ReplayError::Sink(_)), "{error}");
    assert_eq!(error.to_string(), "the report cannot be written: full");
    assert_eq!(sink.exchanges.get(), 5);
}

#[test]
fn check_reads_to_the_end() {
    let text = request(1) + "{\"at\":\"1s\",\"stall\":\"1s\",\"worker\":3}\n";
    let reader = TraceReader::new("t", text.as_bytes()).expect("a first event");
    let error = check(None, reader, &Options::default()).expect_err("worker 3").to_string();
    assert!(error.starts_with("t:2: worker: found 3"), "{error}");
    let reader = TraceReader::new("t", &b"{\"at\":\"0s\",\"clock\":\"2026-01-01T00:00:00Z\"}"[..]);
    let reader = reader.expect("a first event");
    let error = check(None, reader, &Options::default()).expect_err("nothing is checked");
    assert!(matches!(error, ReplayError::Empty { .. }), "{error}");
}

#[test]
fn connections_of_many_names_open_and_close() {
    let read = Cell::new(0);
    let lines = Lines::new(&read, |number| {
        let (at, name) = (number, (number - 1) / 3);
        let event = match number % 3 {
            _ if number > 3000 => return None,
            1 => r#""open":{"protocol":"HTTP/2"}"#,
            2 => r#""request":{}"#,
            _ => r#""close":"client""#,
        };
        Some(format!("{{\"at\":\"{at}ms\",\"connection\":\"c{name}\",{event}}}\n"))
    });
    let reader = TraceReader::new("t", lines).expect("a first event");
    let mut sink = Count::default();
    let summary = replay_to(None, reader, &Options::default(), &mut sink).expect("a replay");
    assert_eq!(summary.stopped.map(|mistake| mistake.to_string()), None);
    assert_eq!((sink.exchanges.get(), sink.notes, sink.connections), (1000, 1000, 1000));
}
