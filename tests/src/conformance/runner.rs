//! Runs many traces on several Envoys concurrently; the traces mostly wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, iter, thread};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use sluice_sim::Module;
use sluice_sim::trace::Trace;

use super::observation::Observation;
use super::simulation::Simulated;
use super::{Comparison, generator, module, trace_rewrite};
use crate::root;

/// The default number of random traces.
pub const CASES: u32 = 200;

/// The default seed of the random traces.
pub const SEED: u64 = 7;

/// The number of concurrent comparisons, each with its own Envoys.
const COMPARISONS: usize = 8;

/// A longer trace is scaled to this length.
const LONGEST: Duration = Duration::from_secs(25);

/// A scaled exchange is skipped if a shift of its responses by this time changes its result.
const TOLERANCE: Duration = Duration::from_millis(200);

/// The most steps to shrink a random trace that differs.
const SHRINKS: u32 = 60;

/// The traces to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Trace files; all traces of the repository if empty.
    pub traces: Vec<PathBuf>,
    /// The number of random traces.
    pub cases: u32,
    /// The seed of the random traces.
    pub seed: u64,
    /// Also run long traces at their full length.
    pub full: bool,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// The number of traces.
    pub traces: usize,
    /// The number of differences between simulator and Envoy.
    pub differences: usize,
    /// The number of streams that failed in Envoy, by reason.
    pub failures: BTreeMap<String, u64>,
    /// The traces in files that change each setting of the proxy.
    pub settings: BTreeMap<String, u64>,
}

/// One run of one trace.
enum Case {
    File { name: String, text: String, configuration: Value },
    Random { seed: u64, number: u32 },
}

/// Runs the plan and prints differences as they are found.
///
/// # Panics
/// If Envoy, the built module or a trace is missing.
pub fn run(plan: &Plan) -> Tally {
    let module = module();
    let mut cases = file_cases(plan, &module);
    cases.extend((0..plan.cases).map(|number| Case::Random { seed: plan.seed, number }));
    let next = AtomicUsize::new(0);
    let run_cases = || {
        let mut comparison = Comparison::start(&module);
        let next_cases = iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        let differences = next_cases.map(|case| case.run(&mut comparison)).sum::<usize>();
        (differences, comparison.failures())
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..COMPARISONS.min(cases.len())).map(|_| scope.spawn(run_cases)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a comparison")).collect()
    });
    let mut tally = Tally { traces: cases.len(), ..Tally::default() };
    for setting in cases.iter().flat_map(Case::settings) {
        *tally.settings.entry(setting).or_default() += 1;
    }
    for (differences, failures) in results {
        tally.differences += differences;
        for ((_, reason), count) in failures {
            *tally.failures.entry(reason).or_default() += count;
        }
    }
    tally
}

/// The traces in files, the longest first.
fn file_cases(plan: &Plan, module: &Module) -> Vec<Case> {
    let folder = root().join("tests/traces");
    let files = match plan.traces.is_empty() {
        true => [traces_in(&folder), traces_in(&folder.join("conformance"))].concat(),
        false => plan.traces.clone(),
    };
    let mut cases = Vec::new();
    for file in files {
        let text = read(&file);
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Trace::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let configurations = match fs::read_to_string(file.with_extension("config.json")) {
            Ok(text) => vec![serde_json::from_str(&text).expect("a configuration is JSON")],
            Err(_) => generator::configurations(),
        };
        for configuration in configurations {
            let full = trace_rewrite::for_real_proxy(&text, &configuration, 1.0);
            let length = length(&full, module);
            let factor = length.div_duration_f64(LONGEST);
            if factor <= 1.0 || plan.full {
                cases.push((length, Case::file(&name, full)));
            }
            if factor > 1.0 {
                let name = format!("{name}, {factor:.1} times as fast");
                let (text, configuration) =
                    trace_rewrite::for_real_proxy(&text, &configuration, factor);
                let skipped = timing_dependent(&text, &configuration, module);
                if !skipped.is_empty() {
                    println!(
                        "{name}: skipped, because {TOLERANCE:?} change the result: {}",
                        skipped.join(", ")
                    );
                }
                let text = trace_rewrite::without_exchanges(&text, &skipped);
                cases.push((LONGEST, Case::file(&name, (text, configuration))));
            }
        }
    }
    cases.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    cases.into_iter().map(|(_, case)| case).collect()
}

/// The exchanges whose result changes if responses or timeouts are slightly late.
fn timing_dependent(text: &str, configuration: &Value, module: &Module) -> Vec<String> {
    let outcomes = |text: &str| {
        let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}"));
        let observed = Simulated::of(&trace, configuration, module).observed;
        let outcome = |observed: Observation| {
            (observed.status, observed.end, observed.attempts, observed.bytes)
        };
        let outcomes = observed.into_iter().map(|(id, observed)| (id, outcome(observed)));
        outcomes.collect::<BTreeMap<_, _>>()
    };
    let late = outcomes(&trace_rewrite::with_reply_delay(text, |after| after + TOLERANCE));
    let early =
        outcomes(&trace_rewrite::with_reply_delay(text, |after| after.saturating_sub(TOLERANCE)));
    let is_dependent = |(id, outcome): &(String, _)| {
        [&late, &early].iter().any(|other| other.get(id) != Some(outcome))
    };
    outcomes(text).into_iter().filter(is_dependent).map(|(id, _)| id).collect()
}

fn length((text, configuration): &(String, Value), module: &Module) -> Duration {
    let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}"));
    Simulated::of(&trace, configuration, module).length()
}

fn traces_in(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut traces: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "jsonl")).collect();
    assert!(!traces.is_empty(), "no trace in {}", folder.display());
    traces.sort();
    traces
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

impl Case {
    fn file(name: &str, (text, configuration): (String, Value)) -> Self {
        Self::File { name: name.to_owned(), text, configuration }
    }

    /// The settings that the trace changes.
    fn settings(&self) -> Vec<String> {
        let Self::File { text, .. } = self else { return Vec::new() };
        let first = text.lines().next().and_then(|line| serde_json::from_str::<Value>(line).ok());
        let section = first.map(|mut event| event["proxy"].take()).unwrap_or_default();
        section.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    /// Runs the trace and prints the differences; returns their number.
    fn run(&self, comparison: &mut Comparison<'_>) -> usize {
        match self {
            Self::File { name, text, configuration } => {
                let differences = comparison.differences(text, configuration);
                if !differences.is_empty() {
                    println!("{name} with {configuration}:\n{}", differences.join("\n"));
                }
                differences.len()
            }
            Self::Random { seed, number } => {
                let tree = generated(*seed, *number);
                let text = tree.current();
                let differences = comparison.differences(&text, &generator::start());
                if !differences.is_empty() {
                    let name = format!("random trace {number} of seed {seed}");
                    println!("{name}:\n{text}{}", differences.join("\n"));
                    let smallest = smallest(tree, comparison);
                    println!("{name}, shrunk; add it to tests/traces/conformance:\n{smallest}");
                }
                differences.len()
            }
        }
    }
}

/// A random trace, determined by seed and number.
fn generated(seed: u64, number: u32) -> impl ValueTree<Value = String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    generator::traces().new_tree(&mut runner).expect("a generated trace")
}

/// The smallest trace that still differs, with its differences.
fn smallest(mut tree: impl ValueTree<Value = String>, comparison: &mut Comparison<'_>) -> String {
    let mut smallest = "no difference in a second run".to_owned();
    for _ in 0..SHRINKS {
        let text = tree.current();
        let differences = comparison.differences(&text, &generator::start());
        let continues = match differences.is_empty() {
            true => tree.complicate(),
            false => {
                smallest = format!("{text}{}", differences.join("\n"));
                tree.simplify()
            }
        };
        if !continues {
            break;
        }
    }
    smallest
}
