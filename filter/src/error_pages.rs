//! The error pages: bodies that the operator writes for error responses of the filter or the proxy.
//!
//! Values that replace placeholders come from small alphabets, so that a client cannot inject
//! markup into a page.

use crate::config::{ErrorsSpec, PLACEHOLDERS, PageSpec, in_braces, parse_json};
use crate::reason::Reason;
use crate::reply::LocalReply;
use crate::request::RequestView;

/// The error pages, the default one first. Without pages, bodies stay as they are and only reasons
/// are reported.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ErrorPages {
    pages: Vec<PageSpec>,
    /// Whether a page contains the request id.
    uses_request_id: bool,
}

/// A failed request, as an error page shows it.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Why the request failed.
    pub reason: Reason,
    /// The status that the client receives.
    pub status: u16,
    /// The route's name.
    pub route: &'a str,
}

/// The parts of a request that an error page needs. Hosts no longer have the request when a failure
/// occurs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorContext {
    /// Whether this is a gRPC request. Its client reads a status from the trailers and no body.
    pub is_grpc: bool,
    /// The `accept` header, if it selects one of several pages. It is parsed when a request has
    /// failed.
    accept: Option<Box<str>>,
    /// The value of `x-request-id`, if a page uses it.
    request_id: Option<Box<str>>,
}

impl ErrorContext {
    pub(crate) fn new(request: &RequestView<'_>, pages: Option<&ErrorPages>) -> Self {
        let mut context = Self { is_grpc: request.is_grpc, ..Self::default() };
        let value = |name| request.values(name).next().unwrap_or_default();
        if pages.is_some_and(|pages| pages.pages.len() > 1) {
            context.accept = bounded_accept(value("accept")).map(Into::into);
        }
        if pages.is_some_and(|pages| pages.uses_request_id) {
            context.request_id = Some(safe_request_id(value("x-request-id")).into());
        }
        context
    }
}

/// The part of an `accept` header that is read, in bytes. Browsers send less than 200.
const MAX_ACCEPT: usize = 1024;

/// The media ranges of an `accept` header within [`MAX_ACCEPT`]; `None` if every page is equally
/// acceptable.
fn bounded_accept(accept: &[u8]) -> Option<&str> {
    let accept = match accept.split_at_checked(MAX_ACCEPT) {
        None => accept,
        Some((read, _)) => &read[..read.iter().rposition(|byte| *byte == b',')?],
    };
    let accept = std::str::from_utf8(accept).ok()?.trim();
    Some(accept).filter(|accept| !accept.is_empty() && *accept != "*/*")
}

/// The longest request id that a page shows, in bytes.
const MAX_REQUEST_ID: usize = 128;

impl ErrorPages {
    pub(crate) fn new(spec: ErrorsSpec) -> Self {
        let default = spec.content_type.zip(spec.body);
        let default = default.map(|(content_type, body)| PageSpec { content_type, body });
        let alternatives = spec.alternatives.iter().flat_map(|pages| pages.iter().cloned());
        let pages: Vec<PageSpec> = default.into_iter().chain(alternatives).collect();
        let uses_request_id =
            pages.iter().any(|page| in_braces(page.body.as_str()).any(|word| word == "request_id"));
        Self { pages, uses_request_id }
    }

    /// The page for a failure.
    pub fn page(&self, failure: &Failure<'_>, context: &ErrorContext) -> Option<LocalReply> {
        let selected = context.accept.as_deref().map_or(0, |accept| self.select(accept));
        let page = self.pages.get(selected)?;
        let request_id = context.request_id.as_deref().unwrap_or_default();
        Some(LocalReply {
            status: failure.status,
            content_type: page.content_type.as_str().to_owned().into(),
            body: replace_placeholders(page.body.as_str(), failure, request_id),
            grpc_status: None,
            needs_grpc_body: false,
        })
    }

    /// The position of the first of the pages with the highest quality.
    fn select(&self, accept: &str) -> usize {
        let mut best = (0, 0);
        for (index, page) in self.pages.iter().enumerate() {
            let quality = quality(accept, page.content_type.as_str());
            if quality > best.0 {
                best = (quality, index);
            }
            if quality == MAX_QUALITY {
                break;
            }
        }
        best.1
    }

    /// The filter's local reply to a failed request: the reason word for gRPC, else a page, else
    /// `plain`.
    pub fn reply(
        pages: Option<&Self>,
        failure: &Failure<'_>,
        context: &ErrorContext,
        plain: impl FnOnce() -> String,
    ) -> LocalReply {
        let text = |body| LocalReply::new(failure.status, "text/plain", body);
        if context.is_grpc {
            let grpc_status = Some(failure.reason.grpc_status());
            return LocalReply { grpc_status, ..text(failure.reason.word().to_owned()) };
        }
        let page = pages.and_then(|pages| pages.page(failure, context));
        page.unwrap_or_else(|| text(plain()))
    }

    /// The positions of the pages that have a JSON content type and are not valid JSON.
    pub(crate) fn invalid_json(&self) -> impl Iterator<Item = usize> {
        let example = Failure { reason: Reason::UpstreamReset, status: 502, route: "default" };
        // With and without a request id, because a request can lack one.
        let is_valid = move |page: &PageSpec| {
            let filled = |id| replace_placeholders(page.body.as_str(), &example, id);
            ["a-1", ""].into_iter().all(|id| parse_json(&filled(id)).is_ok())
        };
        let pages = self.pages.iter().enumerate();
        pages
            .filter(move |(_, page)| has_json_type(page) && !is_valid(page))
            .map(|(index, _)| index)
    }

    /// The content types of the pages.
    pub fn content_types(&self) -> impl Iterator<Item = &str> {
        self.pages.iter().map(|page| page.content_type.as_str())
    }
}

/// Whether the content type is JSON or based on it (RFC 6839).
fn has_json_type(page: &PageSpec) -> bool {
    let kind = page.content_type.as_str().split(';').next().unwrap_or_default().trim_end();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

fn replace_placeholders(template: &str, failure: &Failure<'_>, request_id: &str) -> String {
    let status = failure.status.to_string();
    let value = |word: &str| {
        let values = [failure.reason.word(), failure.route, request_id, &status];
        PLACEHOLDERS.iter().position(|known| *known == word).map(|index| values[index])
    };
    let mut parts = template.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}').and_then(|(word, rest)| Some((value(word)?, rest))) {
            Some((value, rest)) => text.extend([value, rest]),
            None => text.extend(["{", part]),
        }
    }
    text
}

/// The id if it is harmless in JSON, HTML and logs, else an empty text.
fn safe_request_id(id: &[u8]) -> &str {
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let fits = id.len() <= MAX_REQUEST_ID && id.iter().all(is_safe);
    std::str::from_utf8(id).ok().filter(|_| fits).unwrap_or_default()
}

/// The highest quality of a content type.
const MAX_QUALITY: u16 = 1000;

/// The quality that an `accept` header assigns to a content type, from 0 to [`MAX_QUALITY`] (RFC
/// 9110, section 12.5.1).
fn quality(accept: &str, content_type: &str) -> u16 {
    let wanted = content_type.split(';').next().unwrap_or_default().trim();
    let kind = wanted.split('/').next().unwrap_or_default();
    // The most specific matching range decides, even if a less specific one has a higher quality.
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let specificity = match name.strip_suffix("/*") {
            _ if name.eq_ignore_ascii_case(wanted) => 3,
            Some("*") => 1,
            Some(prefix) if prefix.eq_ignore_ascii_case(kind) => 2,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        if specificity > best.0 {
            best = (specificity, weight.map_or(MAX_QUALITY, thousandths));
        }
    }
    best.1
}

/// A weight such as `0.5` or `1` in thousandths. Further decimals are ignored.
fn thousandths(weight: &str) -> u16 {
    let mut digits = weight.bytes().filter(u8::is_ascii_digit).map(|digit| u16::from(digit - b'0'));
    (0..4).fold(0, |sum, _| sum * 10 + digits.next().unwrap_or(0)).min(MAX_QUALITY)
}
