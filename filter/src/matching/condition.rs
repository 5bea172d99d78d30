//! A condition of a route, and the one definition of when it holds.

use std::fmt::Write as _;

use crate::config::spec::{HeaderCondition, MatchSpec, PathCondition, ValueCondition};
use crate::config::{ForeignName, HostPattern, Method};
use crate::request::{RequestView, printable};

/// One condition of a route.
#[derive(Debug, Clone, Copy)]
pub enum Condition<'c> {
    /// The host is one of these.
    Hosts(&'c [HostPattern]),
    /// The path is this.
    Path(&'c PathCondition),
    /// The method is one of these.
    Methods(&'c [Method]),
    /// The header at this position of the list is so.
    Header(usize, &'c HeaderCondition),
    /// The control plane's route has this name.
    RouteName(&'c ForeignName),
    /// The route's metadata names this policy.
    Policy(&'c ForeignName),
}

impl MatchSpec {
    /// Every condition, the cheap ones first.
    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        let methods = self.methods.iter().map(|methods| Condition::Methods(methods));
        let path = self.path.iter().map(Condition::Path);
        let hosts = self.hosts.iter().map(|hosts| Condition::Hosts(hosts));
        let route_name = self.route_name.iter().map(Condition::RouteName);
        let policy = self.policy.iter().map(Condition::Policy);
        let headers = self.headers.iter().flat_map(|headers| headers.iter()).enumerate();
        let headers = headers.map(|(index, header)| Condition::Header(index, header));
        methods.chain(hosts).chain(path).chain(route_name).chain(policy).chain(headers)
    }

    /// Whether `request` meets every condition.
    pub fn hold(&self, request: &RequestView<'_>) -> bool {
        self.conditions().all(|condition| condition.holds(request))
    }
}

impl Condition<'_> {
    /// Whether `request` meets this condition.
    pub fn holds(&self, request: &RequestView<'_>) -> bool {
        match self {
            Self::Hosts(hosts) => hosts.iter().any(|host| host.matches(request.host())),
            Self::Path(path) => path.matches(request.path),
            Self::Methods(methods) => {
                methods.iter().any(|method| method.as_str().as_bytes() == request.method)
            }
            Self::Header(_, header) => header.matches(request),
            Self::RouteName(name) => request.route_name == Some(name.as_str().as_bytes()),
            Self::Policy(name) => request.policy == Some(name.as_str().as_bytes()),
        }
    }

    /// The condition's place below `match`.
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

    /// What the condition asks for, for people to read.
    pub fn expected(&self) -> String {
        match self {
            Self::Hosts(hosts) => format!("host {}", one_of(hosts.iter().map(HostPattern::as_str))),
            Self::Path(PathCondition::Exact(path)) => format!("path {}", path.as_str()),
            Self::Path(PathCondition::Prefix(path)) => format!("path {}*", path.as_str()),
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

    /// What `request` carries there, for people to read.
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

impl HostPattern {
    /// Whether `host`, without its port and in any case, is meant.
    pub fn matches(&self, host: &[u8]) -> bool {
        match self.suffix() {
            None => host.eq_ignore_ascii_case(self.as_str().as_bytes()),
            Some("") => true,
            Some(suffix) => host.len().checked_sub(suffix.len()).is_some_and(|start| {
                start > 0 && host[start..].eq_ignore_ascii_case(suffix.as_bytes())
            }),
        }
    }
}

impl PathCondition {
    /// Whether `path`, without its query, is meant.
    pub fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str().as_bytes() == path,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str().as_bytes()),
            Self::Regex(pattern) => pattern.matches(path),
        }
    }
}

impl HeaderCondition {
    fn matches(&self, request: &RequestView<'_>) -> bool {
        let mut values = request.values(self.name.as_str());
        match &self.value {
            ValueCondition::Present(wanted) => values.next().is_some() == *wanted,
            value => values.any(|found| value.matches(found)),
        }
    }
}

impl ValueCondition {
    /// Whether the value `found` of a field that is there is meant.
    pub(crate) fn matches(&self, found: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.as_str().as_bytes() == found,
            Self::Prefix(text) => found.starts_with(text.as_str().as_bytes()),
            Self::Contains(text) => {
                found.windows(text.as_str().len()).any(|part| part == text.as_str().as_bytes())
            }
            Self::Regex(pattern) => pattern.matches(found),
            Self::Present(wanted) => *wanted,
        }
    }
}
