//! The scalar values of a document. Each type holds legal values only, so that no later code has to
//! check them.

use serde::Serialize;

use super::error::{ConfigError, Problem, quoted};
use super::json::Node;
use super::placeholders::is_page;
use super::read::{Place, Read, legal_text, number, text};

/// The name of requests that match no route, in metrics and reports. No route can have it.
pub const NO_ROUTE: &str = "default";

/// Declares a string with a rule: `$legal` checks the text, `$expected` describes legal texts in
/// errors.
macro_rules! text_type {
    ($(#[$meta:meta])* pub struct $name:ident, $expected:literal, $legal:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
                legal_text(node, at, Self::EXPECTED, $legal).map(Self)
            }
        }
    };
}

text_type!(
    /// The name of a route. It is a part of metric names, which hosts split at dots; the small
    /// alphabet excludes them.
    pub struct RouteName,
    "1 to 64 letters, digits, - or _, and not the reserved name default",
    |text| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && text != NO_ROUTE
    }
);

text_type!(
    /// A path or the start of one.
    pub struct PathText,
    "a path that starts with / and has no query, fragment, space or control character",
    |text| text.starts_with('/') && !text.contains(['?', '#', ' ']) && !text.contains(|c: char| c.is_ascii_control())
);

text_type!(
    /// The name of a header in lower case, as hosts deliver it.
    pub struct HeaderName,
    "a header name in lower case (letters, digits and !#$%&'*+-.^_`|~)",
    |text| !text.is_empty() && text.bytes().all(|b| is_token(b) && !b.is_ascii_uppercase())
);

text_type!(
    /// A request method. Methods are case-sensitive in HTTP.
    pub struct Method,
    "a method such as \"GET\" (capital letters, digits, - or _)",
    |text| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    }
);

text_type!(
    /// A text to compare a header's value with.
    pub struct HeaderText,
    "text that is not empty and has no control characters",
    |text| !text.is_empty() && !text.contains(|c: char| c.is_ascii_control())
);

text_type!(
    /// A name that another system defines: the control plane's route, a policy in a route's
    /// metadata.
    pub struct ForeignName,
    "a name that is not empty",
    |text| !text.is_empty()
);

text_type!(
    /// The key of a control store.
    pub struct StoreKey,
    "a key of 1 to 1024 visible ASCII characters other than ?, # and %",
    is_store_key
);

/// Whether the text is a valid key of a control store.
pub fn is_store_key(text: &str) -> bool {
    (1..=1024).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"?#%".contains(&b))
}

text_type!(
    /// The name of a host with an optional port.
    pub struct HostName,
    "a host name with an optional port",
    is_host_name
);

/// Whether servers accept the text as an authority.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

text_type!(
    /// A content type with optional parameters.
    pub struct MediaType,
    "a content type such as \"application/json\"",
    |text| {
        let kind = text.split(';').next().unwrap_or_default().trim_end();
        let parts = kind.split_once('/');
        // `text/*` is a media range, which is valid in `accept` only.
        let is_name =
            |name: &str| !name.is_empty() && name != "*" && name.bytes().all(is_token);
        parts.is_some_and(|(kind, form)| is_name(kind) && is_name(form))
            && !text.contains(|c: char| c.is_ascii_control())
            && text.is_ascii()
    }
);

text_type!(
    /// The body of an error page.
    pub struct PageText,
    "text of 1 to 16384 bytes whose only words in braces are {reason}, {route}, {request_id} and {status}",
    |text| (1..=16_384).contains(&text.len()) && is_page(text)
);

text_type!(
    /// The event that an event stream sends before a drain ends it.
    pub struct LastEvent,
    "one whole event of at most 4096 bytes: lines, at least one of them data, and an empty line at the end, \
     such as \"event: bye\\ndata: {}\\n\\n\"",
    is_whole_event
);

text_type!(
    /// The name of an event in an event stream.
    pub struct EventName,
    "the name of an event: 1 to 64 bytes without line breaks",
    |text| (1..=EventName::MAX_BYTES).contains(&text.len()) && !text.contains(['\r', '\n'])
);

impl EventName {
    /// The length of the longest name, in bytes.
    pub const MAX_BYTES: usize = 64;
}

/// Whether the text is one event that clients dispatch (WHATWG HTML, 9.2.6): at least one `data`
/// line, no empty line before the end, and an empty line at the end.
fn is_whole_event(text: &str) -> bool {
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    let Some(event) = unified.strip_suffix("\n\n") else { return false };
    let has_data = event.split('\n').any(|line| line.split(':').next() == Some("data"));
    let is_one = event.split('\n').all(|line| !line.is_empty());
    text.len() <= 4096 && !text.contains('\0') && has_data && is_one
}

/// The SHA-256 of a secret. Errors do not show a wrong value, because it could be the secret
/// itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct TokenHash(
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", regex(pattern = "^[0-9a-fA-F]{64}$"))
    )]
    [u8; 32],
);

impl TokenHash {
    /// The hash.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Read for TokenHash {
    const EXPECTED: &'static str = "the 64 hexadecimal digits of the token's SHA-256";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let wrong = || at.unexpected("another value (not shown)", Self::EXPECTED);
        let Node::Text(written) = node else { return wrong() };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (pairs, rest) = written.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if pairs.len() != hash.len() || !rest.is_empty() {
            return wrong();
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return wrong() };
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(hash))
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A pattern for hosts in lower case: a name, `*.` and a suffix for every name below it, or `*` for
/// every host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct HostPattern(Box<str>);

impl HostPattern {
    /// The pattern in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The suffix that a host must have: `.example.com` for `*.example.com`, empty for `*`, `None`
    /// without a wildcard.
    pub(crate) fn suffix(&self) -> Option<&str> {
        self.0.strip_prefix('*')
    }
}

impl Read for HostPattern {
    const EXPECTED: &'static str =
        "a host name without a port, \"*\", or a pattern such as \"*.example.com\"";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let written = text(node, at, Self::EXPECTED)?;
        let name = written.strip_prefix("*.").unwrap_or(written);
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let address = written.starts_with('[')
            && written.ends_with(']')
            && written.len() > 4
            && written[1..written.len() - 1]
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b":.".contains(&b));
        if plain || address || written == "*" {
            Ok(Self(written.to_ascii_lowercase().into()))
        } else {
            at.unexpected(quoted(written), Self::EXPECTED)
        }
    }
}

/// Declares a whole number with a range.
macro_rules! number_type {
    ($(#[$meta:meta])* pub struct $name:ident, $min:literal ..= $max:literal, $expected:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[cfg_attr(
            feature = "schema",
            derive(schemars::JsonSchema),
            schemars(transparent, extend("minimum" = $min as u64, "maximum" = $max as u64))
        )]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The largest number.
            pub const MAX: u64 = $max;

            /// The number.
            pub const fn value(self) -> u64 {
                self.0
            }
        }

        impl Read for $name {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
                number(node, at, ($min, $max), Self::EXPECTED).map(Self)
            }
        }
    };
}

number_type!(
    /// The version of the configuration's format.
    pub struct Version, 1..=1, "1, the only version of this format"
);
number_type!(
    /// The number of a drain. The limit is the largest whole number that every JSON parser
    /// preserves.
    pub struct Epoch, 1..=9_007_199_254_740_991, "a whole number from 1 to 2^53 - 1"
);
number_type!(
    /// A time in milliseconds since the Unix epoch.
    pub struct UnixMs, 0..=9_007_199_254_740_991, "milliseconds since 1970 from 0 to 2^53 - 1"
);
number_type!(
    /// The window of a drain in milliseconds.
    pub struct WindowMs, 0..=86_400_000, "0 to 86400000 milliseconds (a day)"
);
number_type!(
    /// The percentage of connections that a rebalance closes.
    pub struct Percent, 1..=100, "a whole number from 1 to 100"
);
number_type!(
    /// The number of attempts of a request; 1 is no retry.
    pub struct Attempts, 1..=10, "1 to 10 attempts, the first included"
);
number_type!(
    /// A status of an upstream that is retried.
    pub struct RetriedStatus, 400..=599, "a status from 400 to 599"
);
number_type!(
    /// The longest body that is buffered, in bytes.
    pub struct MaxBytes, 1..=16_777_216, "1 to 16777216 bytes (16 MiB)"
);
number_type!(
    /// The most bytes of a refused upload that are received.
    pub struct RestBytes, 1..=1_099_511_627_776, "1 to 1099511627776 bytes (1 TiB)"
);
number_type!(
    /// The status of the health path while the proxy terminates.
    pub struct DrainStatus, 400..=599, "a status from 400 to 599"
);

/// The code of a WebSocket's Close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(transparent, extend("minimum" = 1000, "maximum" = 4999))
)]
#[serde(transparent)]
pub struct CloseCode(u16);

impl CloseCode {
    /// Service restart: the client should reconnect.
    pub const RESTART: Self = Self(1012);

    /// The code.
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl Read for CloseCode {
    const EXPECTED: &'static str =
        "a code from 1000 to 4999 that a Close frame may carry (not 1004, 1005, 1006 or 1015)";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let code = number(node, at, (1000, 4999), Self::EXPECTED)?;
        // RFC 6455, 7.4.1: clients fail a connection that receives one of these.
        match u16::try_from(code) {
            Ok(code) if !matches!(code, 1004..=1006 | 1015) => Ok(Self(code)),
            _ => at.unexpected(node, Self::EXPECTED),
        }
    }
}

/// A regular expression that matches whole values, in time linear in the value. Patterns that need
/// much memory are refused.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Pattern {
    written: Box<str>,
    #[serde(skip)]
    whole: regex_lite::Regex,
}

/// The size limit of one compiled pattern, in bytes. Nested bounded repetitions would need much
/// more.
const PATTERN_BYTES: usize = 256 * 1024;
/// The longest value that is matched, in bytes. The time of a match grows with the length of the
/// value, and clients choose it.
const MAX_MATCHED: usize = 4096;
/// The longest pattern, in bytes.
const PATTERN_LENGTH: usize = 1024;

impl Pattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the pattern matches the whole of `value`. A value that is not UTF-8 or has more than
    /// 4096 bytes does not match.
    pub fn matches(&self, value: &[u8]) -> bool {
        value.len() <= MAX_MATCHED
            && std::str::from_utf8(value).is_ok_and(|value| self.whole.is_match(value))
    }

    /// A text that every match starts with; not necessarily the longest.
    pub(crate) fn literal_prefix(&self) -> &str {
        if self.written.contains('|') {
            return "";
        }
        let literal = |c: char| c.is_ascii_alphanumeric() || "/_-~,;:=@%".contains(c);
        let end = self.written.find(|c| !literal(c)).unwrap_or(self.written.len());
        // A character before a repetition can be absent from a match.
        let repeated = self.written[end..].starts_with(['?', '*', '{']);
        &self.written[..end - usize::from(repeated && end > 0)]
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Read for Pattern {
    const EXPECTED: &'static str = "a regular expression";

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let written = text(node, at, Self::EXPECTED)?;
        let bad = |reason: String| Problem::BadRegex { found: quoted(written), reason };
        if written.is_empty() || written.len() > PATTERN_LENGTH {
            return at.unexpected(quoted(written), "a regular expression of 1 to 1024 bytes");
        }
        let compile = |pattern: &str| {
            regex_lite::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).build()
        };
        // The pattern is compiled alone first, because `a)|(b` is valid only between parentheses.
        let whole = compile(written).and_then(|_| compile(&format!("^(?:{written})$")));
        match whole {
            Ok(whole) => Ok(Self { written: written.into(), whole }),
            Err(error) => at.refuse(bad(error.to_string())),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Pattern {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A regular expression over the whole value.",
            "minLength": 1,
            "maxLength": PATTERN_LENGTH
        })
    }
}
