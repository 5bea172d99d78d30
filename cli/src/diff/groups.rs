//! Counts equal differences of many exchanges, and keeps one example of each.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;
use sluice_sim::replay::Summary;

use super::differences::{Difference, Threshold, View, differences};
use super::pairs::Pair;
use super::problems;
use crate::text::printable;

/// The groups that are kept. Differences beyond them are counted together, because a header can
/// have another value in each exchange.
const MAX_GROUPS: usize = 10_000;

/// The problems of each side that are kept.
const MAX_PROBLEMS: usize = 20;

/// What all exchanges of a group have in common.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    view: View,
    route: String,
    field: String,
    change: String,
}

impl Key {
    /// The key of differences beyond [`MAX_GROUPS`].
    fn other(view: View) -> Self {
        let [route, field, change] = ["other", "other", "other values"].map(str::to_owned);
        Self { view, route, field, change }
    }
}

/// An exchange with the difference.
#[derive(Debug, Serialize)]
pub(super) struct Example {
    pub(super) trace: String,
    /// The line of the trace.
    pub(super) line: u32,
    pub(super) id: String,
    /// The method and the path.
    pub(super) request: String,
    pub(super) from: String,
    pub(super) to: String,
}

/// Equal differences.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    /// The route of the filter before and after, or `-`.
    pub(super) route: String,
    pub(super) field: String,
    /// `from → to`, or what times and lengths have in common.
    pub(super) change: String,
    /// The number of exchanges.
    pub(super) exchanges: u64,
    pub(super) example: Example,
}

/// The differences of one view.
#[derive(Debug, Default, Serialize)]
pub(super) struct Section {
    /// The exchanges with at least one difference.
    pub(super) exchanges: u64,
    /// The largest group first.
    pub(super) groups: Vec<Group>,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) old: String,
    pub(super) new: String,
    pub(super) traces: Vec<String>,
    /// The exchanges that were compared.
    pub(super) exchanges: u64,
    pub(super) client: Section,
    pub(super) upstream: Section,
    /// Of exchanges that clients and upstreams see unchanged.
    pub(super) decision: Section,
    /// Crashes and other problems of the old and of the new side.
    pub(super) problems: [Vec<String>; 2],
    /// The number of all problems.
    pub(super) problem_counts: [u64; 2],
    /// The traces that push a configuration of their own, each with the first line that does.
    pub(super) pushes: Vec<String>,
}

impl Found {
    /// Whether a client sees a difference, or a replay had a problem, such as a crash.
    pub(super) fn has_failed(&self) -> bool {
        self.client.exchanges > 0 || self.problem_counts != [0, 0]
    }
}

/// A group while it is counted.
struct Counted {
    exchanges: u64,
    /// The place among the differences of its first exchange, which are in the order of importance.
    rank: usize,
    example: Example,
}

/// The comparison while it runs.
pub(super) struct Comparison {
    threshold: Threshold,
    traces: Vec<String>,
    exchanges: u64,
    /// The exchanges with a difference, for each view.
    different: [u64; 3],
    groups: HashMap<Key, Counted>,
    problems: [Vec<String>; 2],
    problem_counts: [u64; 2],
    pushes: Vec<String>,
}

impl Comparison {
    pub(super) fn new(threshold: Threshold) -> Self {
        Self {
            threshold,
            traces: Vec::new(),
            exchanges: 0,
            different: [0; 3],
            groups: HashMap::new(),
            problems: Default::default(),
            problem_counts: [0; 2],
            pushes: Vec::new(),
        }
    }

    pub(super) fn begin_trace(&mut self, name: &str) {
        self.traces.push(name.to_owned());
    }

    /// Ends a trace; `push` is the first line that pushed a configuration which was accepted.
    pub(super) fn end_trace(&mut self, summaries: [&Summary; 2], push: Option<u32>) {
        self.pushes.extend(push.map(|line| format!("{}:{line}", summaries[1].trace)));
        for (side, summary) in summaries.into_iter().enumerate() {
            self.problem_counts[side] += summary.problems.len() as u64 + summary.omitted_problems;
            let room = MAX_PROBLEMS.saturating_sub(self.problems[side].len());
            self.problems[side].extend(problems(summary).take(room));
        }
    }

    /// Adds the two reports of an exchange.
    pub(super) fn add(&mut self, pair: Pair) {
        self.exchanges += 1;
        let (found, route, report) = match &pair {
            [Some(old), Some(new)] => {
                let found = differences(old, new, self.threshold);
                if found.is_empty() {
                    return;
                }
                let [before, after] = [old, new].map(|side| side.route.as_deref().unwrap_or("-"));
                let route = match before == after {
                    true => before.to_owned(),
                    false => format!("{before} → {after}"),
                };
                (found, route, old)
            }
            [Some(report), None] => (vec![missing("ran", "did not run")], "-".to_owned(), report),
            [None, Some(report)] => (vec![missing("did not run", "ran")], "-".to_owned(), report),
            [None, None] => return,
        };
        let visible = found.iter().any(|difference| difference.view != View::Decision);
        let listed = |view: View| view != View::Decision || !visible;
        for view in [View::Client, View::Upstream, View::Decision] {
            let has_one = listed(view) && found.iter().any(|difference| difference.view == view);
            self.different[view as usize] += u64::from(has_one);
        }
        let trace = self.traces.last().cloned().unwrap_or_default();
        for (rank, difference) in found.into_iter().enumerate() {
            let Difference { view, field, from, to, class } = difference;
            if !listed(view) {
                continue;
            }
            let change = class.unwrap_or_else(|| format!("{from} → {to}"));
            let mut key = Key { view, route: printable(&route), field, change };
            if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
                key = Key::other(view);
            }
            let example = || Example {
                trace: trace.clone(),
                line: report.line,
                id: printable(&report.id),
                request: printable(&format!("{} {}", report.method, report.path)),
                from,
                to,
            };
            let new = || Counted { exchanges: 0, rank, example: example() };
            self.groups.entry(key).or_insert_with(new).exchanges += 1;
        }
    }

    pub(super) fn finish(self, [old, new]: [String; 2]) -> Found {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by(|(a, counted_a), (b, counted_b)| {
            let order = |counted: &Counted| (Reverse(counted.exchanges), counted.rank);
            order(counted_a).cmp(&order(counted_b)).then_with(|| a.cmp(b))
        });
        let mut sections =
            self.different.map(|exchanges| Section { exchanges, groups: Vec::new() });
        for (Key { view, route, field, change }, Counted { exchanges, example, .. }) in groups {
            let group = Group { route, field, change, exchanges, example };
            sections[view as usize].groups.push(group);
        }
        let [client, upstream, decision] = sections;
        Found {
            old,
            new,
            traces: self.traces,
            exchanges: self.exchanges,
            client,
            upstream,
            decision,
            problems: self.problems,
            problem_counts: self.problem_counts,
            pushes: self.pushes,
        }
    }
}

/// The difference of an exchange that only one side ran.
fn missing(from: &str, to: &str) -> Difference {
    let [field, from, to] = ["exchange", from, to].map(str::to_owned);
    Difference { view: View::Client, field, from, to, class: None }
}
