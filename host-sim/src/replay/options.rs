//! The options of a replay.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::process::START_TIME;
use crate::proxy::Setup;
use crate::setters::setters;
use crate::{FailurePolicy, Limits, LogLevel, Profile, Properties};

use super::interrupt::Interrupt;

/// How a trace is replayed.
///
/// ```
/// use sluice_sim::replay::Options;
/// use sluice_sim::Profile;
///
/// let options = Options::new(Profile::Envoy).with_seed(7).with_configuration(r#"{"version":1}"#);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// The host to simulate.
    pub profile: Profile,
    /// The number of workers, each with its own VM. The default is 1.
    pub workers: NonZeroU32,
    /// Decides what the trace leaves open: the worker of a connection, the time of a worker's first
    /// tick within its period, the pauses between attempts, and random numbers for the filter.
    pub seed: u64,
    /// The proxy, the plugin and the clusters. They are added to those that the trace describes, and
    /// replace them where both have a value.
    pub setup: Setup,
    /// The time of the proxy's clock at the start of the trace, since the Unix epoch, if no setup
    /// has one. The default is [`START_TIME`].
    pub start_time: Duration,
    /// The plugin configuration in force before the first event. Without one, the plugin starts
    /// with the first `configure` event, or with an empty configuration if the trace has none.
    pub configuration: Option<Vec<u8>>,
    /// The property `plugin_name`, if no setup has one.
    pub plugin_name: String,
    /// The `vm_id` of the VMs, which selects their shared data, if no setup has one.
    pub vm_id: String,
    /// The plugin's option of the same name: the module receives body callbacks while its headers
    /// callback has returned `Pause`. A setup can also set it.
    pub allow_on_headers_stop_iteration: bool,
    /// What happens after the module crashed, if no setup has a policy.
    pub failure_policy: FailurePolicy,
    /// With [`FailurePolicy::FailReload`], the minimum time between the start of a VM and that of
    /// its successor. Envoy calls it `reload_config.backoff.base_interval`, and adds a random time
    /// of up to a half. The default is Envoy's, one second. A setup can also set it.
    pub reload_backoff: Duration,
    /// Properties of the plugin, such as `xds.node.id`; those of a setup are added.
    pub properties: Properties,
    /// The report has no log lines below this level.
    pub log_level: LogLevel,
    /// The drain bridge of the proxy, for hosts that do not close a connection because of a
    /// `connection` header.
    pub drain_bridge: Option<DrainBridge>,
    /// The name of the foreign function through which the filter reports its decisions.
    pub decision_function: Option<String>,
    /// Whether to hash all response bodies, instead of only those with an expected hash.
    pub hash_bodies: bool,
    /// Whether to report the calls of the filter to clusters.
    pub record_calls: bool,
    /// The resources that the module may use.
    pub limits: Limits,
    /// The instructions that all callbacks of the replay may execute together. A replay that
    /// exceeds it ends, and fails. Without a number, it is [`BASE_INSTRUCTIONS`], and
    /// [`EVENT_INSTRUCTIONS`] more for each event of the trace.
    pub max_instructions: Option<u64>,
    /// Ends the replay from outside.
    pub interrupt: Interrupt,
}

/// See [`Options::max_instructions`]. A processor takes about half a minute for them.
pub const BASE_INSTRUCTIONS: u64 = 30_000_000_000;

/// See [`Options::max_instructions`].
pub const EVENT_INSTRUCTIONS: u64 = 10_000_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::default(),
            workers: NonZeroU32::MIN,
            seed: 0,
            setup: Setup::default(),
            start_time: START_TIME,
            configuration: None,
            plugin_name: "plugin".to_owned(),
            vm_id: String::new(),
            allow_on_headers_stop_iteration: false,
            failure_policy: FailurePolicy::default(),
            reload_backoff: Duration::from_secs(1),
            properties: Properties::new(),
            log_level: LogLevel::Info,
            drain_bridge: None,
            decision_function: None,
            hash_bodies: false,
            record_calls: false,
            limits: Limits::default(),
            max_instructions: None,
            interrupt: Interrupt::default(),
        }
    }
}

setters!(Options {
    with_workers(workers: NonZeroU32),
    with_seed(seed: u64),
    with_setup(setup: Setup),
    with_start_time(start_time: Duration),
    with_plugin_name(plugin_name: impl Into<String>),
    with_vm_id(vm_id: impl Into<String>),
    with_allow_on_headers_stop_iteration(allow_on_headers_stop_iteration: bool),
    with_failure_policy(failure_policy: FailurePolicy),
    with_reload_backoff(reload_backoff: Duration),
    with_properties(properties: Properties),
    with_log_level(log_level: LogLevel),
    with_hash_bodies(hash_bodies: bool),
    with_record_calls(record_calls: bool),
    with_limits(limits: Limits),
    with_max_instructions(max_instructions: impl Into<Option<u64>>),
    with_interrupt(interrupt: Interrupt),
});

impl Options {
    pub fn new(profile: Profile) -> Self {
        Self { profile, ..Self::default() }
    }

    /// Sets [`configuration`](Self::configuration).
    #[must_use]
    pub fn with_configuration(self, configuration: impl Into<Vec<u8>>) -> Self {
        Self { configuration: Some(configuration.into()), ..self }
    }

    /// Sets [`drain_bridge`](Self::drain_bridge) to a bridge that reads the marker `header: value`.
    #[must_use]
    pub fn with_drain_bridge(self, header: impl Into<String>, value: impl Into<String>) -> Self {
        let bridge = DrainBridge { header: header.into(), value: value.into() };
        Self { drain_bridge: Some(bridge), ..self }
    }

    /// Sets [`decision_function`](Self::decision_function).
    #[must_use]
    pub fn with_decision_function(self, name: impl Into<String>) -> Self {
        Self { decision_function: Some(name.into()), ..self }
    }
}

/// The drain bridge: it removes the drain marker, a response header, and closes the client's
/// connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainBridge {
    /// The name of the drain marker.
    pub header: String,
    /// The value that closes the connection.
    pub value: String,
}

/// The progress of a replay.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress {
    /// The number of events that have happened.
    pub done: u64,
    /// The virtual time.
    pub now: Duration,
}
