//! The health answer of an instance that is taken out, word for word. The trace compares it by hash; here it is text.

use sha2::{Digest, Sha256};

use super::simulator::file;
use crate::trace;

/// When the balancer asks, what is in flight then, and who that is.
const ANSWERS: [(&str, u32, &str); 6] = [
    ("health draining", 6, "1970-01-01T00:01:01.000Z"),
    ("health, five", 5, "1970-01-01T00:01:10.000Z"),
    ("health, four", 4, "1970-01-01T00:01:15.000Z"),
    ("health, two", 2, "1970-01-01T00:01:24.000Z"),
    ("health, only the stuck one", 1, "1970-01-01T00:01:30.000Z"),
    ("health, empty", 0, "1970-01-01T00:02:07.000Z"),
];

#[test]
fn the_trace_expects_this_very_answer() {
    let trace = file(&trace("autoscaling-termination"));
    for (id, in_flight, timestamp) in ANSWERS {
        let answer = format!(
            "{{\"status\":\"draining\",\"instance\":\"simulator\",\"epoch\":12,\"mode\":\"terminate\",\
             \"in_flight\":{in_flight},\"timestamp\":\"{timestamp}\"}}\n"
        );
        let parsed: serde_json::Value = serde_json::from_str(&answer).expect("it is JSON");
        assert_eq!(parsed["in_flight"], in_flight);
        let hash =
            Sha256::digest(&answer).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = trace.lines().find(|line| line.contains(&format!("{id:?}"))).expect("the line");
        assert!(line.contains(&hash), "{id}: the trace expects something else than {answer}");
    }
}
