//! Long answers in a drain: those that end within the bound of their route are complete, and the
//! others end after a whole event.

use serde_json::{Value, json};

use super::replays::{options, replayed};

fn configuration(drain: &Value, state: Option<Value>) -> Value {
    let mut configuration = json!({
        "version": 1,
        "routes": [{ "name": "llm", "match": { "path": { "prefix": "/v1/" } }, "buffering": "off", "drain": drain }],
        "drain": {},
    });
    if let Some(state) = state {
        configuration["drain"]["state"] = state;
    }
    configuration
}

/// Answers of this many seconds, one event a second, and a `terminate` after five seconds.
fn trace(drain: &Value, window: &str, answers: &[(u64, Value)]) -> String {
    let line = |value: Value| format!("{value}\n");
    let mut trace = line(json!({ "at": "0s", "configure": configuration(drain, None) }));
    for (index, (seconds, expect)) in answers.iter().enumerate() {
        trace += &line(json!({
            "at": "0s", "id": format!("{seconds} s"), "connection": index.to_string(),
            "request": { "method": "POST", "path": "/v1/chat/completions" },
            "upstream": { "headers": [["content-type", "text/event-stream"]],
                          "body": [{ "text": "data: tok\n\n", "after": "1s", "times": seconds }] },
            "expect": expect,
        }));
    }
    let state = json!({ "epoch": 1, "mode": "terminate", "window": window });
    trace + &line(json!({ "at": "5s", "configure": configuration(drain, Some(state)) }))
}

fn passes(drain: &Value, window: &str, answers: &[(u64, Value)]) {
    let before = configuration(drain, None).to_string();
    replayed(&trace(drain, window, answers), &options(&before, 2, 0), |report| {
        assert_eq!(report.failures().collect::<Vec<_>>(), []);
        assert!(report.expected() > 0);
    });
}

const EVENT: usize = "data: tok\n\n".len();

#[test]
fn answers_that_end_within_the_bound_are_complete() {
    let complete: Vec<_> = (30..34)
        .map(|seconds| {
            (seconds, json!({ "end": "complete", "body_bytes": seconds as usize * EVENT }))
        })
        .collect();
    passes(&json!({ "streams": "finish", "within": "30s" }), "60s", &complete);
    passes(&json!("wait"), "60s", &complete);
}

#[test]
fn longer_answers_end_after_a_whole_event() {
    let last = "event: bye\ndata: {}\n\n";
    let drain = json!({ "streams": "finish", "within": "30s", "last_event": last });
    // The drain begins after 5 s, and its connections are due at once.
    let bytes = 36 * EVENT + last.len();
    let cut = json!({ "end": "cut", "reason": "drain_cut", "ended_by": "filter",
                      "body_bytes": bytes, "last_byte": "36s..36.6s" });
    let complete = json!({ "end": "complete", "body_bytes": 34 * EVENT });
    passes(&drain, "0s", &[(300, cut), (34, complete)]);
}
