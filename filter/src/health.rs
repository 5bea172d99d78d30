//! The answer to a load balancer's health check while the proxy terminates: a status that takes the instance out, and a body
//! from which a terminate hook reads when nothing is in flight any more.

use std::fmt::Write as _;

use crate::config::{Config, Health};
use crate::drain::{Record, Worker};
use crate::request::RequestView;
use crate::stream::Reply;

/// What the answer reports.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The drain in force.
    pub record: &'a Record,
    /// The node id of the proxy, or empty.
    pub instance: &'a str,
    /// Requests in flight in the process, health checks not among them.
    pub in_flight: u64,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Whether the filter answers `request` itself: the health path, while a terminate is in force.
pub fn is_asked<'w>(
    config: &'w Config,
    worker: &'w Worker,
    request: &RequestView<'_>,
) -> Option<(&'w Health, &'w Record)> {
    let health = config.health.as_ref()?;
    let record = worker.terminating()?;
    (health.path.as_str().as_bytes() == request.path).then_some((health, record))
}

/// The answer.
pub fn answer(health: &Health, report: &Report<'_>) -> Reply {
    let instance = json_text(report.instance);
    Reply {
        status: health.drain_status,
        content_type: "application/json",
        body: format!(
            "{{\"status\":\"draining\",\"instance\":\"{instance}\",\"epoch\":{},\"mode\":\"{}\",\"in_flight\":{},\
             \"timestamp\":\"{}\"}}\n",
            report.record.epoch,
            report.record.mode.word(),
            report.in_flight,
            rfc3339(report.now_ms)
        ),
    }
}

/// Text inside a JSON string. The node id comes from the proxy's operator: it may hold anything.
fn json_text(text: &str) -> String {
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
