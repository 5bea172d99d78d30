//! What a client reads when the filter or the proxy itself answers in the upstream's place.
//!
//! The operator writes the pages; what is put into them comes from small alphabets, so that no page can be broken by what a client sent.

use crate::config::spec::{ErrorsSpec, PageSpec};
use crate::config::{Config, parse_json};
use crate::reason::Reason;
use crate::request::RequestView;
use crate::stream::Reply;

/// The pages, the preferred one first; none leaves bodies as they are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Errors {
    pages: Vec<PageSpec>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Why.
    pub reason: Reason,
    /// The status that the client gets.
    pub status: u16,
    /// The route's name.
    pub route: &'a str,
}

/// What an error needs to know of a request, kept because hosts forget the request by the time that something fails.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asker {
    /// It is a request of gRPC, whose client reads a status in the trailers and no body.
    pub grpc: bool,
    /// The page that its client wants.
    page: u8,
    /// Its id, where a page repeats it.
    id: Option<Box<str>>,
}

impl Asker {
    /// What is kept of a request.
    pub(crate) fn of(request: &RequestView<'_>, errors: Option<&Errors>) -> Self {
        let mut asker = Self { grpc: request.grpc, ..Self::default() };
        let value = |name| request.values(name).next().unwrap_or_default();
        let pages = errors.map_or(&[][..], |errors| &errors.pages);
        if pages.len() > 1 {
            asker.page = choose(pages, value("accept"));
        }
        if pages.iter().any(|page| words(page.body.as_str()).any(|word| word == "request_id")) {
            asker.id = Some(plain(value("x-request-id")).into());
        }
        asker
    }
}

/// What may stand in a page in braces.
pub const PLACEHOLDERS: [&str; 4] = ["reason", "route", "request_id", "status"];

/// The longest id that is repeated.
const MAX_ID: usize = 128;

impl Errors {
    pub(crate) fn new(spec: ErrorsSpec) -> Self {
        let own = spec.content_type.zip(spec.body);
        let own = own.map(|(content_type, body)| PageSpec { content_type, body });
        let others = spec.alternatives.iter().flat_map(|pages| pages.iter().cloned());
        Self { pages: own.into_iter().chain(others).collect() }
    }

    /// The page for a failure, if there is one.
    pub fn page(&self, failure: &Failure<'_>, asker: &Asker) -> Option<Reply> {
        let page = self.pages.get(usize::from(asker.page))?;
        Some(Reply {
            status: failure.status,
            content_type: page.content_type.as_str().to_owned().into(),
            body: filled(page.body.as_str(), failure, asker.id.as_deref().unwrap_or_default()),
            grpc_status: None,
        })
    }

    /// The positions of the pages that say they are JSON and are none.
    pub(crate) fn broken_json(&self) -> impl Iterator<Item = usize> {
        let example = Failure { reason: Reason::UpstreamReset, status: 502, route: "default" };
        // A request has an id or has none.
        let is_json = move |page: &PageSpec| {
            let filled = |id| filled(page.body.as_str(), &example, id);
            ["a-1", ""].into_iter().all(|id| parse_json(&filled(id)).is_ok())
        };
        let pages = self.pages.iter().enumerate();
        pages.filter(move |(_, page)| says_json(page) && !is_json(page)).map(|(index, _)| index)
    }

    /// What they change, for people to read.
    pub(crate) fn in_words(&self) -> String {
        let types: Vec<&str> = self.pages.iter().map(|page| page.content_type.as_str()).collect();
        match types.is_empty() {
            true => "why the proxy answers by itself is counted and told; its answers stay".into(),
            false => {
                format!("what the filter or the proxy answers by itself is {}", types.join(" or "))
            }
        }
    }
}

impl Config {
    /// The filter's own answer to a request that fails: a page, or `plain` where there is none, or the reason alone for gRPC, which hosts
    /// turn into its message.
    pub fn error(
        &self,
        route: Option<usize>,
        asker: &Asker,
        reason: Reason,
        status: u16,
        plain: impl FnOnce() -> String,
    ) -> Reply {
        let failure = Failure { reason, status, route: self.route_word(route) };
        let text = |body| Reply::new(status, "text/plain", body);
        if asker.grpc {
            let grpc_status = Some(reason.grpc_status());
            return Reply { grpc_status, ..text(reason.word().to_owned()) };
        }
        let page = self.errors.as_ref().and_then(|errors| errors.page(&failure, asker));
        page.unwrap_or_else(|| text(plain()))
    }
}

/// Whether its type is JSON, or made of it (RFC 6839).
fn says_json(page: &PageSpec) -> bool {
    let kind = page.content_type.as_str().split(';').next().unwrap_or_default().trim_end();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The page that a client wants most; of those that it wants alike, the first.
fn choose(pages: &[PageSpec], accept: &[u8]) -> u8 {
    let mut best = (0, 0);
    for (index, page) in (0..=u8::MAX).zip(pages) {
        let quality = quality(accept, page.content_type.as_str());
        if quality > best.0 {
            best = (quality, index);
        }
    }
    best.1
}

/// The text with its placeholders filled.
fn filled(template: &str, failure: &Failure<'_>, id: &str) -> String {
    let status = failure.status.to_string();
    let value = |word: &str| {
        let values = [failure.reason.word(), failure.route, id, &status];
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

/// Whether a text has no word in braces that stands for nothing.
pub(crate) fn is_page(text: &str) -> bool {
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    words(text).all(|word| !is_word(word) || PLACEHOLDERS.contains(&word))
}

/// What stands in braces in a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0))
}

/// An id that means nothing in JSON, HTML or a log; what could is left out.
fn plain(id: &[u8]) -> &str {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    let fits = id.len() <= MAX_ID && id.iter().all(harmless);
    std::str::from_utf8(id).ok().filter(|_| fits).unwrap_or_default()
}

/// How much a client wants a content type, from 0 to 1000, by its `accept` (RFC 9110, 12.5.1). Without one it takes anything.
fn quality(accept: &[u8], content_type: &str) -> u16 {
    let accept = std::str::from_utf8(accept).unwrap_or_default();
    if accept.trim().is_empty() {
        return 1000;
    }
    let wanted = content_type.split(';').next().unwrap_or_default().trim();
    let kind = wanted.split('/').next().unwrap_or_default();
    // The most specific range that fits decides, whatever a less specific one says.
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let specific = match name.strip_suffix("/*") {
            _ if name.eq_ignore_ascii_case(wanted) => 3,
            Some("*") => 1,
            Some(prefix) if prefix.eq_ignore_ascii_case(kind) => 2,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        if specific > best.0 {
            best = (specific, weight.map_or(1000, thousandths));
        }
    }
    best.1
}

/// A weight such as `0.5` or `1`, of which no more than three decimals count.
fn thousandths(weight: &str) -> u16 {
    let mut digits = weight.bytes().filter(u8::is_ascii_digit).map(|digit| u16::from(digit - b'0'));
    (0..4).fold(0, |sum, _| sum * 10 + digits.next().unwrap_or(0)).min(1000)
}
