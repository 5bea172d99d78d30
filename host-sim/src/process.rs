//! What the virtual machines of one process share.
//!
//! Workers of a proxy run side by side and meet only here: in the shared data, the queues, the
//! metrics and the functions that the embedder offers. The clock is here as well, because it is the
//! same for all of them and moves only when the embedder says so.

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
use crate::limits::Limits;
use crate::profile::Profile;
use crate::stream::{PluginId, StreamId};

/// The clock, the shared data, the queues, the metrics and the foreign functions of one process.
/// Clones are the same process.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    profile: Profile,
    seed: u64,
    /// Nanoseconds since the epoch.
    now: AtomicU64,
    vms: AtomicU64,
    data: Mutex<SharedData>,
    queues: Mutex<Queues>,
    metrics: Mutex<Metrics>,
    upstreams: RwLock<Option<Vec<String>>>,
    functions: RwLock<BTreeMap<String, Arc<ForeignFunction>>>,
}

pub(crate) type ForeignFunction =
    dyn Fn(&ForeignCall, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync;

/// Which call of a foreign function this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignCall {
    /// The virtual machine, as [`Vm::id`](crate::Vm::id) gives it.
    pub vm: u64,
    /// The worker that it belongs to.
    pub worker: u32,
    /// The plugin context that calls, or to which the calling stream belongs.
    pub plugin: PluginId,
    /// The stream that calls; `None` for a plugin context.
    pub stream: Option<StreamId>,
}

const UNPOISONED: &str = "nothing panics while it holds a lock of the process";

impl Process {
    /// A process with default [`Limits`]. `seed` decides what `random_get` gives, and nothing else.
    pub fn new(profile: Profile, seed: u64) -> Process {
        Process::with_limits(profile, seed, &Limits::default())
    }

    /// A process whose shared data, queues and metrics are bounded by `limits`.
    pub fn with_limits(profile: Profile, seed: u64, limits: &Limits) -> Process {
        let rules = profile.rules();
        Process(Arc::new(Inner {
            profile,
            seed,
            now: AtomicU64::new(0),
            vms: AtomicU64::new(0),
            data: Mutex::new(SharedData::new(limits.shared_data_bytes, rules.cas_creates)),
            queues: Mutex::new(Queues::new(limits.queue_bytes)),
            metrics: Mutex::new(Metrics::new(limits, rules)),
            upstreams: RwLock::new(None),
            functions: RwLock::new(BTreeMap::new()),
        }))
    }

    /// The host that is imitated.
    pub fn profile(&self) -> Profile {
        self.0.profile
    }

    /// Sets the clock that guests see, as time since the Unix epoch. It starts at zero and moves
    /// only here.
    pub fn set_now(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.0.now.store(nanos, Ordering::Relaxed);
    }

    /// The clock that guests see.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now_nanos())
    }

    /// Declares which upstreams calls may name; `None`, as at the start, accepts every name.
    pub fn set_upstreams(&self, names: Option<Vec<String>>) {
        *self.0.upstreams.write().expect(UNPOISONED) = names;
    }

    /// Reads shared data as the guests with this `vm_id` see it: the value and its compare-and-swap
    /// number.
    pub fn shared_data(&self, vm_id: &str, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.data().find(vm_id, key).map(|(value, cas)| (value.to_vec(), cas))
    }

    /// Writes shared data as a guest with this `vm_id` would; `cas` 0 is unconditional.
    ///
    /// # Errors
    /// [`Status::CasMismatch`] if somebody else was faster, [`Status::InternalFailure`] if the
    /// process holds as much as its limits allow.
    pub fn set_shared_data(
        &self,
        vm_id: &str,
        key: &[u8],
        value: &[u8],
        cas: u32,
    ) -> Result<(), Status> {
        self.data().set(vm_id, key, value, cas)
    }

    /// All metrics in the order of their definition.
    pub fn metrics(&self) -> Vec<Metric> {
        self.metrics_mut().snapshot()
    }

    /// The value of the metric with this name, counters before gauges before histograms.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.metrics_mut();
        let found = metrics.iter().filter(|metric| metric.name == name);
        found.min_by_key(|metric| metric.kind).map(|metric| metric.value)
    }

    /// Offers a function to the guests. It runs inside the guest's callback and must not call the
    /// virtual machine; what it returns is copied into the guest.
    pub fn register_foreign_function(
        &self,
        name: &str,
        function: impl Fn(&ForeignCall, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
    ) {
        let mut functions = self.0.functions.write().expect(UNPOISONED);
        functions.insert(name.to_owned(), Arc::new(function));
    }

    /// Who must be told about queues since the last call, in order.
    pub fn take_queue_events(&self) -> Vec<QueueEvent> {
        self.queues().take_events()
    }

    pub(crate) fn now_nanos(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.0.seed
    }

    /// A number for a new virtual machine.
    pub(crate) fn next_vm(&self) -> u64 {
        self.0.vms.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn knows_upstream(&self, name: &str) -> bool {
        let upstreams = self.0.upstreams.read().expect(UNPOISONED);
        upstreams.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
    }

    pub(crate) fn foreign_function(&self, name: &[u8]) -> Option<Arc<ForeignFunction>> {
        let name = std::str::from_utf8(name).ok()?;
        self.0.functions.read().expect(UNPOISONED).get(name).cloned()
    }

    pub(crate) fn data(&self) -> MutexGuard<'_, SharedData> {
        self.0.data.lock().expect(UNPOISONED)
    }

    pub(crate) fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().expect(UNPOISONED)
    }

    pub(crate) fn metrics_mut(&self) -> MutexGuard<'_, Metrics> {
        self.0.metrics.lock().expect(UNPOISONED)
    }
}
