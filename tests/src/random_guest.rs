//! Random guests: programs of random host calls, in random callbacks, on the simulator and on a
//! real Envoy. Both must return the same to the guest, and the client and the upstream must see the
//! same. A difference is a bug of the simulator; it is shrunk and kept in `tests/random-guests/`.

mod case;
mod exclusions;
mod generate;
mod interpreter;
mod observed;
mod real;
mod shrink;
mod simulated;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::{Callback, Case};
pub use exclusions::{Exclusion, LEFT_OUT};
use observed::Observed;

/// The `vm_id` of the guest.
const VM_ID: &str = "guest";

/// The request header that selects the HTTP/2 upstream.
const PROTOCOL: &str = "x-protocol";

/// The cases that one Envoy runs.
const BATCH: usize = 200;

/// The Envoys that run at the same time; cases mostly wait.
const ENVOYS: usize = 4;

/// A difference counts if it repeats this often when the case runs by itself.
const ATTEMPTS: usize = 3;

/// The differences that are shrunk; the others are printed as they are.
const SHRUNK: usize = 2;

/// A case whose hosts differ.
#[derive(Debug, Clone)]
struct Difference {
    /// The number of the case.
    number: usize,
    /// The case; the smallest one that still differs, if it is shrunk.
    case: Case,
    /// The differences of this case.
    lines: Vec<String>,
}

/// The result of a run.
#[derive(Debug, Default)]
struct Tally {
    /// The host calls that programs made, by function and status.
    calls: BTreeMap<String, BTreeMap<u32, u64>>,
    /// The callbacks that programs received, by name.
    callbacks: BTreeMap<String, u64>,
    /// The cases that differ.
    differences: Vec<Difference>,
    /// The numbers of the cases that end Envoy. The simulator cannot agree with them.
    crashes: Vec<usize>,
}

/// What cases did, and how many of them differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The cases that ran on both hosts.
    pub cases: usize,
    /// The cases that differ.
    pub differences: usize,
    /// The host calls by function and status.
    pub host_calls: BTreeMap<String, BTreeMap<u32, u64>>,
    /// The callbacks by name.
    pub callbacks: BTreeMap<String, u64>,
}

/// The highest status of the ABI.
const LAST_STATUS: u32 = 12;

/// The callbacks of the ABI, with the row of `tests/guests/rows.yaml` that makes a callback that
/// random guests do not have.
pub const CALLBACKS: [(&str, Option<&str>); 25] = [
    ("proxy_on_context_create", Some("headers")),
    ("proxy_on_vm_start", Some("headers")),
    ("proxy_on_configure", Some("headers")),
    ("proxy_on_request_headers", None),
    ("proxy_on_request_body", None),
    ("proxy_on_request_trailers", None),
    ("proxy_on_response_headers", None),
    ("proxy_on_response_body", None),
    ("proxy_on_response_trailers", None),
    ("proxy_on_http_call_response", None),
    ("proxy_on_grpc_receive_initial_metadata", None),
    ("proxy_on_grpc_receive", None),
    ("proxy_on_grpc_receive_trailing_metadata", None),
    ("proxy_on_grpc_close", None),
    ("proxy_on_log", None),
    ("proxy_on_done", None),
    ("proxy_on_delete", None),
    ("proxy_on_tick", Some("tick")),
    ("proxy_on_queue_ready", Some("queue")),
    ("proxy_on_foreign_function", None),
    ("proxy_on_new_connection", None),
    ("proxy_on_downstream_data", None),
    ("proxy_on_downstream_connection_close", None),
    ("proxy_on_upstream_data", None),
    ("proxy_on_upstream_connection_close", None),
];

/// Runs the cases in `tests/random-guests/` and `count` random ones, and prints what differs.
///
/// # Panics
/// If Envoy or the simulator does not start, or a file is not a case.
pub fn report(seed: u64, count: u32) -> Counts {
    let kept = kept();
    let random = (0..count).map(|number| generate::case(seed, number));
    let cases: Vec<Case> = kept.iter().map(|(_, case)| case.clone()).chain(random).collect();
    let tally = run(&cases);
    for difference in &tally.differences {
        let name = match kept.get(difference.number) {
            Some((file, _)) => file.clone(),
            None => format!("random guest {} of seed {seed}", difference.number - kept.len()),
        };
        println!("{name}, shrunk; keep it in tests/random-guests:");
        println!("{}", serde_json::to_string(&difference.case).expect("a case is valid JSON"));
        println!("  {}", difference.lines.join("\n  "));
    }
    let made: u64 = tally.calls.values().flat_map(BTreeMap::values).sum();
    let combinations: usize = tally.calls.values().map(BTreeMap::len).sum();
    println!(
        "random guests: {made} host calls with {combinations} combinations of function and status; {} cases ended Envoy and are not compared",
        tally.crashes.len()
    );
    Counts {
        cases: cases.len() - tally.crashes.len(),
        differences: tally.differences.len(),
        host_calls: tally.calls,
        callbacks: tally.callbacks,
    }
}

/// The cases that differed once, with the names of their files.
fn kept() -> Vec<(String, Case)> {
    let folder = crate::root().join("tests/random-guests");
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.collect();
    files.sort();
    let case = |file: std::path::PathBuf| {
        let text = std::fs::read_to_string(&file).expect("a file that exists");
        let case = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file.file_name().unwrap_or_default().to_string_lossy().into_owned(), case)
    };
    files.into_iter().map(case).collect()
}

/// Runs cases on both hosts.
///
/// A difference must repeat, because under load Envoy may receive two chunks at once.
fn run(cases: &[Case]) -> Tally {
    let batches: Vec<&[Case]> = cases.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..ENVOYS.min(batches.len()) {
            scope.spawn(|| {
                loop {
                    let batch = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cases) = batches.get(batch) else { return };
                    let found = compare(cases);
                    let mut tally = tally.lock().expect("no thread panics with the lock");
                    tally.add(found, batch * BATCH);
                }
            });
        }
    });
    let mut tally = tally.into_inner().expect("no thread panics with the lock");
    tally.differences.sort_by_key(|difference| difference.number);
    let mut confirmed = Vec::new();
    for difference in tally.differences.drain(..) {
        let case = std::slice::from_ref(&difference.case);
        let mut found = None;
        for _ in 0..ATTEMPTS {
            found = compare(case).differences.into_iter().next();
            if found.is_none() {
                break;
            }
        }
        confirmed.extend(found.map(|found| Difference { number: difference.number, ..found }));
    }
    std::thread::scope(|scope| {
        for difference in confirmed.iter_mut().take(SHRUNK) {
            scope.spawn(|| shrink::shrink(difference));
        }
    });
    Tally { differences: confirmed, ..tally }
}

impl Tally {
    /// Adds the result of a batch whose first case has the number `first`.
    fn add(&mut self, batch: Tally, first: usize) {
        for (function, statuses) in batch.calls {
            let sums = self.calls.entry(function).or_default();
            for (status, count) in statuses {
                *sums.entry(status).or_default() += count;
            }
        }
        for (callback, count) in batch.callbacks {
            *self.callbacks.entry(callback).or_default() += count;
        }
        self.crashes.extend(batch.crashes.iter().map(|at| first + at));
        let numbered = |found: Difference| Difference { number: first + found.number, ..found };
        self.differences.extend(batch.differences.into_iter().map(numbered));
    }

    /// Counts the host calls and the callbacks that a guest logged.
    fn count(&mut self, observed: &Observed) {
        for line in &observed.log {
            let mut words = line.split(' ');
            let (Some(place), Some(name)) = (words.next(), words.next()) else { continue };
            // A higher number says that the interpreter did not make the call.
            let status = words.next().and_then(|status| status.parse().ok());
            let status = status.filter(|status| *status <= LAST_STATUS);
            if let (true, Some(status)) = (place.contains('.'), status) {
                let statuses = self.calls.entry(name.to_owned()).or_default();
                *statuses.entry(status).or_default() += 1;
            } else if let Some(callback) = place.parse().ok().and_then(Callback::name) {
                *self.callbacks.entry(callback.to_owned()).or_default() += 1;
            }
        }
    }
}

/// Runs the cases of one batch on both hosts.
fn compare(cases: &[Case]) -> Tally {
    let mut tally = Tally::default();
    let mut start = 0;
    while start < cases.len() {
        // The numbers of cases start at 0 in each Envoy.
        let rest = &cases[start..];
        let simulated = simulated::run(rest);
        let pokes: Vec<u32> = simulated.iter().map(|one| one.pokes).collect();
        let real = real::run(rest, &pokes);
        for (at, (simulated, real)) in simulated.iter().zip(&real).enumerate() {
            tally.count(real);
            let lines = observed::differences(&simulated.observed, real);
            if !lines.is_empty() {
                let case = rest[at].clone();
                tally.differences.push(Difference { number: start + at, case, lines });
            }
        }
        start += real.len();
        if start < cases.len() {
            tally.crashes.push(start);
            start += 1;
        }
    }
    tally
}

/// The path of a case in its batch.
fn path(index: usize) -> String {
    format!("/case/{index}?q=1")
}
