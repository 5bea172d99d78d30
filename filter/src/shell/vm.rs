//! What outlives a configuration: the VM's knowledge of drains, its counters, and what it found out about its host.

use std::cell::RefCell;

use proxy_wasm::types::LogLevel;

use super::host;
use crate::config::spec::DrainStateSpec;
use crate::decision;
use crate::drain::{Look, RECORD_KEY, Record, WATERMARK_KEY, Worker};
use crate::metrics::{General, Kind, Metrics, Sink};

/// How often a write to shared data is repeated when others write too; the next tick tries again anyway.
const ATTEMPTS: usize = 16;

#[derive(Default)]
pub(super) struct Vm {
    pub(super) worker: Worker,
    pub(super) metrics: Metrics,
    /// What the host is, found out at the first configuration.
    host: Option<Host>,
    bridge_reported: bool,
}

/// What the filter needs to know about its host.
#[derive(Clone, Copy)]
pub(super) struct Host {
    /// It is Envoy: connections close through the drain bridge.
    pub(super) is_envoy: bool,
    /// It wants to be told each decision.
    pub(super) asks_decisions: bool,
}

thread_local! {
    static VM: RefCell<Vm> = RefCell::default();
}

/// The VM runs one callback at a time, and no host call that the filter makes calls back into it but for memory.
pub(super) fn with<T>(act: impl FnOnce(&mut Vm) -> T) -> T {
    VM.with_borrow_mut(act)
}

impl Vm {
    pub(super) fn host(&mut self) -> Host {
        *self.host.get_or_insert_with(|| Host {
            is_envoy: host::property(&["xds", "node", "user_agent_name"])
                .is_some_and(|name| name == b"envoy"),
            asks_decisions: host::tell(decision::FUNCTION, b""),
        })
    }

    /// Looks at the drain record, learns from it or corrects it, and puts in the drain that a configuration asks for.
    pub(super) fn look(&mut self, state: Option<&DrainStateSpec>) {
        let Some(now) = host::now_ms() else { return };
        let mut wanted = state.map(|state| Record::requested(state, now));
        for _ in 0..ATTEMPTS {
            let (value, cas) = host::shared(RECORD_KEY);
            let look = self.worker.look(value.as_deref(), now);
            self.report(&look);
            let proposed =
                wanted.take().map(|wanted| self.worker.propose(wanted)).unwrap_or_default();
            self.report(&proposed);
            let Some(write) = proposed.write.or(look.write) else { break };
            if host::set_shared(RECORD_KEY, &write, cas).is_ok() {
                break;
            }
        }
        if self.worker.begins_exchange() {
            self.exchange_watermark();
        }
    }

    fn exchange_watermark(&mut self) {
        for _ in 0..ATTEMPTS {
            let (value, cas) = host::shared(WATERMARK_KEY);
            let Some(write) = self.worker.exchange_watermark(value.as_deref()) else { break };
            if host::set_shared(WATERMARK_KEY, &write, cas).is_ok() {
                break;
            }
        }
    }

    fn report(&mut self, look: &Look) {
        if look.stale {
            self.metrics.add(General::DrainStale, 1);
        }
        if let Some(error) = &look.error {
            host::log(LogLevel::Warn, &error.to_string());
        }
        if let (true, Some(record)) = (look.learned, self.worker.record()) {
            if let Some(id) = self.metrics.id(General::DrainEpoch, &mut HostMetrics) {
                host::set_metric(id, record.epoch);
            }
            host::log(LogLevel::Info, &format!("drain {}", record.to_json()));
        }
    }

    /// A stream that carried the closing marker ended with the marker still on it.
    pub(super) fn bridge_is_missing(&mut self) {
        self.metrics.add(General::BridgeMissing, 1);
        if !std::mem::replace(&mut self.bridge_reported, true) {
            let message = "nothing took x-sluice-drain off a response, so the connection stays open: \
                           put the drain bridge before this filter, or set drain.signal to header";
            host::log(LogLevel::Error, message);
        }
    }

    pub(super) fn flush(&mut self) {
        self.metrics.flush(&mut HostMetrics);
    }

    /// The process's requests in flight, this VM's latest included.
    pub(super) fn in_flight(&mut self) -> u64 {
        self.flush();
        self.metrics.id(General::InFlight, &mut HostMetrics).and_then(host::metric).unwrap_or(0)
    }
}

struct HostMetrics;

impl Sink for HostMetrics {
    fn define(&mut self, kind: Kind, name: &str) -> Option<u32> {
        host::define_metric(kind, name)
    }

    fn add(&mut self, id: u32, change: i64) {
        host::add_to_metric(id, change);
    }
}
