//! One condition of a route, and the definition of when it matches.

use std::fmt::Write as _;

use crate::config::{
    ForeignName, HeaderCondition, HostPattern, MatchSpec, Method, PathCondition, ValueCondition,
};
use crate::request::{RequestView, printable};

/// One condition of a route.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'c> {
    /// One of the patterns matches the host.
    Hosts(&'c [HostPattern]),
    /// The path matches.
    Path(&'c PathCondition),
    /// The method is one of these.
    Methods(&'c [Method]),
    /// The header condition at this position of the list matches.
    Header(usize, &'c HeaderCondition),
    /// The control plane's route has this name.
    RouteName(&'c ForeignName),
    /// The metadata of the proxy's route names this policy.
    Policy(&'c ForeignName),
}

/// The conditions of a route, cheap ones first.
pub fn conditions(spec: &MatchSpec) -> impl Iterator<Item = Condition<'_>> {
    let methods = spec.methods.iter().map(|methods| Condition::Methods(methods));
    let path = spec.path.iter().map(Condition::Path);
    let hosts = spec.hosts.iter().map(|hosts| Condition::Hosts(hosts));
    let route_name = spec.route_name.iter().map(Condition::RouteName);
    let policy = spec.policy.iter().map(Condition::Policy);
    let headers = spec.headers.iter().flat_map(|headers| headers.iter()).enumerate();
    let headers = headers.map(|(index, header)| Condition::Header(index, header));
    methods.chain(hosts).chain(path).chain(route_name).chain(policy).chain(headers)
}

/// Whether `request` meets every condition.
pub fn matches(spec: &MatchSpec, request: &RequestView<'_>) -> bool {
    conditions(spec).all(|condition| condition.matches(request))
}

impl Condition<'_> {
    /// Whether `request` meets this condition.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Hosts(hosts) => hosts.iter().any(|host| host_matches(host, request.host())),
            Self::Path(path) => path_matches(path, request.path),
            Self::Methods(methods) => {
                methods.iter().any(|method| method.as_str().as_bytes() == request.method)
            }
            Self::Header(_, header) => header_matches(header, request),
            Self::RouteName(name) => request.route_name == Some(name.as_str().as_bytes()),
            Self::Policy(name) => request.policy == Some(name.as_str().as_bytes()),
        }
    }

    /// The condition's field in `match`, such as `headers[1]`.
    pub fn place(&self) -> String {
        match self {
            Self::Hosts(_) => "hosts".into(),
            Self::Path(_) => "path".into(),
            Self::Methods(_) => "methods".into(),
            Self::Header(index, _) => format!("headers[{index}]"),
            Self::RouteName(_) => "route_name".into(),
            Self::Policy(_) => "policy".into(),
        }
    }

    /// The requirement of the condition, as readable text.
    pub fn expected(&self) -> String {
        match self {
            Self::Hosts(hosts) => format!("host {}", one_of(hosts.iter().map(HostPattern::as_str))),
            Self::Path(PathCondition::Exact(path)) => format!("path exactly {}", path.as_str()),
            Self::Path(PathCondition::Prefix(path)) => format!("path prefix {}", path.as_str()),
            Self::Path(PathCondition::Regex(path)) => format!("path ~ {}", path.as_str()),
            Self::Methods(methods) => {
                format!("method {}", one_of(methods.iter().map(Method::as_str)))
            }
            Self::Header(_, HeaderCondition { name, value }) => {
                let name = name.as_str();
                match value {
                    ValueCondition::Exact(text) => format!("{name}: {}", text.as_str()),
                    ValueCondition::Prefix(text) => format!("{name}: {}*", text.as_str()),
                    ValueCondition::Contains(text) => format!("{name}: *{}*", text.as_str()),
                    ValueCondition::Regex(pattern) => format!("{name} ~ {}", pattern.as_str()),
                    ValueCondition::Present(true) => format!("{name} present"),
                    ValueCondition::Present(false) => format!("{name} absent"),
                }
            }
            Self::RouteName(name) => format!("proxy route {}", name.as_str()),
            Self::Policy(name) => format!("policy {}", name.as_str()),
        }
    }

    /// The value of `request` in that place, as readable text.
    pub fn found(&self, request: &RequestView<'_>) -> String {
        let or_nothing = |value: &[u8]| match value {
            [] => "nothing".to_owned(),
            value => printable(value),
        };
        match self {
            Self::Hosts(_) => or_nothing(request.host()),
            Self::Path(_) => or_nothing(request.path),
            Self::Methods(_) => or_nothing(request.method),
            Self::Header(_, header) => {
                let values: Vec<_> = request.values(header.name.as_str()).map(printable).collect();
                if values.is_empty() { "nothing".into() } else { values.join(", ") }
            }
            Self::RouteName(_) => or_nothing(request.route_name.unwrap_or_default()),
            Self::Policy(_) => or_nothing(request.policy.unwrap_or_default()),
        }
    }
}

fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let mut list = String::new();
    for (index, word) in words.enumerate() {
        let _ = write!(list, "{}{word}", if index == 0 { "" } else { " or " });
    }
    list
}

/// Whether the pattern matches `host`, which has no port. Upper and lower case are equal.
pub fn host_matches(pattern: &HostPattern, host: &[u8]) -> bool {
    match pattern.suffix() {
        None => host.eq_ignore_ascii_case(pattern.as_str().as_bytes()),
        Some("") => true,
        Some(suffix) => host.len().checked_sub(suffix.len()).is_some_and(|start| {
            start > 0 && host[start..].eq_ignore_ascii_case(suffix.as_bytes())
        }),
    }
}

/// Whether `path`, which has no query, meets the condition.
pub fn path_matches(condition: &PathCondition, path: &[u8]) -> bool {
    match condition {
        PathCondition::Exact(exact) => exact.as_str().as_bytes() == path,
        PathCondition::Prefix(prefix) => path.starts_with(prefix.as_str().as_bytes()),
        PathCondition::Regex(pattern) => pattern.matches(path),
    }
}

/// A text that every matching path starts with.
pub fn literal_prefix(condition: Option<&PathCondition>) -> &[u8] {
    match condition {
        None => b"",
        Some(PathCondition::Exact(path) | PathCondition::Prefix(path)) => path.as_str().as_bytes(),
        Some(PathCondition::Regex(pattern)) => pattern.literal_prefix().as_bytes(),
    }
}

fn header_matches(condition: &HeaderCondition, request: &RequestView<'_>) -> bool {
    let mut values = request.values(condition.name.as_str());
    match &condition.value {
        ValueCondition::Present(wanted) => values.next().is_some() == *wanted,
        value => values.any(|found| value_matches(value, found)),
    }
}

/// Whether one value of a header that is present meets the condition.
pub fn value_matches(condition: &ValueCondition, value: &[u8]) -> bool {
    match condition {
        ValueCondition::Exact(text) => text.as_str().as_bytes() == value,
        ValueCondition::Prefix(text) => value.starts_with(text.as_str().as_bytes()),
        ValueCondition::Contains(text) => {
            value.windows(text.as_str().len()).any(|part| part == text.as_str().as_bytes())
        }
        ValueCondition::Regex(pattern) => pattern.matches(value),
        ValueCondition::Present(wanted) => *wanted,
    }
}
