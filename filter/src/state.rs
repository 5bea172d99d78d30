//! The drain state of a process as JSON: a short form for health checks, and a full form for the
//! admin path.

use serde::Serialize;

use crate::config::DrainMode;
use crate::drain::Record;
use crate::waiting::WaitingRow;

/// The state of a process.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The drain record in force, if any.
    pub record: Option<&'a Record>,
    /// The node id of the proxy, or empty.
    pub instance: &'a str,
    /// The in-flight requests of the process, without health and admin requests.
    pub in_flight: u64,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The streams of the process that the drain in force waits for.
    pub waits_for: &'a [WaitingRow],
}

#[derive(Serialize)]
struct Json<'a> {
    status: &'static str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<DrainMode>,
    in_flight: u64,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Record>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    waits_for: &'a [WaitingRow],
}

impl State<'_> {
    /// The short form, one line.
    pub fn to_json(&self) -> String {
        json_line(&self.json())
    }

    /// The full form, one line, with the whole record, the number of responses that `closed` their
    /// connection since the process started, and the streams that the drain waits for.
    pub fn to_full_json(&self, closed: u64) -> String {
        let waits_for = self.waits_for;
        json_line(&Json { closed: Some(closed), record: self.record, waits_for, ..self.json() })
    }

    /// A terminate that starts later does not take the instance out of rotation yet.
    fn is_terminating(&self) -> bool {
        self.record.is_some_and(|record| {
            record.mode == DrainMode::Terminate && record.started_ms <= self.now_ms
        })
    }

    fn json(&self) -> Json<'_> {
        let mode = self.record.map(|record| record.mode);
        Json {
            status: if self.is_terminating() { "draining" } else { "ok" },
            instance: self.instance,
            epoch: self.record.map(|record| record.epoch),
            mode,
            in_flight: self.in_flight,
            timestamp: rfc3339(self.now_ms),
            closed: None,
            record: None,
            waits_for: &[],
        }
    }
}

/// A JSON value and a line feed.
pub(crate) fn json_line(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string(value).unwrap_or_default();
    json.push('\n');
    json
}

/// A time in the format of RFC 3339, in UTC with milliseconds.
fn rfc3339(unix_ms: u64) -> String {
    let (ms, seconds) = (unix_ms % 1000, unix_ms / 1000);
    let (second, minute, hour) = (seconds % 60, seconds / 60 % 60, seconds / 3600 % 24);
    // Days count from 1 March of year 0 in eras of 400 years, so that the leap day is the last of
    // its year.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn timestamps_follow_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_767_225_599_001), "2025-12-31T23:59:59.001Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
