//! The state that the VMs of a process share. A VM reads the drain record from shared data, merges
//! it, applies it and reports it. The VMs also share the watermark, the in-flight requests, the
//! leader and the polls of the control store.

use super::Vm;
use crate::config::DrainStateSpec;
use crate::drain::poller::Due;
use crate::drain::store::{self, StoreError};
use crate::drain::{
    CONNECTIONS_KEY, Command, CommandOutcome, EpochOrdering, KeyState, Merge, RECORD_KEY, Record,
    WATERMARK_KEY,
};
use crate::host::{Call, Host, LogLevel, SharedValue, now_ms};
use crate::members::{MEMBERS_KEY, Report, ReportTime};
use crate::metrics::{General, Metrics};
use crate::rules::{ControlStore, Rules};
use crate::shared_data::{self, ATTEMPTS, Update};
use crate::state::State;
use crate::waiting::{self, WAITING_KEY, WaitingRow};

/// A drain whose start is at least this far in the future is logged as a probable mistake, in
/// milliseconds.
const LATE_START_MS: u64 = 60_000;

impl Vm {
    /// Merges the shared drain record, and overwrites it if it is behind.
    pub(crate) fn refresh_drain(&mut self, host: &mut impl Host, rules: &Rules) {
        let Some(now) = now_ms(host) else { return };
        shared_data::update(host, RECORD_KEY, |host, shared| {
            let merge = self.drain.merge(shared, now);
            self.report_merge(host, &merge, rules, now);
            merge.write
        });
        if self.drain.has_unpublished_connection() {
            self.exchange_connections(host);
        }
        self.exchange_watermark(host);
    }

    /// A request arrived on this connection.
    pub(crate) fn observe_connection(&mut self, host: &mut impl Host, connection: u64) {
        if self.drain.observe_connection(connection) {
            self.exchange_connections(host);
        }
    }

    fn exchange_connections(&mut self, host: &mut impl Host) {
        let update = shared_data::update(host, CONNECTIONS_KEY, |_, shared| {
            self.drain.exchange_connections(shared)
        });
        if update == Update::Busy {
            self.drain.keep_connection_unpublished();
        }
    }

    /// Applies a command: its drain is in force afterwards if its epoch is the highest.
    pub(crate) fn apply_command(
        &mut self,
        host: &mut impl Host,
        command: &Command,
        rules: &Rules,
    ) -> CommandOutcome {
        let outcome = self.write_command(host, command, rules);
        // The command itself or another VM may have raised the epoch.
        self.exchange_watermark(host);
        outcome
    }

    fn write_command(
        &mut self,
        host: &mut impl Host,
        command: &Command,
        rules: &Rules,
    ) -> CommandOutcome {
        let now = now_ms(host).unwrap_or(0);
        for _ in 0..ATTEMPTS {
            let SharedValue { value, cas } = shared_data::read(host, RECORD_KEY);
            let merge = self.drain.merge(value.as_deref(), now);
            self.report_merge(host, &merge, rules, now);
            if let Some(write) = merge.write {
                // Whether or not this write succeeds, the value has changed: read it again.
                let _ = shared_data::write(host, RECORD_KEY, &write, cas);
                continue;
            }
            let wanted = match Record::from_command(command, self.drain.epoch(), now) {
                Ok(wanted) => wanted,
                Err(error) => return CommandOutcome::TooHigh(error),
            };
            match self.drain.compare(&wanted) {
                EpochOrdering::Higher => {}
                EpochOrdering::Same => return CommandOutcome::InForce,
                EpochOrdering::Conflicting => return CommandOutcome::Conflicting(wanted.epoch),
                EpochOrdering::Lower => return CommandOutcome::Lower(wanted.epoch),
            }
            if shared_data::write(host, RECORD_KEY, &wanted.to_json(), cas).is_ok() {
                let merge = self.drain.record_written(wanted);
                self.report_merge(host, &merge, rules, now);
                return CommandOutcome::InForce;
            }
        }
        CommandOutcome::Busy
    }

    /// Applies the drain of a plugin configuration. The same epoch again changes nothing, because a
    /// configuration stays in place after its drain.
    pub(crate) fn apply_configured(
        &mut self,
        host: &mut impl Host,
        state: &DrainStateSpec,
        rules: &Rules,
    ) {
        let message = match self.apply_command(host, &Command::configured(state), rules) {
            CommandOutcome::InForce | CommandOutcome::UnknownRoute(_) | CommandOutcome::Busy => {
                return;
            }
            CommandOutcome::Lower(_) => None,
            CommandOutcome::Conflicting(epoch) => Some(format!(
                "drain.state: epoch {epoch} is in force with other settings, which stay in force; raise the epoch"
            )),
            CommandOutcome::TooHigh(error) => Some(format!("drain.state is ignored: {error}")),
        };
        self.metrics.add(General::DrainStale, 1);
        if let Some(message) = message {
            host.log(LogLevel::Warn, &message);
        }
    }

    fn exchange_watermark(&mut self, host: &mut impl Host) {
        if self.drain.needs_watermark() {
            self.exchange_connections(host);
            shared_data::update(host, WATERMARK_KEY, |_, shared| {
                self.drain.exchange_watermark(shared)
            });
        }
    }

    fn report_merge(&mut self, host: &mut impl Host, merge: &Merge, rules: &Rules, now_ms: u64) {
        if merge.ignored {
            self.metrics.add(General::DrainStale, 1);
        }
        if let Some(error) = &merge.error {
            host.log(LogLevel::Warn, &error.to_string());
        }
        if let (true, Some(record)) = (merge.learned, self.drain.record()) {
            self.metrics.set(General::DrainEpoch, record.epoch, host);
            host.log(LogLevel::Info, &format!("drain {}", record.to_json()));
            if let Some(message) = late_start(record, now_ms) {
                host.log(LogLevel::Warn, &message);
            }
            if let Some(name) = rules.unknown_route(record.routes.as_deref()) {
                let message = format!(
                    "drain epoch {}: this configuration has no route {name}, so the drain closes no connection \
                     on it",
                    record.epoch
                );
                host.log(LogLevel::Warn, &message);
            }
        }
    }

    /// Reports this VM to the others and elects the leader. Returns the number of in-flight
    /// requests of the process.
    pub(crate) fn heartbeat(&mut self, host: &mut impl Host, tick_ms: u64) -> u64 {
        let report = Report { in_flight: self.in_flight, can_poll: !self.store_plugins.is_empty() };
        let Ok(now_ns) = host.now_ns() else { return self.in_flight };
        let mut in_flight = self.in_flight;
        let update = shared_data::update(host, MEMBERS_KEY, |_, shared| {
            let reported = self.membership.report(shared, report, ReportTime { now_ns, tick_ms });
            in_flight = reported.in_flight;
            reported.write
        });
        if update == Update::Written {
            self.membership.confirm_write();
        }
        self.metrics.set(General::InFlight, in_flight, host);
        self.report_waiting(host, now_ns / 1_000_000);
        in_flight
    }

    /// Reports the streams that a drain waits for, if that has changed.
    fn report_waiting(&mut self, host: &mut impl Host, now_ms: u64) {
        let (drain, metrics, id) = (&self.drain, &self.metrics, self.membership.id());
        let rows = match drain.active() {
            None => Vec::new(),
            Some(_) => self.open_streams.rows(
                |stream| {
                    let due = drain.due_ms(stream.connection, Some(metrics.route(stream.slot)));
                    due.is_some_and(|due| due <= now_ms)
                },
                |slot| metrics.route(slot),
            ),
        };
        if id == 0 || !self.waiting.is_outdated(&rows, now_ms) {
            return;
        }
        let update = shared_data::update(host, WAITING_KEY, |_, shared| {
            Some(waiting::merge(shared, id, &rows, now_ms))
        });
        if update == Update::Written {
            self.waiting.set(rows, now_ms);
        }
    }

    /// The streams of the process that the drain in force waits for.
    fn waits_for(&self, host: &mut impl Host, now_ms: u64) -> Vec<WaitingRow> {
        match self.drain.active() {
            None => Vec::new(),
            Some(_) => {
                let shared = shared_data::read(host, WAITING_KEY).value;
                waiting::sums(shared.as_deref(), now_ms)
            }
        }
    }

    /// Whether shared data has a report of this VM.
    pub(crate) fn has_reported(&self) -> bool {
        self.membership.id() != 0
    }

    /// Polls the control store if this VM is the leader and a poll is due. Returns whether it made
    /// a call; the response arrives at [`on_store_response`](Self::on_store_response).
    pub(crate) fn poll_store(
        &mut self,
        host: &mut impl Host,
        control: &ControlStore,
        rules: &Rules,
        now_ms: u64,
    ) -> bool {
        if !self.membership.is_leader() {
            return false;
        }
        let error = match self.poller.poll(control, now_ms) {
            Due::No => return false,
            Due::Now if call_store(host, control) => return true,
            Due::Now => StoreError::NoCall,
            Due::Overdue => StoreError::NoResponse,
        };
        self.on_store_response(host, Err(error), control, rules);
        false
    }

    /// Applies the response to a poll.
    pub(crate) fn on_store_response(
        &mut self,
        host: &mut impl Host,
        response: Result<Option<Command>, StoreError>,
        control: &ControlStore,
        rules: &Rules,
    ) {
        let state = match response {
            Err(error) => KeyState::Failed(error),
            Ok(None) => KeyState::Missing,
            Ok(Some(command)) => {
                let epoch = command.epoch.map_or(0, |epoch| epoch.value());
                match self.apply_command(host, &command, rules) {
                    CommandOutcome::Lower(epoch) => KeyState::Lower(epoch),
                    CommandOutcome::Conflicting(epoch) => KeyState::Conflicting(epoch),
                    CommandOutcome::TooHigh(error) => KeyState::TooHigh(error),
                    // A record that could not be written is written after the next poll.
                    CommandOutcome::InForce
                    | CommandOutcome::UnknownRoute(_)
                    | CommandOutcome::Busy => KeyState::InForce(epoch),
                }
            }
        };
        let is_failure = matches!(state, KeyState::Failed(_));
        let metric = if is_failure { General::ControlFailed } else { General::ControlAnswered };
        self.metrics.add(metric, 1);
        if self.poller.on_response(control, &state, self.membership.id()) {
            if state.is_ignored() {
                self.metrics.add(General::DrainStale, 1);
            }
            let level = if state.is_in_force() { LogLevel::Info } else { LogLevel::Warn };
            host.log(level, &state.describe(control));
        }
    }

    /// Passes the state of the process, and the number of responses that have closed their
    /// connection, to `reply`. A full state has the streams that the drain waits for.
    pub(crate) fn with_state<T, H: Host>(
        &mut self,
        host: &mut H,
        instance: &str,
        tick_ms: u64,
        is_full: bool,
        reply: impl FnOnce(&State<'_>, u64) -> T,
    ) -> T {
        let in_flight = self.heartbeat(host, tick_ms);
        self.metrics.flush(host);
        let closed = closed_connections(&mut self.metrics, host);
        let now_ms = now_ms(host).unwrap_or(0);
        let waits_for = if is_full { self.waits_for(host, now_ms) } else { Vec::new() };
        let record = self.drain.record();
        reply(&State { record, instance, in_flight, now_ms, waits_for: &waits_for }, closed)
    }
}

/// The value of the metric in the host, which counts for all VMs of the process.
fn closed_connections(metrics: &mut Metrics, host: &mut impl Host) -> u64 {
    let id = metrics.id(General::DrainClosed, host);
    id.and_then(|id| host.metric(id).ok()).unwrap_or(0)
}

/// The warning for a drain that starts much later than this VM learns it.
fn late_start(record: &Record, now_ms: u64) -> Option<String> {
    let delay = record.started_ms.checked_sub(now_ms).filter(|delay| *delay >= LATE_START_MS)?;
    let (epoch, seconds) = (record.epoch, delay / 1000);
    Some(format!(
        "drain epoch {epoch} starts in {seconds} seconds; until then it closes no connection and fails no health \
         check; check started_ms, in milliseconds since 1970"
    ))
}

/// Whether the host accepted the call.
fn call_store(host: &mut impl Host, control: &ControlStore) -> bool {
    let request = store::request(control);
    let mut headers = vec![
        (":method", request.method),
        (":path", request.path.as_str()),
        (":authority", &control.authority),
    ];
    if request.body.is_some() {
        headers.push(("content-type", "application/json"));
    }
    let call = Call {
        cluster: control.cluster.as_str(),
        headers: &headers,
        body: request.body.as_deref().map(str::as_bytes),
        timeout_ms: control.timeout.as_millis(),
    };
    host.call(&call).is_ok()
}
