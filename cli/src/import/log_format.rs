//! The access logs that proxies write without a configuration of their own: the default text of
//! Envoy, the text and the JSON of Istio, the JSON of Envoy Gateway, and nginx's `combined` and JSON.
//! Each line becomes the fields of `envoy-examples/access-log`, as far as it has them.

use jiff::Timestamp;
use jiff::fmt::strtime::parse as parse_time;
use serde_json::{Map, Value, json};

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogFormat {
    /// A proxy whose settings the format does not show.
    Any,
    EnvoyGateway,
    Istio,
}

impl LogFormat {
    /// The format in words, and the preset of the proxy that writes it.
    pub(super) fn preset(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Any => None,
            Self::EnvoyGateway => Some(("Envoy Gateway's format", "envoy-gateway")),
            Self::Istio => Some(("Istio's format", "istio-sidecar")),
        }
    }
}

/// The fields of a line.
pub(super) type Fields = Map<String, Value>;

/// Names of fields in JSON logs, and those of the own format. Headers are below `request_headers`.
const NAMES: [(&str, &str); 12] = [
    ("x-envoy-origin-path", "path"),
    (":authority", "authority"),
    ("user-agent", "request_headers.user-agent"),
    ("user_agent", "request_headers.user-agent"),
    ("http_user_agent", "request_headers.user-agent"),
    ("x-request-id", "request_headers.x-request-id"),
    ("request_id", "request_headers.x-request-id"),
    ("http_referer", "request_headers.referer"),
    ("request_method", "method"),
    ("request_uri", "path"),
    ("http_host", "authority"),
    ("server_protocol", "protocol"),
];

/// The fields of a line of Envoy, Istio or Envoy Gateway; `None` for other text.
pub(super) fn envoy_line(text: &str) -> Option<(LogFormat, Fields)> {
    let words = words(text)?;
    let [Word::Time(time), Word::Quoted(line), rest @ ..] = words.as_slice() else {
        return None;
    };
    let rest: Vec<&str> = rest.iter().map(Word::text).collect();
    // Istio adds the details after the flags, and the cluster and addresses at the end.
    let (format, code, flags, details, rest) = match *rest.as_slice() {
        [code, flags, ref rest @ ..] if rest.len() == 9 => {
            (LogFormat::Any, code, flags, "-", rest.to_vec())
        }
        [code, flags, details, _, _, ref rest @ ..] if rest.len() >= 10 => {
            (LogFormat::Istio, code, flags, details, rest.to_vec())
        }
        _ => return None,
    };
    let mut fields = request(line);
    fields.insert("start_time".into(), json!(time));
    fields.insert("response_code".into(), json!(code));
    fields.insert("response_flags".into(), json!(flags));
    fields.insert("response_code_details".into(), json!(details));
    for (name, value) in ["bytes_received", "bytes_sent", "duration"].into_iter().zip(&rest) {
        fields.insert(name.into(), json!(value));
    }
    service_time(&mut fields, rest[3].parse().ok());
    let headers = json!({ "user-agent": rest[5], "x-request-id": rest[6] });
    fields.insert("request_headers".into(), headers);
    fields.insert("authority".into(), json!(rest[7]));
    Some((format, fields))
}

/// The fields of a JSON line. Names of other formats are added under their own names.
pub(super) fn envoy_object(mut fields: Fields) -> (LogFormat, Fields) {
    let format = if fields.contains_key("x-envoy-origin-path") {
        LogFormat::EnvoyGateway
    } else if fields.contains_key("upstream_service_time") {
        LogFormat::Istio
    } else {
        return (LogFormat::Any, fields);
    };
    rename(&mut fields);
    let time = ["upstream_service_time", "x-envoy-upstream-service-time"]
        .into_iter()
        .find_map(|name| number(fields.get(name)?));
    service_time(&mut fields, time);
    (format, fields)
}

/// The fields of a line of nginx; `None` for other text.
pub(super) fn nginx_line(text: &str) -> Option<Fields> {
    if let Ok(Value::Object(object)) = serde_json::from_str(text) {
        return nginx_object(object);
    }
    let words = words(text)?;
    let [Word::Bare(_), _, _, Word::Time(time), Word::Quoted(line), rest @ ..] = words.as_slice()
    else {
        return None;
    };
    let [Word::Bare(status), Word::Bare(bytes), more @ ..] = rest else { return None };
    let mut fields = request(line);
    fields.insert("start_time".into(), json!(nginx_time(time)?));
    let mut headers = Map::new();
    for (name, word) in ["referer", "user-agent"].into_iter().zip(more) {
        headers.insert(name.into(), json!(word.text()));
    }
    fields.insert("request_headers".into(), Value::Object(headers));
    complete_nginx(&mut fields, json!(status), json!(bytes), 0.0);
    Some(fields)
}

/// nginx has no format of its own in JSON; these are the variables that such formats name.
fn nginx_object(mut fields: Fields) -> Option<Fields> {
    let text = |fields: &Fields, name: &str| fields.get(name)?.as_str().map(str::to_owned);
    let time = ["time_iso8601", "time_local", "time", "@timestamp", "timestamp"]
        .into_iter()
        .find_map(|name| nginx_time(&text(&fields, name)?))
        .or_else(|| seconds(fields.get("msec")?).and_then(epoch))?;
    let status = fields.get("status")?.clone();
    if let Some(line) = text(&fields, "request") {
        request(&line).into_iter().for_each(|(name, value)| {
            fields.entry(name).or_insert(value);
        });
    }
    if !fields.contains_key("request_uri")
        && !fields.contains_key("path")
        && let Some(uri) = text(&fields, "uri")
    {
        let query = text(&fields, "args").filter(|args| !matches!(args.as_str(), "" | "-"));
        let query = query.map(|args| format!("?{args}")).unwrap_or_default();
        fields.insert("path".into(), json!(format!("{uri}{query}")));
    }
    rename(&mut fields);
    if !fields.contains_key("authority")
        && let Some(host) = text(&fields, "host").or_else(|| text(&fields, "server_name"))
    {
        fields.insert("authority".into(), json!(host));
    }
    let duration = fields.get("request_time").and_then(seconds).unwrap_or(0.0);
    let upstream = ["upstream_header_time", "upstream_response_time"]
        .into_iter()
        .find_map(|name| seconds(fields.get(name)?));
    service_time(&mut fields, upstream.map(|seconds| seconds * 1000.0));
    // nginx logs the end of a request.
    let start = time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9 - duration;
    fields.insert("start_time".into(), json!(epoch(start).unwrap_or(time)));
    let sent = ["body_bytes_sent", "bytes_sent"].into_iter().find_map(|name| fields.get(name));
    let sent = sent.cloned().unwrap_or(Value::Null);
    complete_nginx(&mut fields, status, sent, duration);
    Some(fields)
}

fn complete_nginx(fields: &mut Fields, status: Value, sent: Value, duration: f64) {
    fields.insert("response_code".into(), status);
    fields.insert("response_flags".into(), json!("-"));
    fields.insert("bytes_sent".into(), sent);
    fields.insert("duration".into(), json!((duration * 1000.0).round() as u64));
    // nginx writes HTTP/2.0, and Envoy HTTP/2.
    if let Some(Value::String(protocol)) = fields.get_mut("protocol") {
        *protocol = match protocol.as_str() {
            "HTTP/2.0" => "HTTP/2".to_owned(),
            "HTTP/3.0" => "HTTP/3".to_owned(),
            other => other.to_owned(),
        };
    }
}

/// The fields of a request line such as `GET /path HTTP/1.1`.
fn request(line: &str) -> Fields {
    let mut fields = Map::new();
    let mut parts = line.split(' ');
    let (method, protocol) = (parts.next(), parts.next_back());
    let path = parts.collect::<Vec<_>>().join(" ");
    for (name, value) in [("method", method), ("path", Some(path.as_str())), ("protocol", protocol)]
    {
        fields.insert(name.into(), json!(value));
    }
    fields
}

fn rename(fields: &mut Fields) {
    for (from, to) in NAMES {
        let Some(value) = fields.get(from).cloned() else { continue };
        match to.split_once('.') {
            None => {
                fields.entry(to).or_insert(value);
            }
            Some((object, name)) => {
                let headers = fields.entry(object).or_insert_with(|| json!({}));
                if let Value::Object(headers) = headers {
                    headers.entry(name).or_insert(value);
                }
            }
        }
    }
}

/// Adds the times of a response whose upstream took `millis` until its headers.
fn service_time(fields: &mut Fields, millis: Option<f64>) {
    let duration = fields.get("duration").and_then(number);
    if let (Some(millis), false) = (millis, fields.contains_key("timing")) {
        let micros = |millis: f64| (millis * 1000.0).round() as u64;
        let end = duration.unwrap_or(millis).max(millis);
        let timing = json!({
            "upstream_start": 0, "response_start": micros(millis), "response_end": micros(end)
        });
        fields.insert("timing".into(), timing);
    }
}

/// A number that can be text.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    number.filter(|number| (0.0..1e12).contains(number))
}

/// Seconds; of several upstreams (`0.1, 0.2`), the last.
fn seconds(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => number(&json!(text.rsplit([',', ':']).next()?.trim())),
        other => number(other),
    }
}

fn epoch(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

/// `21/Nov/2026:13:23:18 +0000`, or RFC 3339.
fn nginx_time(text: &str) -> Option<Timestamp> {
    let local = || parse_time("%d/%b/%Y:%H:%M:%S %z", text).ok()?.to_timestamp().ok();
    text.parse().ok().or_else(local)
}

/// A part of a line of text.
#[derive(Debug, PartialEq)]
enum Word<'t> {
    Bare(&'t str),
    /// In square brackets.
    Time(&'t str),
    Quoted(&'t str),
}

impl<'t> Word<'t> {
    fn text(&self) -> &'t str {
        let (Self::Bare(text) | Self::Time(text) | Self::Quoted(text)) = self;
        text
    }
}

/// Splits a line at spaces, outside of quotes and brackets. `None` if one of these has no end.
fn words(text: &str) -> Option<Vec<Word<'_>>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let (word, after) = match end {
            Some(end) => {
                let (word, after) = rest[1..].split_once(end)?;
                (if end == '"' { Word::Quoted(word) } else { Word::Time(word) }, after)
            }
            None => {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                (Word::Bare(word), after)
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at<'v>(fields: &'v Fields, names: &str) -> &'v Value {
        let mut names = names.split('.');
        let first = fields.get(names.next().expect("a name")).expect("a field");
        names.fold(first, |value, name| &value[name])
    }

    #[test]
    fn envoy_text_becomes_fields() {
        let line = "[2026-11-21T13:23:18.058Z] \"GET /a?x=1 HTTP/1.1\" 503 UF 7 153 12 - \"10.0.0.1\" \
                    \"curl/8.5.0\" \"id-1\" \"shop.example.com\" \"10.0.0.2:80\"";
        let (format, fields) = envoy_line(line).expect("a line");
        assert_eq!(format, LogFormat::Any);
        for (name, expected) in [
            ("start_time", "2026-11-21T13:23:18.058Z"),
            ("method", "GET"),
            ("path", "/a?x=1"),
            ("protocol", "HTTP/1.1"),
            ("response_code", "503"),
            ("response_flags", "UF"),
            ("bytes_received", "7"),
            ("bytes_sent", "153"),
            ("duration", "12"),
            ("authority", "shop.example.com"),
            ("request_headers.user-agent", "curl/8.5.0"),
        ] {
            assert_eq!(at(&fields, name), expected, "{name}");
        }
        assert!(!fields.contains_key("timing"));
        assert!(envoy_line("[2026-11-21 13:23:18.058][1][info] starting").is_none());
        assert!(envoy_line("[unclosed").is_none() && envoy_line("").is_none());
    }

    proptest! {
        /// Random words in the places of a line, and any text.
        #[test]
        fn no_line_panics(
            words in prop::collection::vec("\\[[a-z0-9:]{0,4}\\]|\"[A-Z é/]{0,5}\"|[0-9a-zé.-]{1,4}", 0..24),
            text in ".{0,60}",
        ) {
            let time = "[2026-11-21T13:23:18Z] \"GET /\" ";
            for line in [words.join(" "), format!("{time}{}", words.join(" ")), text] {
                let _ = (envoy_line(&line), nginx_line(&line));
            }
        }
    }

    #[test]
    fn istio_and_envoy_gateway_are_recognized() {
        let line = "[2026-11-21T13:23:18.058Z] \"POST /b HTTP/2\" 200 - via_upstream - \"-\" 7 153 12 9 \"-\" \
                    \"curl\" \"id\" \"shop\" \"10.0.0.2:80\" outbound|80||shop - 10.0.0.3:80 10.0.0.4:5 - default";
        let (format, fields) = envoy_line(line).expect("a line");
        assert_eq!(format, LogFormat::Istio);
        assert_eq!(at(&fields, "response_code_details"), "via_upstream");
        assert_eq!(at(&fields, "timing.response_start"), 9000);
        assert_eq!(at(&fields, "timing.response_end"), 12_000);

        let object = json!({ "x-envoy-origin-path": "/c", ":authority": "shop", "user-agent": "curl", "duration": 5,
                             "x-envoy-upstream-service-time": "3" });
        let Value::Object(object) = object else { unreachable!("an object") };
        let (format, fields) = envoy_object(object);
        assert_eq!(format, LogFormat::EnvoyGateway);
        assert_eq!((at(&fields, "path"), at(&fields, "authority")), (&json!("/c"), &json!("shop")));
        assert_eq!(at(&fields, "request_headers.user-agent"), "curl");
        assert_eq!(at(&fields, "timing.response_start"), 3000);
    }

    #[test]
    fn nginx_lines_become_fields() {
        let line = "10.0.0.1 - - [21/Nov/2026:15:23:18 +0200] \"GET /a b HTTP/2.0\" 200 612 \"-\" \"curl\" \"-\"";
        let fields = nginx_line(line).expect("a line");
        for (name, expected) in [
            ("start_time", json!("2026-11-21T13:23:18Z")),
            ("path", json!("/a b")),
            ("protocol", json!("HTTP/2")),
            ("response_code", json!("200")),
            ("bytes_sent", json!("612")),
            ("request_headers.user-agent", json!("curl")),
        ] {
            assert_eq!(at(&fields, name), &expected, "{name}");
        }
        let object = json!({ "time_iso8601": "2026-11-21T13:23:20+00:00", "request": "GET /a HTTP/1.1", "status": 504,
                             "request_time": 1.5, "upstream_response_time": "0.2, 1.25", "host": "shop",
                             "http_user_agent": "curl", "body_bytes_sent": 9 });
        let fields = nginx_line(&object.to_string()).expect("a line");
        assert_eq!(at(&fields, "start_time"), &json!("2026-11-21T13:23:18.5Z"));
        assert_eq!(at(&fields, "duration"), 1500);
        assert_eq!(at(&fields, "timing.response_start"), 1_250_000);
        assert_eq!(at(&fields, "authority"), "shop");
        let object = json!({ "msec": "1795267400.5", "uri": "/a", "args": "b=1", "request_method": "PUT", "status": "201" });
        let fields = nginx_line(&object.to_string()).expect("a line");
        assert_eq!((at(&fields, "path"), at(&fields, "method")), (&json!("/a?b=1"), &json!("PUT")));
        for other in
            ["", "2026/11/21 [error] 7#7: x", "{}", "10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1"]
        {
            assert!(nginx_line(other).is_none(), "{other}");
        }
    }
}
