//! An index that finds the first matching route without a check of every route.
//!
//! A *scope* is a host, a route name and a policy, each possibly "any". A route is in one scope for
//! each of its hosts. Within a scope, routes are indexed by the literal start of their paths. A
//! request has few possible scopes. A scope takes one lookup for each distinct length of its path
//! prefixes. The routes found are candidates; their conditions decide. The index works on hashes
//! alone: a collision adds a candidate, never a match.
//!
//! The cost depends on the number of labels in the host and of distinct path lengths, not on the
//! number of routes. It is linear in the routes that this index cannot separate: routes of one
//! scope and path that differ in methods or headers only, and regular expressions with the same
//! literal start.

use super::condition::literal_prefix;
use crate::config::{HostPattern, MatchSpec, PathCondition};
use crate::hash::{Map, SEED, extend};
use crate::request::RequestView;

#[derive(Debug, Default)]
pub(crate) struct Router {
    /// Positions in `scopes`, by the scope's hash.
    scope_at: Map<u64, usize>,
    scopes: Vec<Scope>,
    /// Positions in `lists`, by the hash of scope and path.
    list_at: Map<u64, usize>,
    /// Positions of routes, each list in ascending order.
    lists: Vec<Vec<usize>>,
    uses_hosts: bool,
    uses_route_name: bool,
    uses_policy: bool,
}

#[derive(Debug, Default)]
struct Scope {
    /// The lengths of the path prefixes, in ascending order.
    lengths: Vec<usize>,
    has_exact_path: bool,
}

/// The hash of "any" host, route name or policy.
const ANY: u64 = 0;

impl Router {
    pub(crate) fn new<'c>(routes: impl Iterator<Item = &'c MatchSpec>) -> Self {
        let mut router = Self::default();
        for (index, conditions) in routes.enumerate() {
            router.insert(index, conditions);
        }
        router
    }

    fn insert(&mut self, index: usize, conditions: &MatchSpec) {
        let route_name =
            name_hash(conditions.route_name.as_ref().map(|name| name.as_str().as_bytes()));
        let policy = name_hash(conditions.policy.as_ref().map(|name| name.as_str().as_bytes()));
        self.uses_route_name |= route_name != ANY;
        self.uses_policy |= policy != ANY;
        self.uses_hosts |= conditions.hosts.is_some();
        let hosts = conditions.hosts.iter().flat_map(|hosts| hosts.iter()).map(host_hash);
        let any = conditions.hosts.is_none().then_some(ANY);
        for host in hosts.chain(any) {
            let scope = scope_hash(host, route_name, policy);
            let path = self.insert_path(scope, conditions.path.as_ref());
            let list = entry(&mut self.list_at, &mut self.lists, path);
            // Two hosts of one route can have the same hash.
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
    }

    fn insert_path(&mut self, key: u64, path: Option<&PathCondition>) -> u64 {
        let scope = entry(&mut self.scope_at, &mut self.scopes, key);
        let literal = literal_prefix(path);
        if let Some(PathCondition::Exact(_)) = path {
            scope.has_exact_path = true;
            return exact_hash(key, path_hash(literal));
        }
        if let Err(position) = scope.lengths.binary_search(&literal.len()) {
            scope.lengths.insert(position, literal.len());
        }
        prefix_hash(key, literal.len(), path_hash(literal))
    }

    pub(crate) fn uses_route_name(&self) -> bool {
        self.uses_route_name
    }

    pub(crate) fn uses_policy(&self) -> bool {
        self.uses_policy
    }

    /// The lowest candidate for `request` that `matches` confirms.
    pub(crate) fn first(
        &self,
        request: &RequestView<'_>,
        matches: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best = None;
        self.candidate_lists(request, &mut |list| {
            let lower = list.iter().take_while(|index| best.is_none_or(|best| **index < best));
            if let Some(found) = lower.into_iter().find(|index| matches(**index)) {
                best = Some(*found);
            }
        });
        best
    }

    /// Calls `visit` with each list of candidates for `request`. Each list is in ascending order.
    pub(crate) fn candidate_lists(
        &self,
        request: &RequestView<'_>,
        visit: &mut dyn FnMut(&[usize]),
    ) {
        let route_names = any_or(request.route_name.filter(|_| self.uses_route_name));
        let policies = any_or(request.policy.filter(|_| self.uses_policy));
        self.each_host(request.host(), |host| {
            for route_name in route_names.into_iter().flatten() {
                for policy in policies.into_iter().flatten() {
                    let key = scope_hash(host, route_name, policy);
                    if let Some(at) = self.scope_at.get(&key) {
                        self.scope_lists(key, &self.scopes[*at], request.path, visit);
                    }
                }
            }
        });
    }

    fn scope_lists(&self, key: u64, scope: &Scope, path: &[u8], visit: &mut dyn FnMut(&[usize])) {
        let mut visit_list = |hash: u64| {
            if let Some(at) = self.list_at.get(&hash) {
                visit(&self.lists[*at]);
            }
        };
        let mut hash = PATH_SEED;
        let mut hashed = 0;
        for &length in scope.lengths.iter().take_while(|length| **length <= path.len()) {
            hash = extend(hash, &path[hashed..length]);
            hashed = length;
            visit_list(prefix_hash(key, length, hash));
        }
        if scope.has_exact_path {
            visit_list(exact_hash(key, extend(hash, &path[hashed..])));
        }
    }

    /// Calls `visit` with the hashes of "any", of `host`, and of each of its suffixes.
    fn each_host(&self, host: &[u8], mut visit: impl FnMut(u64)) {
        visit(ANY);
        if !self.uses_hosts {
            return;
        }
        // From the end, because suffixes share it.
        let mut hash = HOST_SEED;
        visit(suffix_hash(hash));
        for (index, byte) in host.iter().enumerate().rev() {
            hash = extend(hash, &[byte.to_ascii_lowercase()]);
            if *byte == b'.' && index > 0 {
                visit(suffix_hash(hash));
            }
        }
        visit(whole_host_hash(hash));
    }
}

/// The item of `key`, inserted if absent.
fn entry<'i, T: Default>(at: &mut Map<u64, usize>, items: &'i mut Vec<T>, key: u64) -> &'i mut T {
    let position = *at.entry(key).or_insert(items.len());
    if position == items.len() {
        items.push(T::default());
    }
    &mut items[position]
}

fn any_or(name: Option<&[u8]>) -> [Option<u64>; 2] {
    [Some(ANY), name.map(|name| name_hash(Some(name)))]
}

const PATH_SEED: u64 = SEED;
const HOST_SEED: u64 = 0x9ae1_6a3b_2f90_404f;

fn mix(hash: u64, with: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ with).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn path_hash(path: &[u8]) -> u64 {
    extend(PATH_SEED, path)
}

fn name_hash(name: Option<&[u8]>) -> u64 {
    name.map_or(ANY, |name| path_hash(name).max(1))
}

fn host_hash(pattern: &HostPattern) -> u64 {
    let backwards =
        |text: &str| text.bytes().rev().fold(HOST_SEED, |hash, byte| extend(hash, &[byte]));
    match pattern.suffix() {
        Some(suffix) => suffix_hash(backwards(suffix)),
        None => whole_host_hash(backwards(pattern.as_str())),
    }
}

fn suffix_hash(hash: u64) -> u64 {
    mix(hash, 1).max(1)
}

fn whole_host_hash(hash: u64) -> u64 {
    mix(hash, 2).max(1)
}

fn scope_hash(host: u64, route_name: u64, policy: u64) -> u64 {
    mix(mix(mix(3, host), route_name), policy)
}

fn prefix_hash(scope: u64, length: usize, path: u64) -> u64 {
    mix(mix(scope, path), length as u64)
}

fn exact_hash(scope: u64, path: u64) -> u64 {
    mix(mix(scope, path), u64::MAX)
}
