//! What a process tells about its drain: to a load balancer's health check, and in full to whoever asks at the admin path.

use std::fmt::Write as _;

use crate::config::DrainMode;
use crate::drain::Record;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The drain in force, if there ever was one.
    pub record: Option<&'a Record>,
    /// The node id of the proxy, or empty.
    pub instance: &'a str,
    /// Requests in flight in the process, those that the filter itself answers about its state not among them.
    pub in_flight: u64,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl State<'_> {
    /// What a health check is told: one JSON object and a line end.
    pub fn to_json(&self) -> String {
        let mut json = self.fields();
        json.push_str("}\n");
        json
    }

    /// The same with the whole record, and with how many responses have `closed` their connection since the process began.
    pub fn to_full_json(&self, closed: u64) -> String {
        let mut json = self.fields();
        let _ = write!(json, ",\"closed\":{closed}");
        if let Some(record) = self.record {
            let _ = write!(json, ",\"record\":{}", record.to_json());
        }
        json.push_str("}\n");
        json
    }

    fn fields(&self) -> String {
        let status = match self.record.map(|record| record.mode) {
            Some(DrainMode::Terminate) => "draining",
            _ => "ok",
        };
        let instance = json_text(self.instance);
        let mut json = format!("{{\"status\":\"{status}\",\"instance\":\"{instance}\"");
        if let Some(record) = self.record {
            let _ = write!(json, ",\"epoch\":{},\"mode\":\"{}\"", record.epoch, record.mode.word());
        }
        let timestamp = rfc3339(self.now_ms);
        let _ = write!(json, ",\"in_flight\":{},\"timestamp\":\"{timestamp}\"", self.in_flight);
        json
    }
}

/// Text inside a JSON string. The node id comes from the proxy's operator: it may hold anything.
pub(crate) fn json_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\0'..='\x1f' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A moment as RFC 3339 has it, in UTC with milliseconds.
fn rfc3339(unix_ms: u64) -> String {
    let (ms, seconds) = (unix_ms % 1000, unix_ms / 1000);
    let (second, minute, hour) = (seconds % 60, seconds / 60 % 60, seconds / 3600 % 24);
    // Counted from 1 March of year 0 in eras of 400 years, so that the leap day ends a year.
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
    fn timestamps_know_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(951_868_800_000), "2000-03-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_767_225_599_001), "2025-12-31T23:59:59.001Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }
}
