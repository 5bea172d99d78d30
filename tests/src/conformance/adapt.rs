//! Traces as a stage can play them, the same for simulator and Envoy: what happens is kept, what hangs on the
//! machine or on one proxy's numbers is taken out.
//!
//! - Long traces are scaled: every time in them and every limit in their configurations, but not how often
//!   the filter ticks, and not Envoy's own limit of 15 s where a route has none.
//! - A drain record in shared data becomes a configuration with that drain, because nobody outside of an Envoy
//!   can write its shared data.
//! - A drain closes at once: each connection's moment in a window hangs on its number in its process.
//! - A connection that is refused is refused at once.
//! - Metrics are not looked at: those of an Envoy count all traces that it has played.

use std::time::Duration;

use serde_json::{Value, json};

/// The shortest window that a configuration can ask for.
const AT_ONCE: &str = "1ms";

/// A trace and the configuration it begins with, all times divided by `factor`.
///
/// # Panics
/// If the trace writes shared data that is no drain record.
pub(super) fn staged(text: &str, configuration: &Value, factor: f64) -> (String, Value) {
    let first = staged_configuration(configuration, factor);
    let mut in_force = first.clone();
    let text = each(text, |event| {
        scale(event, "at", factor);
        if event.get("metrics").is_some() {
            return false;
        }
        if event.get("shared_data").is_some() {
            begin_drain(event, &in_force);
        }
        match event.get_mut("configure") {
            Some(pushed) => {
                *pushed = staged_configuration(pushed, factor);
                if event.pointer("/expect/accepted") != Some(&json!(false)) {
                    in_force = event["configure"].clone();
                }
            }
            None => scale_exchange(event, factor),
        }
        true
    });
    (text, first)
}

/// The trace with another pause before every answer of its upstreams.
pub(super) fn answering(text: &str, pause: impl Fn(Duration) -> Duration) -> String {
    each(text, |event| {
        for attempt in attempts(event) {
            let after = attempt.get("after").and_then(Value::as_str).unwrap_or("0s");
            let after = humantime::parse_duration(after).expect("a trace was read before");
            attempt["after"] = json!(format!("{}ns", pause(after).as_nanos()));
        }
        true
    })
}

/// The trace without these exchanges.
pub(super) fn without(text: &str, ids: &[String]) -> String {
    each(text, |event| !ids.iter().any(|id| event.get("id").is_some_and(|found| found == id)))
}

/// The events after a change, without those that it does not keep.
fn each(text: &str, mut keep: impl FnMut(&mut Value) -> bool) -> String {
    let events = text.lines().filter(|line| !line.trim().is_empty()).filter_map(|line| {
        let mut event: Value = serde_json::from_str(line).expect("a trace was read before");
        keep(&mut event).then(|| format!("{event}\n"))
    });
    events.collect()
}

/// What the upstream of an event does, an entry for each try.
fn attempts(event: &mut Value) -> &mut [Value] {
    match event.get_mut("upstream") {
        Some(Value::Array(attempts)) => attempts,
        Some(one) => std::slice::from_mut(one),
        None => &mut [],
    }
}

/// Turns a write of the drain record into a push.
fn begin_drain(event: &mut Value, in_force: &Value) {
    let fields = event.as_object_mut().expect("an event is an object");
    let write = fields.remove("shared_data").unwrap_or_default();
    assert_eq!(write["key"], "sluice.drain", "nobody can write {write} in a real Envoy");
    let mut state = write["value"].clone();
    let record = state.as_object_mut().expect("a drain record is an object");
    record.retain(|name, _| matches!(name.as_str(), "epoch" | "mode" | "percent" | "routes"));
    let mut draining = in_force.clone();
    draining["drain"]["state"] = state;
    fields.insert("configure".to_owned(), draining);
}

fn scale_exchange(event: &mut Value, factor: f64) {
    event.as_object_mut().expect("an event is an object").remove("expect");
    if let Some(request) = event.get_mut("request") {
        scale_body(request, factor);
    }
    for attempt in attempts(event) {
        if attempt.get("end").is_some_and(|end| end == "refused") {
            attempt["after"] = json!("0s");
        }
        scale(attempt, "after", factor);
        scale_body(attempt, factor);
    }
}

fn scale_body(message: &mut Value, factor: f64) {
    let chunks = message.get_mut("body").and_then(Value::as_array_mut);
    chunks.into_iter().flatten().for_each(|chunk| scale(chunk, "after", factor));
}

fn staged_configuration(configuration: &Value, factor: f64) -> Value {
    let mut configuration = configuration.clone();
    let routes = configuration.get_mut("routes").and_then(Value::as_array_mut);
    let limits = routes.into_iter().flatten().filter_map(|route| route.get_mut("timeouts"));
    limits.for_each(|limits| scale_limits(limits, factor));
    if let Some(limits) = configuration.pointer_mut("/defaults/timeouts") {
        scale_limits(limits, factor);
    }
    if let Some(Value::Object(state)) = configuration.pointer_mut("/drain/state")
        && state.get("mode").is_some_and(|mode| mode != "off" && mode != "terminate")
    {
        state.insert("window".to_owned(), json!(AT_ONCE));
    }
    configuration
}

/// Configurations know no unit below a millisecond.
fn scale_limits(limits: &mut Value, factor: f64) {
    for (_, limit) in limits.as_object_mut().into_iter().flatten() {
        if let Some(span) = limit.as_str().and_then(|text| humantime::parse_duration(text).ok()) {
            // 0s is no limit.
            let least = u128::from(!span.is_zero());
            *limit = json!(format!("{}ms", span.div_f64(factor).as_millis().max(least)));
        }
    }
}

fn scale(value: &mut Value, field: &str, factor: f64) {
    let Some(text) = value.get(field).and_then(Value::as_str) else { return };
    let span = humantime::parse_duration(text).expect("a trace was read before");
    let scaled: Duration = span.div_f64(factor);
    value[field] = json!(format!("{}ns", scaled.as_nanos()));
}
