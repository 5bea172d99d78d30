//! The filter's side of the engine: VMs, configurations, and the effects of the filter.

use std::sync::Arc;
use std::time::Duration;

use crate::replay::calls::CallReport;
use crate::replay::crash::Ending;
use crate::replay::error::ReplayError;
use crate::replay::exchange::{ActiveExchange, AttemptStep};
use crate::replay::report::LogLine;
use crate::replay::schedule::Entry;
use crate::replay::summary::Summary;
use crate::replay::worker::{CallType, Ticker};
use crate::trace::{EndedBy, Exchange, Outcome};
use crate::{
    Direction, Effect, FailurePolicy, HttpCall, LogLevel, Module, Part, PluginOptions, Properties,
    ReplySource, ResetCause, ResponseDetails, StartError, StreamId, StreamInfo, Vm, VmOptions,
};

use super::Engine;

/// The worker number of the main thread.
const MAIN_THREAD: u32 = u32::MAX;

impl Engine<'_> {
    pub(super) fn new_vm(&self, module: &Module, worker: u32) -> Result<Vm, ReplayError> {
        let mut options = VmOptions {
            worker,
            vm_id: self.vm_id().to_owned(),
            log_level: self.options.log_level,
            ..VmOptions::default()
        };
        options.buffer_limit =
            self.settings.as_ref().map(|settings| settings.buffer_limit as usize);
        if let Some(plugin) = &self.setup.plugin {
            options.vm_configuration = plugin.vm_config.clone().unwrap_or_default().into_bytes();
            options.env = plugin.environment.clone().unwrap_or_default().into_iter().collect();
        }
        Vm::new(module, &self.process, options).map_err(ReplayError::Vm)
    }

    /// Applies a configuration to all workers. As in Envoy, the main thread validates it first, and
    /// the workers do not receive a configuration that it rejects. Returns why it was rejected.
    pub(super) fn configure(&mut self, text: &[u8]) -> Result<Option<String>, ReplayError> {
        let Some(module) = self.module else { return Ok(None) };
        let mut vm = self.new_vm(module, MAIN_THREAD)?;
        let started = vm.start_plugin(self.plugin_options(text));
        let rejection = self.rejection(&mut vm, started.as_ref().err());
        if rejection.is_some() {
            return Ok(rejection);
        }
        self.configuration = Some(text.into());
        for worker in 0..self.workers.len() {
            // As measured on Envoy, a new configuration replaces a crashed VM under every policy.
            if self.workers[worker].has_crashed() {
                self.replace_vm(worker)?;
            } else {
                self.start_plugin(worker)?;
            }
        }
        Ok(None)
    }

    /// Starts a plugin with the configuration in force on a worker, and stops its predecessor.
    fn start_plugin(&mut self, worker: usize) -> Result<(), ReplayError> {
        let Some(configuration) = self.configuration.clone() else { return Ok(()) };
        let options = self.plugin_options(&configuration);
        let state = &mut self.workers[worker];
        let Some(vm) = state.vm.as_mut() else { return Ok(()) };
        match vm.start_plugin(options) {
            Ok(plugin) => {
                if let Some(old) = state.plugin.replace(plugin) {
                    vm.stop_plugin(old);
                }
                state.tickers.push(Ticker { plugin, period: None, next: Entry::default() });
            }
            // The effects of the crash follow.
            Err(StartError::Trap(_)) => {}
            Err(error) => self.worker_refused(worker, &error),
        }
        self.schedule_first_ticks(worker);
        self.settle(worker)
    }

    fn plugin_options(&self, text: &[u8]) -> PluginOptions {
        let mut options = PluginOptions {
            name: self.options.plugin_name.clone(),
            configuration: text.to_vec(),
            properties: self.options.properties.clone(),
            allow_on_headers_stop_iteration: self.options.allow_on_headers_stop_iteration
                || self.settings.as_ref().is_some_and(|s| s.allow_on_headers_stop_iteration),
            failure_policy: self.failure_policy(),
            ..PluginOptions::default()
        };
        if let Some(plugin) = self.setup.plugin.clone() {
            options.name = plugin.name.unwrap_or(options.name);
            options.root_id = plugin.root_id.unwrap_or_default();
            options.properties.extend(&plugin.properties.unwrap_or_default());
        }
        options
    }

    /// Why a plugin did not start: the last error that it logged, or else the error of the host.
    fn rejection(&mut self, vm: &mut Vm, error: Option<&StartError>) -> Option<String> {
        let mut effects = Vec::new();
        vm.drain_effects(&mut effects);
        let mut logged = None;
        for effect in effects {
            match effect {
                Effect::Log { level, text } if error.is_some() && level >= LogLevel::Error => {
                    logged = Some(text);
                }
                Effect::Log { level, text } => {
                    self.report.summary.add_log(LogLine {
                        at: self.now,
                        worker: None,
                        level,
                        text,
                    });
                }
                // Without a `configure` event, the crash ends the replay with an error.
                Effect::Trap(trap) if self.scope.is_some() => self.record_trap(None, &trap),
                _ => {}
            }
        }
        error.map(|error| logged.unwrap_or_else(|| error.to_string()))
    }

    /// Opens the filter's stream for an exchange.
    pub(super) fn open_stream(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(exchange) = self.exchanges.get(slot as usize) else { return Ok(()) };
        if self.is_singleton() {
            return Ok(());
        }
        self.reload_after_crash(exchange.worker)?;
        let fails_open = self.failure_policy() == FailurePolicy::FailOpen;
        let Some(exchange) = self.exchanges.get_mut(slot as usize) else { return Ok(()) };
        let worker = &mut self.workers[exchange.worker];
        let connection = self.connections[exchange.connection].info.clone();
        if let (Some(vm), Some(plugin), Some(connection)) =
            (worker.vm.as_mut(), worker.plugin, connection)
        {
            let properties = route_properties(exchange.spec.get());
            let stream = vm.open_http(plugin, StreamInfo { connection, properties });
            worker.bind(stream, slot);
            exchange.stream = Some(stream);
        } else if worker.has_crashed() {
            // The VM that replaced a crashed one crashed while it started.
            exchange.vm_crashed = !fails_open;
        }
        Ok(())
    }

    /// Closes the filter's stream of an exchange that has ended.
    pub(super) fn close_stream(
        &mut self,
        exchange: &mut ActiveExchange,
    ) -> Result<(), ReplayError> {
        let Some(stream) = exchange.stream.take() else { return Ok(()) };
        if let Some(vm) = self.workers[exchange.worker].vm.as_mut() {
            vm.close_http(stream);
        }
        // The filter reports the reason of a failure in the last callbacks of the stream.
        let worker = exchange.worker;
        self.take_decisions(Some((stream, exchange)));
        self.ending = Some(Ending::new(worker, stream, exchange));
        let drained = self.drain_effects(worker);
        if let Some(trap) = self.ending.take().and_then(|ending| ending.trap) {
            exchange.trap = Some(trap);
        }
        drained
    }

    /// Sets the response details that the filter can read as properties.
    pub(super) fn set_response_details(&mut self, slot: u32, details: ResponseDetails) {
        let Some((worker, stream)) =
            self.exchange(slot).map(|exchange| (exchange.worker, exchange.stream))
        else {
            return;
        };
        if let (Some(vm), Some(stream)) = (self.workers[worker].vm.as_mut(), stream) {
            vm.response_details(stream, details);
        }
    }

    /// Passes a part of the request through the filter, or to the router if there is no filter.
    pub(super) fn request_in(&mut self, slot: u32, part: Part) -> Result<(), ReplayError> {
        self.part_in(slot, Direction::Request, part)
    }

    /// Passes a part of the response through the filter, or to the client if there is no filter.
    pub(super) fn response_in(&mut self, slot: u32, part: Part) -> Result<(), ReplayError> {
        self.part_in(slot, Direction::Response, part)
    }

    fn part_in(&mut self, slot: u32, direction: Direction, part: Part) -> Result<(), ReplayError> {
        self.restart_idle_timeout(slot);
        let Some(exchange) = self.exchanges.get(slot as usize) else { return Ok(()) };
        let (worker, stream) = (exchange.worker, exchange.stream);
        if exchange.vm_crashed {
            return self.fail_after_crash(slot);
        }
        if let (Some(stream), Some(vm)) = (stream, self.workers[worker].vm.as_mut()) {
            match (direction, part) {
                (Direction::Request, Part::Headers { map, end }) => {
                    vm.request_headers(stream, map, end);
                }
                (Direction::Request, Part::Body { bytes, end }) => {
                    vm.request_body(stream, &bytes, end);
                }
                (Direction::Request, Part::Trailers(map)) => vm.request_trailers(stream, map),
                (Direction::Response, Part::Headers { map, end }) => {
                    vm.response_headers(stream, map, end);
                }
                (Direction::Response, Part::Body { bytes, end }) => {
                    vm.response_body(stream, &bytes, end);
                }
                (Direction::Response, Part::Trailers(map)) => vm.response_trailers(stream, map),
            }
            return self.settle(worker);
        }
        match direction {
            Direction::Request => {
                self.request_out(slot, part);
                self.mark_ready(slot);
            }
            Direction::Response => self.response_out(slot, part),
        }
        self.end_exchanges()
    }

    /// Applies the effects of a worker's filter until there are no more.
    pub(super) fn settle(&mut self, worker: usize) -> Result<(), ReplayError> {
        self.drain_effects(worker)?;
        self.schedule_ticks(worker);
        self.end_exchanges()?;
        self.deliver_queue_events()
    }

    pub(super) fn drain_effects(&mut self, worker: usize) -> Result<(), ReplayError> {
        let Some(vm) = self.workers[worker].vm.as_mut() else { return Ok(()) };
        let mut effects = std::mem::take(&mut self.effects);
        vm.drain_effects(&mut effects);
        self.report.summary.omitted_log_lines += vm.take_dropped_logs();
        self.take_decisions(None);
        let mut crashed = false;
        for effect in effects.drain(..) {
            crashed |= matches!(effect, Effect::Trap(_));
            self.apply(worker, effect);
        }
        self.effects = effects;
        if crashed {
            self.workers[worker].tickers.clear();
        }
        Ok(())
    }

    fn apply(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::Request { stream, part } => {
                if let Some(slot) = self.workers[worker].exchange_of(stream) {
                    self.request_out(slot, part);
                    self.mark_ready(slot);
                }
            }
            Effect::Response { stream, part } => {
                if let Some(slot) = self.workers[worker].exchange_of(stream) {
                    self.response_out(slot, part);
                }
            }
            Effect::LocalReply { stream, source, status, .. } => {
                let slot = self.workers[worker].exchange_of(stream);
                if let Some(exchange) = slot.and_then(|slot| self.exchange(slot)) {
                    // As measured, Envoy takes a local 400 over HTTP/1 for an error of framing.
                    exchange.closes_connection |= status == 400;
                    if exchange.step != AttemptStep::Idle {
                        exchange.abandon_attempt();
                    }
                    exchange.deadline = None;
                    exchange.ended_by = Some(match source {
                        ReplySource::Guest => EndedBy::Filter,
                        ReplySource::Overflow | ReplySource::Trap => EndedBy::Proxy,
                    });
                }
            }
            Effect::Reset { stream, cause } => {
                let slot = self.workers[worker].exchange_of(stream);
                if let Some((slot, exchange)) =
                    slot.and_then(|slot| Some((slot, self.exchange(slot)?)))
                {
                    exchange.ended_by = Some(match cause {
                        ResetCause::Guest | ResetCause::LateReply => EndedBy::Filter,
                        ResetCause::Overflow | ResetCause::Trap => EndedBy::Proxy,
                    });
                    self.ended.push((slot, Outcome::Cut));
                }
            }
            Effect::HttpCall(call) => {
                self.record_call(|at| CallReport::http(at, worker, &call));
                let HttpCall { call, upstream, timeout, .. } = *call;
                self.start_call(worker, call, upstream, timeout, CallType::Http);
            }
            Effect::GrpcOpen(call) => {
                self.record_call(|at| CallReport::grpc(at, worker, &call));
                let cluster = String::from_utf8_lossy(&call.upstream).into_owned();
                let kind = match call.message {
                    Some(_) => CallType::GrpcUnary,
                    None => CallType::GrpcStream,
                };
                self.start_call(worker, call.call, cluster, call.timeout, kind);
            }
            Effect::Log { level, text } => {
                let worker = Some(worker as u32);
                self.report.summary.add_log(LogLine { at: self.now, worker, level, text });
            }
            Effect::Trap(trap) => self.record_trap(Some(worker), &trap),
            Effect::GrpcSend { call, message, end } => {
                CallReport::add_message(&mut self.report.summary.calls, worker, call, &message);
                if end {
                    self.half_close_call(worker, call);
                }
            }
            Effect::GrpcClose { call } => self.half_close_call(worker, call),
            // A trace has no events for TCP connections.
            Effect::GrpcCancel { .. }
            | Effect::BodyOverflow { .. }
            | Effect::ToUpstream { .. }
            | Effect::ToDownstream { .. }
            | Effect::Connected { .. }
            | Effect::CloseConnection { .. } => {}
        }
    }

    /// Whether the plugin is a service, which handles no requests.
    pub(super) fn is_singleton(&self) -> bool {
        self.setup.plugin.as_ref().and_then(|plugin| plugin.singleton).unwrap_or(false)
    }

    fn record_call(&mut self, call: impl FnOnce(Duration) -> CallReport) {
        if self.options.record_calls && self.report.summary.calls.len() < Summary::MAX_KEPT {
            self.report.summary.calls.push(call(self.now));
        }
    }

    fn failure_policy(&self) -> FailurePolicy {
        let section = self.setup.proxy.as_ref();
        section.and_then(|section| section.failure_policy).unwrap_or(self.options.failure_policy)
    }

    /// Replaces a crashed VM before a request, if the failure policy allows it and the VM is old
    /// enough. As measured on Envoy, each request draws another random back-off.
    fn reload_after_crash(&mut self, worker: usize) -> Result<(), ReplayError> {
        if self.failure_policy() != FailurePolicy::FailReload || !self.workers[worker].has_crashed()
        {
            return Ok(());
        }
        let section = self.setup.proxy.as_ref();
        let base = section.and_then(|section| section.reload_backoff);
        let base = base.unwrap_or(self.options.reload_backoff);
        let extra = match base.as_millis() as u64 / 2 {
            0 => 0,
            half => self.rng.u64(0..half),
        };
        let age = self.now.saturating_sub(self.workers[worker].loaded_at);
        if age < base + Duration::from_millis(extra) {
            return Ok(());
        }
        self.replace_vm(worker)
    }

    /// Replaces a VM that crashed with a new one, with the configuration in force. The effects of
    /// the crash have ended the exchange that caused it; the others fail with their next part.
    fn replace_vm(&mut self, worker: usize) -> Result<(), ReplayError> {
        let Some(module) = self.module else { return Ok(()) };
        let vm = self.new_vm(module, worker as u32)?;
        let state = &mut self.workers[worker];
        state.vm = Some(vm);
        state.loaded_at = self.now;
        state.plugin = None;
        state.tickers.clear();
        for (_, exchange) in &mut self.exchanges {
            if exchange.worker == worker {
                exchange.vm_crashed |= exchange.stream.take().is_some();
            }
        }
        self.start_plugin(worker)
    }

    /// Ends an exchange whose VM crashed in another exchange.
    fn fail_after_crash(&mut self, slot: u32) -> Result<(), ReplayError> {
        let status = self.options.profile.rules().trap_status;
        let Some(exchange) = self.exchange(slot) else { return Ok(()) };
        exchange.abandon_attempt();
        exchange.deadline = None;
        exchange.ended_by = Some(EndedBy::Proxy);
        let outcome = match (exchange.client.status, status) {
            (None, Some(status)) => {
                exchange.client.status = u16::try_from(status).ok();
                Outcome::Complete
            }
            _ => Outcome::Cut,
        };
        self.ended.push((slot, outcome));
        self.end_exchanges()
    }

    /// Adds the reported decisions to their exchanges. An exchange that is ending has no slot, so
    /// the caller passes it with its stream.
    fn take_decisions(&mut self, mut ending: Option<(StreamId, &mut ActiveExchange)>) {
        let (workers, exchanges) = (&self.workers, &mut self.exchanges);
        self.decisions.take(|worker, stream, decision| {
            let worker = worker as usize;
            if let Some((ended, exchange)) = &mut ending
                && (exchange.worker, *ended) == (worker, stream)
            {
                return exchange.add_decision(decision);
            }
            let slot = workers.get(worker).and_then(|worker| worker.exchange_of(stream));
            if let Some(exchange) = slot.and_then(|slot| exchanges.get_mut(slot as usize)) {
                exchange.add_decision(decision);
            }
        });
    }

    fn deliver_queue_events(&mut self) -> Result<(), ReplayError> {
        for event in self.process.take_queue_events() {
            let worker = self
                .workers
                .iter_mut()
                .position(|worker| worker.vm.as_ref().is_some_and(|vm| vm.id() == event.vm));
            if let Some(worker) = worker {
                if let Some(vm) = self.workers[worker].vm.as_mut() {
                    vm.queue_ready(event.plugin, event.queue);
                }
                self.drain_effects(worker)?;
                self.end_exchanges()?;
            }
        }
        Ok(())
    }
}

/// The properties of the route that the proxy's configuration selects.
fn route_properties(exchange: &Exchange<'_>) -> Option<Arc<Properties>> {
    let request = &exchange.request;
    if request.route_name.is_none() && request.route_metadata.is_empty() {
        return None;
    }
    let mut properties = Properties::new();
    if let Some(name) = &request.route_name {
        properties = properties.with(&["xds", "route_name"], name.as_bytes());
    }
    for (filter, values) in &request.route_metadata {
        for (key, value) in values {
            let path = ["xds", "route_metadata", "filter_metadata", filter, key];
            properties = properties.with(&path, value.as_bytes());
        }
    }
    Some(Arc::new(properties))
}
