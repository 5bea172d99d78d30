//! The expectations of a trace: for an exchange, as its client and its upstream see it, and for a
//! configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::text::{Text, parse_duration};

/// The expectations of an exchange; absent fields are not compared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct Expect<'a> {
    /// The status of the client's response.
    pub status: Option<u16>,
    /// The route that the filter reports; `""` if it should report none.
    #[serde(borrow)]
    pub route: Option<Text<'a>>,
    /// Fields of the decisions that the filter reports, with their values; `null` for a field that
    /// it should not report. If several decisions have a field, the last one counts.
    #[serde(default)]
    pub decision: serde_json::Map<String, serde_json::Value>,
    /// Headers of the client's response, with their values.
    #[serde(borrow, default)]
    pub headers: BTreeMap<Text<'a>, Text<'a>>,
    /// Headers that the client's response does not have.
    #[serde(borrow, default)]
    pub absent: Vec<Text<'a>>,
    /// Whether the proxy closes the client's connection with this exchange: `connection: close` on
    /// HTTP/1, GOAWAY on HTTP/2.
    pub closed: Option<bool>,
    /// The time from the request to the first byte of the body, or to the headers of a response
    /// without a body.
    pub first_byte: Option<Bound>,
    /// The time from the request to the end of the exchange for the client.
    pub last_byte: Option<Bound>,
    /// The length of the client's response body.
    pub body_bytes: Option<u64>,
    /// The SHA-256 of the client's response body, in hexadecimal.
    #[serde(borrow, default, deserialize_with = "sha256")]
    pub body_sha256: Option<Text<'a>>,
    /// How the exchange ends for the client.
    pub end: Option<Outcome>,
    pub ended_by: Option<EndedBy>,
    /// The reason that the filter reports for a failed exchange; `""` if it should report none.
    #[serde(borrow, default, deserialize_with = "reason")]
    pub reason: Option<Text<'a>>,
    /// Whether the filter crashes in a callback of this exchange, or in a callback of its plugin
    /// while the exchange is in flight.
    #[serde(borrow)]
    pub trap: Option<TrapExpect<'a>>,
    #[serde(borrow)]
    pub upstream: Option<Box<UpstreamExpect<'a>>>,
}

/// The expectations of the request that the upstream receives.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct UpstreamExpect<'a> {
    /// The number of attempts.
    pub attempts: Option<u32>,
    /// The time from the client's request to the first delivery of its headers to the upstream.
    pub start: Option<Bound>,
    /// Request headers, with their values.
    #[serde(borrow, default)]
    pub headers: BTreeMap<Text<'a>, Text<'a>>,
    /// Request headers that the upstream does not receive.
    #[serde(borrow, default)]
    pub absent: Vec<Text<'a>>,
    /// The length of the request body in the last attempt.
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
    /// The response is cut visibly: without the last chunk, or with RST_STREAM.
    Cut,
    /// The client closed its connection first.
    Client,
    /// The exchange did not end before the end of the trace.
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

/// The peer or component that ends an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// The upstream: it completed its response, or cut it.
    Upstream,
    /// The client: it closed its connection.
    Client,
    /// The filter: it sent a local reply or reset the stream.
    Filter,
    /// The proxy: a timeout or a limit, an upstream without a response, or a crash of the filter.
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

/// The expectations of a configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[non_exhaustive]
pub struct ConfigureExpect<'a> {
    /// Whether the filter accepts it.
    pub accepted: Option<bool>,
    /// Whether the filter crashes while it reads the configuration, or later in a callback of its
    /// plugin, until the next configuration.
    #[serde(borrow)]
    pub trap: Option<TrapExpect<'a>>,
}

impl ConfigureExpect<'_> {
    /// Whether the filter should accept the configuration. Without an expectation it should; a
    /// crash that the trace expects may come before the filter accepts.
    pub fn accepted(&self) -> Option<bool> {
        let crashes = self.trap.as_ref().is_some_and(|trap| *trap != TrapExpect::Crashes(false));
        self.accepted.or((!crashes).then_some(true))
    }
}

/// The expectation of a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrapExpect<'a> {
    /// The filter crashes, or does not.
    Crashes(bool),
    /// The filter crashes, and the message of the crash contains this text.
    Message(Text<'a>),
}

impl TrapExpect<'_> {
    /// Whether a crash with this message meets the expectation.
    pub fn matches(&self, message: &str) -> bool {
        match self {
            Self::Crashes(crashes) => *crashes,
            Self::Message(text) => message.contains(&**text),
        }
    }
}

impl fmt::Display for TrapExpect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crashes(true) => f.write_str("a crash"),
            Self::Crashes(false) => f.write_str("no crash"),
            Self::Message(text) => write!(f, "a crash with {:?}", &**text),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for TrapExpect<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrapVisitor;
        impl<'de> Visitor<'de> for TrapVisitor {
            type Value = TrapExpect<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a text that the message of the crash contains")
            }

            fn visit_bool<E: Error>(self, crashes: bool) -> Result<Self::Value, E> {
                Ok(TrapExpect::Crashes(crashes))
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                check_message(text)?;
                Ok(TrapExpect::Message(Text(text.into())))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                check_message(text)?;
                Ok(TrapExpect::Message(Text(text.to_owned().into())))
            }
        }
        deserializer.deserialize_any(TrapVisitor)
    }
}

/// Every message contains the empty text.
fn check_message<E: Error>(text: &str) -> Result<(), E> {
    match text {
        "" => Err(E::custom("found an empty text; write true for a crash with any message")),
        _ => Ok(()),
    }
}

/// A range of durations, both ends included: `"<=30ms"`, `">=2s"` or `"15s..16s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    pub min: Duration,
    /// [`Duration::MAX`] if there is no maximum.
    pub max: Duration,
}

impl Bound {
    /// Whether `duration` is in the range.
    pub fn contains(&self, duration: Duration) -> bool {
        (self.min..=self.max).contains(&duration)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(max) = text.strip_prefix("<=") {
            Ok(Self { min: Duration::ZERO, max: parse_duration(max)? })
        } else if let Some(min) = text.strip_prefix(">=") {
            Ok(Self { min: parse_duration(min)?, max: Duration::MAX })
        } else if let Some((min, max)) = text.split_once("..") {
            let bound = Self { min: parse_duration(min)?, max: parse_duration(max)? };
            if bound.min > bound.max {
                return Err(format!("{text:?} is empty; write the shorter duration first"));
            }
            Ok(bound)
        } else {
            Err(format!("{text:?} is not a bound; write \"<=30ms\", \">=2s\" or \"1s..2s\""))
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max } = self;
        match (min.is_zero(), *max == Duration::MAX) {
            (_, true) => write!(f, ">={min:?}"),
            (true, false) => write!(f, "<={max:?}"),
            (false, false) => write!(f, "{min:?}..{max:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bound::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Deserializes a reason: a word in snake case, or the empty string.
fn reason<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Text<'a>>, D::Error> {
    let reason = Option::<Text>::deserialize(deserializer)?;
    let wrong = |b: u8| !(b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match reason.as_deref() {
        Some(found) if found.bytes().any(wrong) => Err(D::Error::custom(format_args!(
            "{found:?} is not a reason; write a word such as \"read_timeout\", or \"\" for no reason"
        ))),
        _ => Ok(reason),
    }
}

/// Deserializes a hash and converts it to lower case, as in reports.
fn sha256<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Text<'a>>, D::Error> {
    let Some(text) = Option::<Text>::deserialize(deserializer)? else { return Ok(None) };
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        let found = &*text;
        return Err(D::Error::custom(format_args!(
            "{found:?} is not a SHA-256 hash; expected 64 hexadecimal digits"
        )));
    }
    match text.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Ok(Some(Text(text.to_ascii_lowercase().into()))),
        false => Ok(Some(text)),
    }
}
