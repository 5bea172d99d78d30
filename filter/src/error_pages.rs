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
    /// The position of the page that the `accept` header selects.
    page: u8,
    /// The value of `x-request-id`, if a page uses it.
    request_id: Option<Box<str>>,
}

impl ErrorContext {
    pub(crate) fn new(request: &RequestView<'_>, pages: Option<&ErrorPages>) -> Self {
        let mut context = Self { is_grpc: request.is_grpc, ..Self::default() };
        let value = |name| request.values(name).next().unwrap_or_default();
        let pages = pages.map_or(&[][..], |pages| &pages.pages);
        if pages.len() > 1 {
            context.page = select_page(pages, value("accept"));
        }
        if pages.iter().any(|page| in_braces(page.body.as_str()).any(|word| word == "request_id")) {
            context.request_id = Some(safe_request_id(value("x-request-id")).into());
        }
        context
    }
}

/// The longest request id that a page shows, in bytes.
const MAX_REQUEST_ID: usize = 128;

impl ErrorPages {
    pub(crate) fn new(spec: ErrorsSpec) -> Self {
        let default = spec.content_type.zip(spec.body);
        let default = default.map(|(content_type, body)| PageSpec { content_type, body });
        let alternatives = spec.alternatives.iter().flat_map(|pages| pages.iter().cloned());
        Self { pages: default.into_iter().chain(alternatives).collect() }
    }

    /// The page for a failure.
    pub fn page(&self, failure: &Failure<'_>, context: &ErrorContext) -> Option<LocalReply> {
        let page = self.pages.get(usize::from(context.page))?;
        let request_id = context.request_id.as_deref().unwrap_or_default();
        Some(LocalReply {
            status: failure.status,
            content_type: page.content_type.as_str().to_owned().into(),
            body: replace_placeholders(page.body.as_str(), failure, request_id),
            grpc_status: None,
            needs_grpc_body: false,
        })
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

/// The first of the pages with the highest quality.
fn select_page(pages: &[PageSpec], accept: &[u8]) -> u8 {
    let mut best = (0, 0);
    for (index, page) in (0..=u8::MAX).zip(pages) {
        let quality = quality(accept, page.content_type.as_str());
        if quality > best.0 {
            best = (quality, index);
        }
    }
    best.1
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

/// The quality that an `accept` header assigns to a content type, from 0 to 1000 (RFC 9110, section
/// 12.5.1). Without the header, every type has 1000.
fn quality(accept: &[u8], content_type: &str) -> u16 {
    let accept = std::str::from_utf8(accept).unwrap_or_default();
    if accept.trim().is_empty() {
        return 1000;
    }
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
            best = (specificity, weight.map_or(1000, thousandths));
        }
    }
    best.1
}

/// A weight such as `0.5` or `1` in thousandths. Further decimals are ignored.
fn thousandths(weight: &str) -> u16 {
    let mut digits = weight.bytes().filter(u8::is_ascii_digit).map(|digit| u16::from(digit - b'0'));
    (0..4).fold(0, |sum, _| sum * 10 + digits.next().unwrap_or(0)).min(1000)
}
