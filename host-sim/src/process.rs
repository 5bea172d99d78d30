//! The state that all VMs of a proxy process share: shared data, queues, metrics, foreign functions
//! and the clock.
//!
//! The workers of a proxy run in parallel and share only this state. The embedder sets the clock;
//! it does not advance by itself.

mod metrics;
mod queues;
mod shared_data;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

pub use self::metrics::Metric;
pub(crate) use self::metrics::Metrics;
pub use self::queues::QueueEvent;
pub(crate) use self::queues::Queues;
pub(crate) use self::shared_data::SharedData;
use crate::abi::Status;
use crate::ids::{PluginId, StreamId};
use crate::limits::Limits;
use crate::profile::Profile;

/// The time at which the clock of a process starts, since the Unix epoch: midnight of 1 January
/// 2026, UTC. No clock of a real proxy is zero, and some guests do not start if one is.
pub const START_TIME: Duration = Duration::from_secs(1_767_225_600);

/// The shared state of one proxy process. Clones refer to the same process.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    profile: Profile,
    seed: u64,
    /// Nanoseconds since the epoch.
    now: AtomicU64,
    vms: AtomicU64,
    instructions: AtomicU64,
    max_instructions: AtomicU64,
    data: Mutex<SharedData>,
    queues: Mutex<Queues>,
    metrics: Mutex<Metrics>,
    upstreams: RwLock<Option<Vec<String>>>,
    functions: RwLock<BTreeMap<String, Arc<ForeignFunction>>>,
}

pub(crate) type ForeignFunction =
    dyn Fn(&ForeignCall, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync;

/// The caller of a foreign function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignCall {
    /// The id of the VM; see [`Vm::id`](crate::Vm::id).
    pub vm: u64,
    /// The worker of the VM.
    pub worker: u32,
    /// The calling plugin, or the plugin of the calling stream.
    pub plugin: PluginId,
    /// The calling stream; `None` if a plugin context calls.
    pub stream: Option<StreamId>,
}

/// The instructions that a callback counts as at least, because it takes about as long as this many.
const CALLBACK_FUEL: u64 = 500;

const UNPOISONED: &str = "no code panics while it holds a lock of the process";

impl Process {
    /// Creates a process with default [`Limits`]. `seed` determines the output of `random_get`
    /// only.
    pub fn new(profile: Profile, seed: u64) -> Process {
        Process::with_limits(profile, seed, &Limits::default())
    }

    /// Creates a process. `limits` apply to shared data, queues and metrics.
    pub fn with_limits(profile: Profile, seed: u64, limits: &Limits) -> Process {
        let rules = profile.rules();
        Process(Arc::new(Inner {
            profile,
            seed,
            now: AtomicU64::new(START_TIME.as_nanos() as u64),
            vms: AtomicU64::new(0),
            instructions: AtomicU64::new(0),
            max_instructions: AtomicU64::new(u64::MAX),
            data: Mutex::new(SharedData::new(limits.shared_data_bytes, rules.cas_creates)),
            queues: Mutex::new(Queues::new(limits.queue_bytes)),
            metrics: Mutex::new(Metrics::new(limits, rules)),
            upstreams: RwLock::new(None),
            functions: RwLock::new(BTreeMap::new()),
        }))
    }

    /// The simulated host.
    pub fn profile(&self) -> Profile {
        self.0.profile
    }

    /// Sets the clock of the guests, as time since the Unix epoch. The clock starts at
    /// [`START_TIME`].
    pub fn set_now(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.0.now.store(nanos, Ordering::Relaxed);
    }

    /// The clock of the guests, as time since the Unix epoch.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now_nanos())
    }

    /// Sets the number of instructions that all VMs of the process may execute together; the default
    /// is `u64::MAX`. The callback that exceeds it traps, and so does every later one. A callback
    /// counts as at least 500 instructions. VMs with
    /// [`Limits::callback_deadline`](crate::Limits::callback_deadline) do not count instructions.
    pub fn set_max_instructions(&self, instructions: u64) {
        self.0.max_instructions.store(instructions, Ordering::Relaxed);
    }

    /// The number of instructions that all VMs of the process have executed. A host call and a
    /// callback count as several instructions.
    pub fn instructions(&self) -> u64 {
        self.0.instructions.load(Ordering::Relaxed)
    }

    /// Whether no instruction is left; see [`set_max_instructions`](Self::set_max_instructions).
    pub fn is_exhausted(&self) -> bool {
        self.instructions_left() == 0
    }

    pub(crate) fn instructions_left(&self) -> u64 {
        let max = self.0.max_instructions.load(Ordering::Relaxed);
        max.saturating_sub(self.instructions())
    }

    /// Counts the instructions of a callback.
    pub(crate) fn count_instructions(&self, instructions: u64) {
        self.0.instructions.fetch_add(instructions.max(CALLBACK_FUEL), Ordering::Relaxed);
    }

    /// Declares the upstreams that guests can call. With `None`, the default, every name is
    /// accepted.
    pub fn set_upstreams(&self, names: Option<Vec<String>>) {
        *self.0.upstreams.write().expect(UNPOISONED) = names;
    }

    /// Reads the shared data of VMs with this `vm_id`. Returns the value and its CAS number.
    pub fn shared_data(&self, vm_id: &str, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.shared_data_mut().find(vm_id, key).map(|(value, cas)| (value.to_vec(), cas))
    }

    /// Writes the shared data of VMs with this `vm_id`. With `cas` 0 the write is unconditional.
    ///
    /// # Errors
    /// [`Status::CasMismatch`] if the value has another CAS number, [`Status::InternalFailure`] if
    /// the value would exceed [`Limits::shared_data_bytes`].
    pub fn set_shared_data(
        &self,
        vm_id: &str,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), Status> {
        self.shared_data_mut().set(vm_id, key, value, cas)
    }

    /// All metrics, in order of definition.
    pub fn metrics(&self) -> Vec<Metric> {
        self.metrics_mut().snapshot()
    }

    /// The value of the metric with this name. If several kinds share the name, a counter takes
    /// precedence over a gauge, and a gauge over a histogram.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.metrics_mut();
        let found = metrics.iter().filter(|metric| metric.name == name);
        found.min_by_key(|metric| metric.kind).map(|metric| metric.value)
    }

    /// Registers a function that guests can call with `proxy_call_foreign_function`. The result is
    /// copied into the guest. The function runs inside a callback, so it must not use the VM.
    pub fn register_foreign_function(
        &self,
        name: &str,
        function: impl Fn(&ForeignCall, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
    ) {
        let mut functions = self.0.functions.write().expect(UNPOISONED);
        functions.insert(name.to_owned(), Arc::new(function));
    }

    /// Removes and returns the queue notifications since the last call, in order.
    pub fn take_queue_events(&self) -> Vec<QueueEvent> {
        self.queues_mut().take_events()
    }

    pub(crate) fn now_nanos(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.0.seed
    }

    pub(crate) fn next_vm_id(&self) -> u64 {
        self.0.vms.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn has_upstream(&self, name: &str) -> bool {
        let upstreams = self.0.upstreams.read().expect(UNPOISONED);
        upstreams.as_ref().is_none_or(|names| names.iter().any(|declared| declared == name))
    }

    pub(crate) fn foreign_function(&self, name: &[u8]) -> Option<Arc<ForeignFunction>> {
        let name = std::str::from_utf8(name).ok()?;
        self.0.functions.read().expect(UNPOISONED).get(name).cloned()
    }

    pub(crate) fn shared_data_mut(&self) -> MutexGuard<'_, SharedData> {
        self.0.data.lock().expect(UNPOISONED)
    }

    pub(crate) fn queues_mut(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().expect(UNPOISONED)
    }

    pub(crate) fn metrics_mut(&self) -> MutexGuard<'_, Metrics> {
        self.0.metrics.lock().expect(UNPOISONED)
    }
}
