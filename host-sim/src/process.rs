//! What the virtual machines of one process share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::abi::{MetricKind, Status};
use crate::limits::Limits;
use crate::profile::Profile;
use crate::stream::{PluginId, QueueId, StreamId};

/// The clock, the shared data, the queues, the metrics and the foreign functions of one process.
/// Clones are the same process.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    profile: Profile,
    now: Mutex<Duration>,
}

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

/// One metric of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// What it counts.
    pub kind: MetricKind,
    /// Its name, as the guest defined it.
    pub name: String,
    /// A counter's or gauge's value, or the sum of what a histogram recorded.
    pub value: u64,
    /// How many values a histogram recorded; 0 for the others.
    pub recorded: u64,
}

/// Somebody must be told that a queue has an item: call
/// [`queue_ready`](crate::Vm::queue_ready) of that virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEvent {
    /// The virtual machine, as [`Vm::id`](crate::Vm::id) gives it.
    pub vm: u64,
    /// Its plugin context that registered the queue last.
    pub plugin: PluginId,
    /// The queue.
    pub queue: QueueId,
}

impl Process {
    /// A process with default [`Limits`]. `seed` decides what `random_get` gives, and nothing else.
    pub fn new(profile: Profile, seed: u64) -> Process {
        Process::with_limits(profile, seed, &Limits::default())
    }

    /// A process whose shared data, queues and metrics are bounded by `limits`.
    pub fn with_limits(profile: Profile, seed: u64, limits: &Limits) -> Process {
        let _ = (seed, limits);
        Process(Arc::new(Inner { profile, now: Mutex::new(Duration::ZERO) }))
    }

    /// The host that is imitated.
    pub fn profile(&self) -> Profile {
        self.0.profile
    }

    /// Sets the clock that guests see, as time since the Unix epoch. It starts at zero and moves
    /// only here.
    pub fn set_now(&self, now: Duration) {
        *self.0.now.lock().expect("nothing panics while it holds the clock") = now;
    }

    /// The clock that guests see.
    pub fn now(&self) -> Duration {
        *self.0.now.lock().expect("nothing panics while it holds the clock")
    }

    /// Declares which upstreams calls may name; `None`, as at the start, accepts every name.
    pub fn set_upstreams(&self, names: Option<Vec<String>>) {
        let _ = names;
    }

    /// Reads shared data as the guests with this `vm_id` see it: the value and its compare-and-swap
    /// number.
    pub fn shared_data(&self, vm_id: &str, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        let _ = (vm_id, key);
        None
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
        let _ = (vm_id, key, value, cas);
        Ok(())
    }

    /// All metrics in the order of their definition.
    pub fn metrics(&self) -> Vec<Metric> {
        Vec::new()
    }

    /// The value of the metric with this name, counters before gauges before histograms.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let _ = name;
        None
    }

    /// Offers a function to the guests. It runs inside the guest's callback and must not call the
    /// virtual machine; what it returns is copied into the guest.
    pub fn register_foreign_function(
        &self,
        name: &str,
        function: impl Fn(&ForeignCall, &[u8]) -> Result<Vec<u8>, Status> + Send + Sync + 'static,
    ) {
        let _ = (name, function);
    }

    /// Who must be told about queues since the last call, in order.
    pub fn take_queue_events(&self) -> Vec<QueueEvent> {
        Vec::new()
    }
}
