//! What a trace expects: of an exchange as its client and its upstream see it, of a configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use super::text::{Span, Text};

/// What should come of an exchange; everything left out is not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect<'a> {
    /// The status that the client gets.
    pub status: Option<u16>,
    /// The route that the filter reports; `""` where it should report none.
    #[serde(borrow)]
    pub route: Option<Text<'a>>,
    /// What the filter reports of its decisions: each of these fields has this value, and what should be
    /// `null` is not said at all. Of what is said several times the last word counts.
    #[serde(default)]
    pub decision: serde_json::Map<String, serde_json::Value>,
    /// Response headers that the client gets, each with this value.
    #[serde(borrow, default)]
    pub headers: BTreeMap<Text<'a>, Text<'a>>,
    /// Response headers that the client does not get.
    #[serde(borrow, default)]
    pub absent: Vec<Text<'a>>,
    /// Whether the proxy closes the client's connection with this exchange: `connection: close` on
    /// HTTP/1, GOAWAY on HTTP/2.
    pub closed: Option<bool>,
    /// When the client gets the body's first byte, or the headers where there is no body, from the
    /// moment that it sent the request.
    pub first_byte: Option<Bound>,
    /// When the exchange ends for the client, from the moment that it sent the request.
    pub last_byte: Option<Bound>,
    /// The length of the body that the client gets.
    pub body_bytes: Option<u64>,
    /// The SHA-256 of the body that the client gets, in hexadecimal.
    #[serde(borrow, default, deserialize_with = "sha256")]
    pub body_sha256: Option<Text<'a>>,
    /// How the exchange ends for the client.
    pub end: Option<Outcome>,
    /// Who ends it.
    pub ended_by: Option<EndedBy>,
    /// Why it failed, in the filter's word; `""` where it should say none.
    #[serde(borrow, default, deserialize_with = "reason")]
    pub reason: Option<Text<'a>>,
    /// What the upstream gets.
    #[serde(borrow)]
    pub upstream: Option<UpstreamExpect<'a>>,
}

/// What the upstream should get of an exchange.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamExpect<'a> {
    /// How many times the request is tried.
    pub attempts: Option<u32>,
    /// When the request's headers reach the upstream for the first time, from the moment that the
    /// client sent the request.
    pub start: Option<Bound>,
    /// Request headers that the upstream gets, each with this value.
    #[serde(borrow, default)]
    pub headers: BTreeMap<Text<'a>, Text<'a>>,
    /// Request headers that the upstream does not get.
    #[serde(borrow, default)]
    pub absent: Vec<Text<'a>>,
    /// The length of the request's body as the last attempt gets it.
    pub body_bytes: Option<u64>,
    /// The SHA-256 of that body, in hexadecimal.
    #[serde(borrow, default, deserialize_with = "sha256")]
    pub body_sha256: Option<Text<'a>>,
}

/// How an exchange ends for its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The response is complete.
    Complete,
    /// The response is cut, so that the client can tell: no last chunk, or RST_STREAM.
    Cut,
    /// The client went away first.
    Client,
    /// Nothing ended it while the trace ran.
    Open,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Client => "client",
            Self::Open => "open",
        })
    }
}

/// Who ends an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The upstream: its response is complete, or broke off.
    Upstream,
    /// The client, which went away first.
    Client,
    /// The filter: it answered, or reset the stream.
    Filter,
    /// The proxy itself: its limits, an upstream that gave it no response, a filter that broke.
    Proxy,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Client => "client",
            Self::Filter => "filter",
            Self::Proxy => "proxy",
        })
    }
}

/// What should come of a configuration.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigureExpect {
    /// Whether the filter takes it.
    pub accepted: bool,
}

/// A bound on a time: `"<=30ms"`, `">=2s"`, or a range such as `"15s..16s"` that includes both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The shortest time that holds.
    pub least: Duration,
    /// The longest time that holds.
    pub most: Duration,
}

impl Bound {
    /// Whether `span` holds.
    pub fn holds(&self, span: Duration) -> bool {
        (self.least..=self.most).contains(&span)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let span = |part: &str| Span::parse(part).map(|span| span.0);
        if let Some(most) = text.strip_prefix("<=") {
            Ok(Self { least: Duration::ZERO, most: span(most)? })
        } else if let Some(least) = text.strip_prefix(">=") {
            Ok(Self { least: span(least)?, most: Duration::MAX })
        } else if let Some((least, most)) = text.split_once("..") {
            let bound = Self { least: span(least)?, most: span(most)? };
            if bound.least > bound.most {
                return Err(format!("{text:?} is empty; expected the shorter time first"));
            }
            Ok(bound)
        } else {
            Err(format!("{text:?} is no bound; expected \"<=30ms\", \">=2s\" or \"1s..2s\""))
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, most } = self;
        match (least.is_zero(), *most == Duration::MAX) {
            (_, true) => write!(f, ">={least:?}"),
            (true, false) => write!(f, "<={most:?}"),
            (false, false) => write!(f, "{least:?}..{most:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bound::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// One word, as programs compare it, or nothing.
fn reason<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Text<'a>>, D::Error> {
    let reason = Option::<Text>::deserialize(deserializer)?;
    let wrong = |b: u8| !(b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match reason.as_deref() {
        Some(found) if found.bytes().any(wrong) => Err(D::Error::custom(format_args!(
            "{found:?} is no reason; expected a word such as \"read_timeout\", or \"\" for none"
        ))),
        _ => Ok(reason),
    }
}

/// A hash in the lower case of reports, however it is written.
fn sha256<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Text<'a>>, D::Error> {
    let Some(text) = Option::<Text>::deserialize(deserializer)? else { return Ok(None) };
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let found = &*text;
        return Err(D::Error::custom(format_args!(
            "{found:?} is no SHA-256; expected 64 hexadecimal digits"
        )));
    }
    match text.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Ok(Some(Text(text.to_ascii_lowercase().into()))),
        false => Ok(Some(text)),
    }
}
