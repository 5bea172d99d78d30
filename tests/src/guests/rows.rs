//! The table: a request, what upstream and clusters respond, and what everybody must see.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Observed;

/// The first line of a trace: the clusters that exist on both hosts.
pub(super) const SETUP: &str =
    "{\"at\":\"0s\",\"clusters\":[\"callout\",\"grpc\",\"refused\",\"service\"]}\n";

/// A row of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The name, unique in the table.
    pub name: String,
    /// The fields of a trace's `request`.
    pub(super) request: Value,
    /// The fields of a trace's `upstream`.
    #[serde(default)]
    pub(super) upstream: Option<Value>,
    /// The responses of clusters to calls of the guest, as in a trace's `respond`.
    #[serde(default)]
    pub(super) clusters: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) expect: Expected,
    /// The log lines of the guest, in order: the level and the text.
    #[serde(default)]
    pub(super) log: Vec<String>,
    /// The requests that clusters receive.
    #[serde(default)]
    pub(super) calls: Vec<String>,
    /// Why the simulator does not do this yet.
    pub(super) pending: Option<String>,
    /// The guests for which the row does not hold, with the reason.
    #[serde(default)]
    pub(super) except: BTreeMap<String, String>,
}

/// What the client receives.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Values>,
    #[serde(default)]
    pub(super) absent: Vec<String>,
    pub(super) body: Option<String>,
    /// Whether the response is cut.
    #[serde(default)]
    pub(super) cut: bool,
    /// Whether the guest crashes.
    #[serde(default)]
    pub(super) trap: bool,
    pub(super) upstream: Option<ExpectedRequest>,
}

/// What the upstream receives.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectedRequest {
    /// The number of requests; 0 if the request does not reach the upstream.
    pub(super) attempts: Option<u32>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Values>,
    #[serde(default)]
    pub(super) absent: Vec<String>,
    pub(super) body: Option<String>,
}

/// The value of a header, or all its values.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Values {
    One(String),
    All(Vec<String>),
}

impl Values {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::All(values) => values,
        }
    }
}

/// Reads the table.
///
/// # Panics
/// If it cannot be read.
pub(super) fn read(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Row {
    /// Whether the row holds for a guest.
    pub(super) fn applies_to(&self, guest: &str) -> bool {
        !self.except.contains_key(guest)
    }

    /// The events of the row in a trace, at this time in seconds. The trace begins with [`SETUP`].
    pub(super) fn events(&self, at: usize) -> String {
        let at = format!("{at}s");
        let mut text = String::new();
        for (cluster, respond) in &self.clusters {
            let event = json!({ "at": at, "cluster": cluster, "respond": respond });
            text.push_str(&format!("{event}\n"));
        }
        let mut event = json!({ "at": at, "id": self.name, "request": self.request });
        if let Some(upstream) = &self.upstream {
            event["upstream"] = upstream.clone();
        }
        event["expect"] = self.expect.to_trace();
        text.push_str(&format!("{event}\n"));
        text
    }

    /// A line for each difference between the row and a host.
    pub(super) fn compare(&self, observed: &Observed) -> Vec<String> {
        let mut lines = observed.mismatches.clone();
        for (what, expected, found) in
            [("log", &self.log, &observed.log), ("calls", &self.calls, &observed.calls)]
        {
            if expected != found {
                let list = |lines: &[String]| lines.join("\n    ");
                lines.push(format!(
                    "{what}: expected\n    {}\n  found\n    {}",
                    list(expected),
                    list(found)
                ));
            }
        }
        lines
    }
}

impl Expected {
    /// What differs from the output of the program for `proxy-wasm-host`.
    pub(super) fn mismatches_in(&self, output: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        if output["error"] != Value::Null {
            lines.push(format!("failed: {}", output["error"]));
        }
        let status = self.status.map(|status| status.to_string());
        if status.is_some() && output["status"].as_str() != status.as_deref() {
            lines.push(format!("status: expected {status:?}, found {}", output["status"]));
        }
        lines.extend(message_mismatches(&self.headers, &self.absent, self.body.as_deref(), output));
        if let Some(upstream) = &self.upstream {
            let found = &output["upstream"];
            let attempts = u32::from(*found != Value::Null);
            if upstream.attempts.is_some_and(|expected| expected != attempts) {
                lines.push(format!("attempts: expected {:?}, found {attempts}", upstream.attempts));
            }
            let body = upstream.body.as_deref();
            let differ = message_mismatches(&upstream.headers, &upstream.absent, body, found);
            lines.extend(differ.into_iter().map(|line| format!("upstream {line}")));
        }
        lines
    }

    /// The fields of a trace's `expect`.
    fn to_trace(&self) -> Value {
        let mut expect = json!({
            "headers": first_values(&self.headers),
            "absent": self.absent,
            "end": if self.cut { "cut" } else { "complete" },
            "trap": self.trap,
        });
        if let Some(status) = self.status {
            expect["status"] = json!(status);
        }
        add_body(&mut expect, self.body.as_deref());
        if let Some(upstream) = &self.upstream {
            let mut fields =
                json!({ "headers": first_values(&upstream.headers), "absent": upstream.absent });
            if let Some(attempts) = upstream.attempts {
                fields["attempts"] = json!(attempts);
            }
            add_body(&mut fields, upstream.body.as_deref());
            expect["upstream"] = fields;
        }
        expect
    }
}

fn message_mismatches(
    present: &BTreeMap<String, Values>,
    absent: &[String],
    body: Option<&str>,
    found: &Value,
) -> Vec<String> {
    let values = |wanted: &str| -> Vec<&str> {
        let pairs = found["headers"].as_array().into_iter().flatten();
        let named = pairs.filter(|pair| pair[0] == wanted);
        named.filter_map(|pair| pair[1].as_str()).collect()
    };
    let mut lines = Vec::new();
    for (name, want) in present {
        if values(name) != want.all() {
            lines.push(format!("header {name}: expected {want:?}, found {:?}", values(name)));
        }
    }
    for name in absent {
        if !values(name).is_empty() {
            lines.push(format!("header {name}: expected none, found {:?}", values(name)));
        }
    }
    if body.is_some() && found["body"].as_str() != body {
        lines.push(format!("body: expected {body:?}, found {}", found["body"]));
    }
    lines
}

/// A trace compares one value of each header; the first one.
fn first_values(headers: &BTreeMap<String, Values>) -> BTreeMap<&str, &str> {
    headers
        .iter()
        .map(|(name, values)| (name.as_str(), values.all().first().map_or("", String::as_str)))
        .collect()
}

fn add_body(expect: &mut Value, body: Option<&str>) {
    if let Some(body) = body {
        expect["body_bytes"] = json!(body.len());
        let hash = Sha256::digest(body);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        expect["body_sha256"] = json!(hash);
    }
}
