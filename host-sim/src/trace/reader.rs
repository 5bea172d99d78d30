//! Reads the events of a trace one after the other, from a file, a pipe, or memory.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read as _};

use super::error::{FieldError, LINE, ReadError, TraceError};
use super::event::EventKind;
use super::owned::{OwnedEvent, parse_owned};
use super::read::Lines;
use crate::proxy::Setup;

/// The longest line of a trace, in bytes. Without a limit, an input without line ends would fill
/// the memory.
const MAX_LINE: u64 = 64 << 20;

/// The number of events in which [`TraceReader::configures`] looks for a configuration.
const LOOK_AHEAD: usize = 1000;

/// The events of a trace, in the order of time. After an error, there are no more events.
///
/// The reader keeps the names of open connections, and nothing else that grows with the trace. It
/// notices an id or a closed connection that is used again within the next 458,752 names.
pub struct TraceReader<R> {
    name: String,
    input: R,
    /// The line that was read last.
    line: Vec<u8>,
    number: u32,
    /// The bytes before that line.
    offset: u64,
    lines: Lines,
    /// Events that were read and not yet returned.
    ahead: VecDeque<Result<OwnedEvent, ReadError>>,
    ended: bool,
}

impl<R: BufRead> TraceReader<R> {
    /// Reads the setup of a trace, and its first event. Errors name the trace as `name`.
    ///
    /// # Errors
    /// If there is a mistake in the lines up to the first event, or the input fails.
    pub fn new(name: impl Into<String>, input: R) -> Result<Self, ReadError> {
        let mut reader = Self {
            name: name.into(),
            input,
            line: Vec::new(),
            number: 0,
            offset: 0,
            lines: Lines::default(),
            ahead: VecDeque::new(),
            ended: false,
        };
        if let Some(first) = reader.read().transpose()? {
            reader.ahead.push_back(Ok(first));
        }
        Ok(reader)
    }

    /// The name of the trace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The proxy, the plugin and the clusters that the trace describes before its first event.
    pub fn setup(&self) -> &Setup {
        &self.lines.setup
    }

    /// The line of the setup, if there is one.
    pub fn setup_line(&self) -> Option<u32> {
        self.lines.setup_line
    }

    /// Whether one of the first 1000 events that were not read yet pushes a configuration.
    pub fn configures(&mut self) -> bool {
        let is_configure = |event: &Result<OwnedEvent, ReadError>| matches!(event, Ok(event) if matches!(event.kind, EventKind::Configure { .. }));
        if self.ahead.iter().any(is_configure) {
            return true;
        }
        while self.ahead.len() < LOOK_AHEAD {
            let Some(event) = self.read() else { return false };
            self.ahead.push_back(event);
            if self.ahead.back().is_some_and(is_configure) {
                return true;
            }
        }
        false
    }

    /// Reads up to the next event.
    fn read(&mut self) -> Option<Result<OwnedEvent, ReadError>> {
        while !self.ended {
            match self.read_line() {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(source) => {
                    self.ended = true;
                    return Some(Err(ReadError::Input { trace: self.name.clone(), source }));
                }
            }
            if let Some(event) = self.parse_line().transpose() {
                self.ended |= event.is_err();
                return Some(event);
            }
        }
        None
    }

    /// Reads the next line. Returns `false` at the end of the input.
    fn read_line(&mut self) -> io::Result<bool> {
        self.offset += self.line.len() as u64;
        self.line.clear();
        self.number = self.number.saturating_add(1);
        let read = (&mut self.input).take(MAX_LINE + 1).read_until(b'\n', &mut self.line)?;
        Ok(read > 0)
    }

    fn parse_line(&mut self) -> Result<Option<OwnedEvent>, ReadError> {
        let number = self.number;
        let mistake = |name: &str, mistake| {
            ReadError::from(TraceError { trace: name.to_owned(), line: number, mistake })
        };
        if self.line.len() as u64 > MAX_LINE {
            let message = format!("is longer than {} MiB; is it the right file?", MAX_LINE >> 20);
            return Err(mistake(&self.name, FieldError::new(LINE, message)));
        }
        let text = std::str::from_utf8(&self.line).map_err(|error| ReadError::NotUtf8 {
            trace: self.name.clone(),
            at: self.offset + error.valid_up_to() as u64,
        })?;
        let text = match number {
            1 => text.strip_prefix('\u{feff}').unwrap_or(text),
            _ => text,
        };
        let text = text.trim_end();
        if text.is_empty() {
            return Ok(None);
        }
        let lines = &mut self.lines;
        parse_owned(text, |text| lines.parse(number, text))
            .map_err(|error| mistake(&self.name, error))
    }
}

impl<R: BufRead> Iterator for TraceReader<R> {
    type Item = Result<OwnedEvent, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ahead.pop_front().or_else(|| self.read())
    }
}
