//! Finds routes that cover later routes: each request that meets the conditions of the later route
//! also meets those of the earlier one.
//!
//! A route counts as covered only if the text of the conditions proves it. Two regular expressions
//! are compared as text.

use crate::config::{HeaderCondition, HostPattern, MatchSpec, PathCondition, ValueCondition};
use crate::headers::Headers;
use crate::matching::{host_matches, literal_prefix, path_matches, value_matches};
use crate::request::RequestView;
use crate::rules::Rules;

/// How many earlier routes with the same start of the path are compared with a later one. It bounds
/// the time that a document with thousands of routes on one path takes to load.
const COMPARED: usize = 256;

/// The comparisons of two hosts that are left. They bound the time that a document whose routes have
/// hundreds of hosts takes to load; the routes that are left then get no warning.
pub(super) struct Comparisons(usize);

impl Default for Comparisons {
    fn default() -> Self {
        Self(1_000_000)
    }
}

impl Comparisons {
    /// Whether the hosts of two routes may be compared.
    fn spend(&mut self, earlier: &MatchSpec, later: &MatchSpec) -> bool {
        let hosts = |spec: &MatchSpec| spec.hosts.as_ref().map_or(1, |hosts| hosts.len());
        let left = self.0.checked_sub(hosts(earlier) * hosts(later));
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// The first route that covers the route at `index`, among those that the router finds for a
/// request of that route.
pub(super) fn covering_route(
    rules: &Rules,
    index: usize,
    comparisons: &mut Comparisons,
) -> Option<usize> {
    let later = &rules.routes[index].conditions;
    let host = match later.hosts.as_ref().map(|hosts| &hosts[0]) {
        None => String::new(),
        Some(pattern) => match pattern.suffix() {
            None => pattern.as_str().to_owned(),
            Some(suffix) => format!("any{suffix}"),
        },
    };
    let none = Headers::default();
    let mut request = RequestView::new(&none);
    request.authority = host.as_bytes();
    request.path = literal_prefix(later.path.as_ref());
    request.route_name = later.route_name.as_ref().map(|name| name.as_str().as_bytes());
    request.policy = later.policy.as_ref().map(|name| name.as_str().as_bytes());
    let mut found = None;
    rules.router().candidate_lists(&request, &mut |list| {
        let earlier =
            list.iter().copied().take_while(|candidate| *candidate < index).take(COMPARED);
        let covering = earlier.into_iter().find(|earlier| {
            let earlier = &rules.routes[*earlier].conditions;
            covers(earlier, later)
                && (earlier.hosts == later.hosts
                    || comparisons.spend(earlier, later) && covers_hosts(earlier, later))
        });
        found = covering.into_iter().chain(found).min();
    });
    found
}

fn covers_hosts(earlier: &MatchSpec, later: &MatchSpec) -> bool {
    earlier.hosts.as_ref().is_none_or(|patterns| {
        patterns.iter().any(|pattern| pattern.suffix() == Some(""))
            || later.hosts.as_ref().is_some_and(|hosts| {
                hosts.iter().all(|host| patterns.iter().any(|pattern| covers_host(pattern, host)))
            })
    })
}

/// Whether the conditions other than the hosts prove it.
fn covers(earlier: &MatchSpec, later: &MatchSpec) -> bool {
    let path = earlier
        .path
        .as_ref()
        .is_none_or(|path| later.path.as_ref().is_some_and(|later| covers_path(path, later)));
    let methods = earlier.methods.as_ref().is_none_or(|methods| {
        later
            .methods
            .as_ref()
            .is_some_and(|later| later.iter().all(|method| methods.contains(method)))
    });
    let headers = earlier.headers.iter().flat_map(|headers| headers.iter()).all(|header| {
        let mut later = later.headers.iter().flat_map(|headers| headers.iter());
        later.any(|later| covers_header(header, later))
    });
    let route_name = earlier.route_name.is_none() || earlier.route_name == later.route_name;
    let policy = earlier.policy.is_none() || earlier.policy == later.policy;
    path && methods && headers && route_name && policy
}

fn covers_host(earlier: &HostPattern, later: &HostPattern) -> bool {
    earlier == later
        || match (earlier.suffix(), later.suffix()) {
            (Some(earlier), Some(later)) => later.ends_with(earlier),
            (Some(_), None) => host_matches(earlier, later.as_str().as_bytes()),
            (None, _) => false,
        }
}

fn covers_path(earlier: &PathCondition, later: &PathCondition) -> bool {
    match (earlier, later) {
        (PathCondition::Regex(earlier), PathCondition::Regex(later)) => earlier == later,
        (earlier, PathCondition::Exact(path)) => path_matches(earlier, path.as_str().as_bytes()),
        (PathCondition::Prefix(prefix), later) => {
            literal_prefix(Some(later)).starts_with(prefix.as_str().as_bytes())
        }
        (PathCondition::Exact(_) | PathCondition::Regex(_), _) => false,
    }
}

fn covers_header(earlier: &HeaderCondition, later: &HeaderCondition) -> bool {
    use ValueCondition::{Contains, Exact, Prefix, Present};
    if earlier.name != later.name {
        return false;
    }
    match (&earlier.value, &later.value) {
        (earlier, later) if earlier == later => true,
        (Present(true), later) => *later != Present(false),
        (Present(false), _) | (_, Present(_)) => false,
        (earlier, Exact(text)) => value_matches(earlier, text.as_str().as_bytes()),
        // A value that starts with, or contains, a matching text matches too.
        (earlier @ Prefix(_), Prefix(text))
        | (earlier @ Contains(_), Prefix(text) | Contains(text)) => {
            value_matches(earlier, text.as_str().as_bytes())
        }
        _ => false,
    }
}
