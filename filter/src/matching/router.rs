//! The index that finds the first matching route without asking every route.
//!
//! A route lies in one *scope* for each of its hosts: that host, its route name and its policy, each possibly "any". Within
//! a scope it lies under what its path begins with. A request looks into the few scopes that could be its own, and there under each
//! length that some path of the scope has; the routes found so are candidates, which the real conditions then decide. So the
//! index works on hashes alone and needs no care about collisions: they would add a candidate, never a match.
//!
//! The work depends on the number of labels of the host and of distinct lengths of paths, not on the number of routes. What stays
//! linear is what no index of this kind separates: routes of the same scope and path that differ in methods or headers only, and regular
//! expressions that begin alike.

use crate::config::spec::{MatchSpec, PathCondition};
use crate::hash::{Map, SEED, extend};
use crate::request::RequestView;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// Where the scope lies in `scopes`, by its hash.
    scope_at: Map<u64, usize>,
    scopes: Vec<Scope>,
    /// Where the list lies in `lists`, by scope and the beginning of the path.
    list_at: Map<u64, usize>,
    /// Routes, in ascending order.
    lists: Vec<Vec<usize>>,
    uses_hosts: bool,
    uses_route_name: bool,
    uses_policy: bool,
}

/// What the paths of a scope look like.
#[derive(Debug, Default)]
struct Scope {
    /// The lengths of the prefixes, ascending.
    lengths: Vec<usize>,
    /// Whether some path is exact.
    exact: bool,
}

/// Stands for "any" host, route name or policy.
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
            let key = scope_hash(host, route_name, policy);
            let scope = entry(&mut self.scope_at, &mut self.scopes, key);
            let literal = literal(conditions.path.as_ref());
            let under = match conditions.path {
                Some(PathCondition::Exact(_)) => {
                    scope.exact = true;
                    exact_hash(key, path_hash(literal))
                }
                _ => {
                    if let Err(place) = scope.lengths.binary_search(&literal.len()) {
                        scope.lengths.insert(place, literal.len());
                    }
                    prefix_hash(key, literal.len(), path_hash(literal))
                }
            };
            let list = entry(&mut self.list_at, &mut self.lists, under);
            // Two hosts of one route may share a hash.
            if list.last() != Some(&index) {
                list.push(index);
            }
        }
    }

    pub(crate) fn uses_route_name(&self) -> bool {
        self.uses_route_name
    }

    pub(crate) fn uses_policy(&self) -> bool {
        self.uses_policy
    }

    /// The lowest route that could match `request` and that `holds` confirms.
    pub(crate) fn first(
        &self,
        request: &RequestView<'_>,
        holds: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut best = None;
        self.candidate_lists(request, &mut |list| {
            let open = list.iter().take_while(|index| best.is_none_or(|best| **index < best));
            if let Some(found) = open.into_iter().find(|index| holds(**index)) {
                best = Some(*found);
            }
        });
        best
    }

    /// Shows `visit` every list of routes under which `request` falls. Each list is ascending.
    pub(crate) fn candidate_lists(
        &self,
        request: &RequestView<'_>,
        visit: &mut dyn FnMut(&[usize]),
    ) {
        let route_names = alternatives(self.uses_route_name, request.route_name);
        let policies = alternatives(self.uses_policy, request.policy);
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
        let mut look = |under: u64| {
            if let Some(at) = self.list_at.get(&under) {
                visit(&self.lists[*at]);
            }
        };
        let mut hash = PATH_SEED;
        let mut done = 0;
        for &length in scope.lengths.iter().take_while(|length| **length <= path.len()) {
            hash = extend(hash, &path[done..length]);
            done = length;
            look(prefix_hash(key, length, hash));
        }
        if scope.exact {
            look(exact_hash(key, extend(hash, &path[done..])));
        }
    }

    /// Calls `visit` with "any" and with the host and each of its suffixes, if some route asks for hosts at all.
    fn each_host(&self, host: &[u8], mut visit: impl FnMut(u64)) {
        visit(ANY);
        if !self.uses_hosts {
            return;
        }
        // From the end, because that is where suffixes agree.
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

/// The item of `key`, made when there is none.
fn entry<'i, T: Default>(at: &mut Map<u64, usize>, items: &'i mut Vec<T>, key: u64) -> &'i mut T {
    let position = *at.entry(key).or_insert(items.len());
    if position == items.len() {
        items.push(T::default());
    }
    &mut items[position]
}

fn alternatives(used: bool, value: Option<&[u8]>) -> [Option<u64>; 2] {
    [Some(ANY), value.filter(|_| used).map(|value| name_hash(Some(value)))]
}

/// What every path that meets the condition begins with.
pub(crate) fn literal(path: Option<&PathCondition>) -> &[u8] {
    match path {
        None => b"",
        Some(PathCondition::Exact(path) | PathCondition::Prefix(path)) => path.as_str().as_bytes(),
        Some(PathCondition::Regex(pattern)) => pattern.literal_prefix().as_bytes(),
    }
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

fn host_hash(pattern: &crate::config::HostPattern) -> u64 {
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
