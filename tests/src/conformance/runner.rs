//! Many traces on several stages side by side: they wait most of the time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, iter, thread};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;
use sluice_sim::Module;
use sluice_sim::trace::Trace;

use super::seen::Seen;
use super::simulation::Simulated;
use super::{Stage, adapt, generator, module};
use crate::root;

/// How many random traces run where nobody says how many.
pub const CASES: u32 = 200;

/// The seed of the random traces where nobody names one.
pub const SEED: u64 = 7;

/// The stages, each with an Envoy of its own.
const STAGES: usize = 8;

/// A trace that would last longer is scaled down to this.
const LONGEST: Duration = Duration::from_secs(25);

/// A scaled exchange whose end hangs on less than this is left out.
const EDGE: Duration = Duration::from_millis(200);

/// How many smaller traces are tried for one that differs.
const SHRINKS: u32 = 60;

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// These traces instead of all that the repository has.
    pub traces: Vec<PathBuf>,
    /// How many random traces.
    pub cases: u32,
    /// Which random traces.
    pub seed: u64,
    /// Long traces run at their full length, too.
    pub full: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many traces ran.
    pub traces: usize,
    /// In how many things simulator and Envoy differ.
    pub differences: usize,
    /// How many streams ended badly in Envoy, by reason.
    pub ended: BTreeMap<String, u64>,
}

/// One run of one trace.
enum Case {
    Written { name: String, text: String, configuration: Value },
    Random { seed: u64, number: u32 },
}

/// Runs the plan; differences are printed as they are found.
///
/// # Panics
/// If there is no Envoy, no built module, or no such trace.
pub fn run(plan: &Plan) -> Tally {
    let module = module();
    let mut cases = written(plan, &module);
    cases.extend((0..plan.cases).map(|number| Case::Random { seed: plan.seed, number }));
    let next = AtomicUsize::new(0);
    // To start all of them at once would be more than the machine can do in time.
    let starting = Mutex::new(());
    let play = || {
        let mut stage = {
            let _one_by_one = starting.lock();
            Stage::start(&module)
        };
        let mine = iter::from_fn(|| cases.get(next.fetch_add(1, Ordering::Relaxed)));
        let differences = mine.map(|case| case.play(&mut stage)).sum::<usize>();
        (differences, stage.ended().clone())
    };
    let played: Vec<_> = thread::scope(|scope| {
        let stages: Vec<_> = (0..STAGES.min(cases.len())).map(|_| scope.spawn(play)).collect();
        stages.into_iter().map(|stage| stage.join().expect("a stage")).collect()
    });
    let mut tally = Tally { traces: cases.len(), ..Tally::default() };
    for (differences, ended) in played {
        tally.differences += differences;
        for ((_, reason), count) in ended {
            *tally.ended.entry(reason).or_default() += count;
        }
    }
    tally
}

/// The traces that stand in files, the longest first.
fn written(plan: &Plan, module: &Module) -> Vec<Case> {
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
            Ok(own) => vec![serde_json::from_str(&own).expect("a configuration is JSON")],
            Err(_) => generator::configurations(),
        };
        for configuration in configurations {
            let full = adapt::staged(&text, &configuration, 1.0);
            let length = length(&full, module);
            let factor = length.div_duration_f64(LONGEST);
            if factor <= 1.0 || plan.full {
                cases.push((length, Case::written(&name, full)));
            }
            if factor > 1.0 {
                let name = format!("{name}, {factor:.1} times as fast");
                let (text, configuration) = adapt::staged(&text, &configuration, factor);
                let edge = on_edge(&text, &configuration, module);
                if !edge.is_empty() {
                    println!("{name}: left out, because {EDGE:?} decide: {}", edge.join(", "));
                }
                let text = adapt::without(&text, &edge);
                cases.push((LONGEST, Case::written(&name, (text, configuration))));
            }
        }
    }
    cases.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    cases.into_iter().map(|(_, case)| case).collect()
}

/// The exchanges that end otherwise if the machine is a little late, with its answers or with its limits.
fn on_edge(text: &str, configuration: &Value, module: &Module) -> Vec<String> {
    let outcomes = |text: &str| {
        let trace = Trace::parse("trace", text).unwrap_or_else(|error| panic!("{error}"));
        let seen = Simulated::of(&trace, configuration, module).seen;
        let outcome = |seen: Seen| (seen.status, seen.end, seen.attempts, seen.bytes);
        let outcomes = seen.into_iter().map(|(id, seen)| (id, outcome(seen)));
        outcomes.collect::<BTreeMap<_, _>>()
    };
    let late = outcomes(&adapt::answering(text, |after| after + EDGE));
    let early = outcomes(&adapt::answering(text, |after| after.saturating_sub(EDGE)));
    let on_edge = |(id, outcome): &(String, _)| {
        [&late, &early].iter().any(|other| other.get(id) != Some(outcome))
    };
    outcomes(text).into_iter().filter(on_edge).map(|(id, _)| id).collect()
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
    fn written(name: &str, (text, configuration): (String, Value)) -> Self {
        Self::Written { name: name.to_owned(), text, configuration }
    }

    /// Plays it, and says in what it differs; how many differences.
    fn play(&self, stage: &mut Stage<'_>) -> usize {
        match self {
            Self::Written { name, text, configuration } => {
                let differences = stage.differences(text, configuration);
                if !differences.is_empty() {
                    println!("{name} under {configuration}:\n{}", differences.join("\n"));
                }
                differences.len()
            }
            Self::Random { seed, number } => {
                let tree = generated(*seed, *number);
                let text = tree.current();
                let differences = stage.differences(&text, &generator::start());
                if !differences.is_empty() {
                    let name = format!("random trace {number} of seed {seed}");
                    println!("{name}:\n{text}{}", differences.join("\n"));
                    let smallest = smallest(tree, stage);
                    println!(
                        "{name} in small, to be kept in tests/traces/conformance:\n{smallest}"
                    );
                }
                differences.len()
            }
        }
    }
}

/// A random trace: a function of seed and number, whichever stage plays it.
fn generated(seed: u64, number: u32) -> impl ValueTree<Value = String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    generator::traces().new_tree(&mut runner).expect("a generated trace")
}

/// The smallest trace that still differs, with its differences.
fn smallest(mut tree: impl ValueTree<Value = String>, stage: &mut Stage<'_>) -> String {
    let mut smallest = "none that differs again".to_owned();
    for _ in 0..SHRINKS {
        let text = tree.current();
        let differences = stage.differences(&text, &generator::start());
        let goes_on = match differences.is_empty() {
            true => tree.complicate(),
            false => {
                smallest = format!("{text}{}", differences.join("\n"));
                tree.simplify()
            }
        };
        if !goes_on {
            break;
        }
    }
    smallest
}
