//! The text of the health replies in `autoscaling-termination`; the trace contains only their
//! hashes.

use sha2::{Digest, Sha256};

use super::replays::file;
use crate::trace;

/// The exchange of each health check, the in-flight requests and the timestamp in its reply.
const REPLIES: [(&str, u32, &str); 6] = [
    ("health draining", 6, "2026-01-01T00:01:01.000Z"),
    ("health, five", 5, "2026-01-01T00:01:10.000Z"),
    ("health, four", 4, "2026-01-01T00:01:15.000Z"),
    ("health, two", 2, "2026-01-01T00:01:24.000Z"),
    ("health, only the stuck one", 1, "2026-01-01T00:01:30.000Z"),
    ("health, empty", 0, "2026-01-01T00:02:07.000Z"),
];

#[test]
fn trace_expects_the_hash_of_each_health_reply() {
    let trace = file(&trace("autoscaling-termination"));
    for (id, in_flight, timestamp) in REPLIES {
        let reply = format!(
            "{{\"status\":\"draining\",\"instance\":\"simulator\",\"epoch\":12,\"mode\":\"terminate\",\
             \"in_flight\":{in_flight},\"timestamp\":\"{timestamp}\"}}\n"
        );
        let parsed: serde_json::Value = serde_json::from_str(&reply).expect("the reply is JSON");
        assert_eq!(parsed["in_flight"], in_flight);
        let hash =
            Sha256::digest(&reply).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = trace
            .lines()
            .find(|line| line.contains(&format!("{id:?}")))
            .expect("the exchange is in the trace");
        assert!(line.contains(&hash), "{id}: the trace does not expect {reply}");
    }
}
