//! When one route leaves nothing to a later one: whatever meets the later route's conditions meets the earlier one's too.
//!
//! Only what is certain from the text of the conditions counts; two regular expressions are compared as text.

use crate::config::spec::{HeaderCondition, MatchSpec, PathCondition, ValueCondition};
use crate::config::{Config, HostPattern};
use crate::request::RequestView;

/// How many routes that begin alike are compared with a later one: enough to find what people overlook, few enough that
/// ten thousand routes on one path do not make a configuration slow to load.
const COMPARED: usize = 256;

/// The first route that covers the one at `index`, among the earlier ones that the index finds for a request just like it.
pub(crate) fn covering(config: &Config, index: usize) -> Option<usize> {
    let later = &config.routes[index].conditions;
    let host = match later.hosts.as_ref().map(|hosts| &hosts[0]) {
        None => String::new(),
        Some(pattern) => match pattern.suffix() {
            None => pattern.as_str().to_owned(),
            Some(suffix) => format!("any{suffix}"),
        },
    };
    let mut request = RequestView::new(&[]);
    request.authority = host.as_bytes();
    request.path = super::router::literal(later.path.as_ref());
    request.route_name = later.route_name.as_ref().map(|name| name.as_str().as_bytes());
    request.policy = later.policy.as_ref().map(|name| name.as_str().as_bytes());
    let mut found = None;
    config.router().candidate_lists(&request, &mut |list| {
        let earlier =
            list.iter().copied().take_while(|candidate| *candidate < index).take(COMPARED);
        let covering =
            earlier.into_iter().find(|earlier| config.routes[*earlier].conditions.covers(later));
        found = covering.into_iter().chain(found).min();
    });
    found
}

impl MatchSpec {
    /// Whether every request that meets `later` meets this one as well.
    pub(crate) fn covers(&self, later: &Self) -> bool {
        let hosts = self.hosts.as_ref().is_none_or(|mine| {
            mine.iter().any(|host| host.suffix() == Some(""))
                || later.hosts.as_ref().is_some_and(|theirs| {
                    theirs.iter().all(|host| mine.iter().any(|pattern| pattern.covers(host)))
                })
        });
        let path = self
            .path
            .as_ref()
            .is_none_or(|mine| later.path.as_ref().is_some_and(|theirs| mine.covers(theirs)));
        let methods = self.methods.as_ref().is_none_or(|mine| {
            later
                .methods
                .as_ref()
                .is_some_and(|theirs| theirs.iter().all(|method| mine.contains(method)))
        });
        let headers = self.headers.iter().flat_map(|mine| mine.iter()).all(|mine| {
            later.headers.iter().flat_map(|theirs| theirs.iter()).any(|theirs| mine.covers(theirs))
        });
        let route_name = self.route_name.is_none() || self.route_name == later.route_name;
        let policy = self.policy.is_none() || self.policy == later.policy;
        hosts && path && methods && headers && route_name && policy
    }
}

impl HostPattern {
    fn covers(&self, later: &Self) -> bool {
        self == later
            || match (self.suffix(), later.suffix()) {
                (Some(mine), Some(theirs)) => theirs.ends_with(mine),
                (Some(_), None) => self.matches(later.as_str().as_bytes()),
                (None, _) => false,
            }
    }
}

impl PathCondition {
    fn covers(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Regex(mine), Self::Regex(theirs)) => mine == theirs,
            (mine, Self::Exact(path)) => mine.matches(path.as_str().as_bytes()),
            (Self::Prefix(mine), theirs) => {
                super::router::literal(Some(theirs)).starts_with(mine.as_str().as_bytes())
            }
            (Self::Exact(_) | Self::Regex(_), _) => false,
        }
    }
}

impl HeaderCondition {
    fn covers(&self, later: &Self) -> bool {
        if self.name != later.name {
            return false;
        }
        match (&self.value, &later.value) {
            (mine, theirs) if mine == theirs => true,
            (ValueCondition::Present(true), theirs) => *theirs != ValueCondition::Present(false),
            (ValueCondition::Present(false), _) | (_, ValueCondition::Present(_)) => false,
            (mine, ValueCondition::Exact(text)) => mine.matches(text.as_str().as_bytes()),
            // What begins with, or contains, a text that meets the condition meets it too.
            (mine @ ValueCondition::Prefix(_), ValueCondition::Prefix(text))
            | (
                mine @ ValueCondition::Contains(_),
                ValueCondition::Prefix(text) | ValueCondition::Contains(text),
            ) => mine.matches(text.as_str().as_bytes()),
            _ => false,
        }
    }
}
