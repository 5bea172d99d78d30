//! What outlives a configuration: the VM's knowledge of drains, its counters, and what it found out about its host.

use std::cell::RefCell;

use proxy_wasm::types::LogLevel;

use super::admin::Waiting;
use super::host;
use super::stores::Stores;
use crate::admin::Ended;
use crate::config::DrainStateSpec;
use crate::decision;
use crate::drain::poller::{Due, Heard};
use crate::drain::store::{self, StoreError};
use crate::drain::{Command, Look, Poller, RECORD_KEY, Record, Standing, WATERMARK_KEY, Worker};
use crate::members::{MEMBERS_KEY, Membership, Moment, Report};
use crate::metrics::{General, Kind, Metrics, Sink};
use crate::rules::{ControlStore, Rules};
use crate::state::State;

/// How often a write to shared data is repeated when others write too; the next tick tries again anyway.
const ATTEMPTS: usize = 16;

#[derive(Default)]
pub(super) struct Vm {
    pub(super) worker: Worker,
    pub(super) metrics: Metrics,
    pub(super) stores: Stores,
    /// Requests of this VM in flight.
    pub(super) in_flight: u64,
    pub(super) waiting: Waiting,
    pub(super) poller: Poller,
    membership: Membership,
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

    /// Looks at the drain record, and learns from it or corrects it.
    pub(super) fn look(&mut self, config: &Rules) {
        let Some(now) = host::now_ms() else { return };
        for _ in 0..ATTEMPTS {
            if self.look_once(config, now).is_ok() {
                break;
            }
        }
        self.exchange_watermark();
    }

    fn look_once(&mut self, config: &Rules, now: u64) -> Result<Seen, host::Outdated> {
        let (value, cas) = host::shared(RECORD_KEY);
        let look = self.worker.look(value.as_deref(), now);
        self.report(&look, config);
        match &look.write {
            Some(write) => host::set_shared(RECORD_KEY, write, cas).map(|()| Seen::Corrected),
            None => Ok(Seen::Known(cas)),
        }
    }

    /// Puts a drain in force that somebody asks for, if it is higher than the one that is, and says how it stands.
    pub(super) fn command(&mut self, command: &Command, config: &Rules) -> Ended {
        let now = host::now_ms().unwrap_or(0);
        for _ in 0..ATTEMPTS {
            let Ok(Seen::Known(cas)) = self.look_once(config, now) else { continue };
            let known = self.worker.record().map_or(0, |record| record.epoch);
            let Some(wanted) = command.record(known, now) else { return Ended::NoEpochLeft };
            match self.worker.judge(&wanted) {
                Standing::Higher => {}
                Standing::Known => return Ended::InForce,
                refused => return Ended::Refused(refused, wanted.epoch),
            }
            if host::set_shared(RECORD_KEY, &wanted.to_json(), cas).is_ok() {
                let look = self.worker.wrote(wanted);
                self.report(&look, config);
                self.exchange_watermark();
                return Ended::InForce;
            }
        }
        Ended::Busy
    }

    /// Puts the drain in force that a configuration asks for. The same epoch again changes nothing: a configuration stays when its drain is over.
    pub(super) fn configured(&mut self, state: &DrainStateSpec, config: &Rules) {
        if let Ended::Refused(standing, epoch) = self.command(&Command::configured(state), config) {
            self.metrics.add(General::DrainStale, 1);
            if standing == Standing::Taken {
                let message = format!(
                    "drain.state: epoch {epoch} is in force with another meaning, which stays; raise the epoch"
                );
                host::log(LogLevel::Warn, &message);
            }
        }
    }

    fn exchange_watermark(&mut self) {
        if !self.worker.begins_exchange() {
            return;
        }
        for _ in 0..ATTEMPTS {
            let (value, cas) = host::shared(WATERMARK_KEY);
            let Some(write) = self.worker.exchange_watermark(value.as_deref()) else { break };
            if host::set_shared(WATERMARK_KEY, &write, cas).is_ok() {
                break;
            }
        }
    }

    fn report(&mut self, look: &Look, config: &Rules) {
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
            if let Some(name) = config.unknown_route(record.routes.as_deref()) {
                let message = format!(
                    "drain epoch {}: this configuration has no route {name}, so it closes nothing there",
                    record.epoch
                );
                host::log(LogLevel::Warn, &message);
            }
        }
    }

    /// Reports this VM to the others and counts what is in flight in all of them; says whether it is the one that asks the store.
    pub(super) fn attend(&mut self, tick_ms: u64) -> Attendance {
        let report = Report { in_flight: self.in_flight, polls: self.stores.are_there() };
        let mut attendance = Attendance { in_flight: self.in_flight, leads: false };
        let Some(now_ns) = host::now_ns() else { return attendance };
        for _ in 0..ATTEMPTS {
            let (value, cas) = host::shared(MEMBERS_KEY);
            let at = Moment { now_ns, tick_ms };
            let reported = self.membership.report(value.as_deref(), report, at);
            attendance = Attendance { in_flight: reported.in_flight, leads: reported.leads };
            let written = reported.write.map(|write| host::set_shared(MEMBERS_KEY, &write, cas));
            if let None | Some(Ok(())) = written {
                break;
            }
        }
        if let Some(id) = self.metrics.id(General::InFlight, &mut HostMetrics) {
            host::set_metric(id, attendance.in_flight);
        }
        attendance
    }

    /// Asks the store if that is due. The answer comes to [`heard`](Self::heard).
    pub(super) fn poll(&mut self, control: &ControlStore, config: &Rules) {
        let Some(now) = host::now_ms() else { return };
        let error = match self.poller.is_due(control, now) {
            Due::No => return,
            Due::Now if host::call(control, &store::ask(control)) => return,
            Due::Now => StoreError::NoCall,
            Due::Overdue => StoreError::Silent,
        };
        self.heard(Err(error), control, config);
    }

    /// What the store says.
    pub(super) fn heard(
        &mut self,
        answer: Result<Option<Command>, StoreError>,
        control: &ControlStore,
        config: &Rules,
    ) {
        let heard = match answer {
            Err(error) => Heard::Failed(error),
            Ok(None) => Heard::NoKey,
            Ok(Some(command)) => {
                let epoch = command.epoch.map_or(0, |epoch| epoch.value());
                match self.command(&command, config) {
                    Ended::Refused(standing, epoch) => Heard::Drain(standing, epoch),
                    // What could not be written now is tried again with the next answer.
                    _ => Heard::Drain(Standing::Known, epoch),
                }
            }
        };
        let failed = matches!(heard, Heard::Failed(_));
        let metric = if failed { General::ControlFailed } else { General::ControlAnswered };
        self.metrics.add(metric, 1);
        let Some(news) = self.poller.heard(control, &heard, self.membership.id()) else { return };
        if news.is_stale {
            self.metrics.add(General::DrainStale, 1);
        }
        host::log(if news.is_well { LogLevel::Info } else { LogLevel::Warn }, &news.line);
    }

    /// What this process tells about its drain, and how many responses have closed their connection for one.
    pub(super) fn state<T>(
        &mut self,
        instance: &str,
        tick_ms: u64,
        tell: impl FnOnce(&State<'_>, u64) -> T,
    ) -> T {
        let in_flight = self.attend(tick_ms).in_flight;
        self.flush();
        let closed = self.metrics.id(General::DrainClosed, &mut HostMetrics).and_then(host::metric);
        let now_ms = host::now_ms().unwrap_or(0);
        let record: Option<&Record> = self.worker.record();
        tell(&State { record, instance, in_flight, now_ms }, closed.unwrap_or(0))
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
}

/// What one look at the drain record found.
enum Seen {
    /// What is known, under this number for a write.
    Known(Option<u32>),
    /// Something lower, which was corrected.
    Corrected,
}

/// This VM among the others.
pub(super) struct Attendance {
    /// Requests in flight in the whole process.
    in_flight: u64,
    /// It is the one that asks the control store.
    pub(super) leads: bool,
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
