//! The filter's side of the engine: virtual machines, configurations, and the effects that come out.

use std::sync::Arc;

use crate::trace::{EndedBy, Exchange, Outcome};
use crate::{
    Direction, Effect, LogLevel, Module, Part, PluginOptions, Properties, ReplySource, ResetCause,
    ResponseDetails, StartError, StreamId, StreamInfo, Vm, VmOptions,
};

use super::super::ReplayError;
use super::super::exchange::Live;
use super::super::outcome::LogLine;
use super::super::schedule::Entry;
use super::super::worker::{Answer, Ticker};
use super::Engine;

/// The worker that log lines of the main thread carry.
const MAIN_THREAD: u32 = u32::MAX;

impl<'t> Engine<'t> {
    /// A new virtual machine for a worker.
    pub(super) fn new_vm(&self, module: &Module, worker: u32) -> Result<Vm, ReplayError> {
        let options = VmOptions {
            worker,
            vm_id: self.options.vm_id.clone(),
            log_level: self.options.log_level,
            ..VmOptions::default()
        };
        Vm::new(module, &self.process, options).map_err(ReplayError::Vm)
    }

    /// Gives a configuration to all workers, as a proxy does: it is tried on the main thread first, and
    /// where that refuses it the workers never see it. Returns the reason of a refusal.
    pub(super) fn configure(&mut self, text: &[u8]) -> Result<Option<String>, ReplayError> {
        let Some(module) = self.module else { return Ok(None) };
        let mut trial = self.new_vm(module, MAIN_THREAD)?;
        let tried = trial.start_plugin(self.plugin_options(text));
        let refusal = self.refusal(&mut trial, tried.as_ref().err());
        if refusal.is_some() {
            return Ok(refusal);
        }
        self.configuration = Some(text.into());
        for worker in 0..self.workers.len() {
            self.start_plugin(worker)?;
        }
        Ok(None)
    }

    /// Starts the plugin with the configuration in force on a worker, and stops the one before it.
    fn start_plugin(&mut self, worker: usize) -> Result<(), ReplayError> {
        let Some(configuration) = self.configuration.clone() else { return Ok(()) };
        let options = self.plugin_options(&configuration);
        let state = &mut self.workers[worker];
        let Some(vm) = state.vm.as_mut() else { return Ok(()) };
        if let Ok(plugin) = vm.start_plugin(options) {
            if let Some(old) = state.plugin.replace(plugin) {
                vm.stop_plugin(old);
            }
            state.tickers.push(Ticker { plugin, period: None, next: Entry::default() });
        }
        self.settle(worker)?;
        self.schedule_ticks(worker);
        Ok(())
    }

    fn plugin_options(&self, text: &[u8]) -> PluginOptions {
        PluginOptions {
            name: self.options.plugin_name.clone(),
            configuration: text.to_vec(),
            properties: self.options.properties.clone(),
            allow_on_headers_stop_iteration: self.options.allow_on_headers_stop_iteration,
            ..PluginOptions::default()
        }
    }

    /// Why a plugin did not start: the guest's own last words at the level of an error, if it said any.
    fn refusal(&mut self, vm: &mut Vm, error: Option<&StartError>) -> Option<String> {
        let mut effects = Vec::new();
        vm.drain_effects(&mut effects);
        let mut words = None;
        for effect in effects {
            match effect {
                Effect::Log { level, text } if error.is_some() && level >= LogLevel::Error => {
                    words = Some(text);
                }
                Effect::Log { level, text } => {
                    self.report.log.push(LogLine { at: self.now, worker: None, level, text });
                }
                _ => {}
            }
        }
        error.map(|error| words.unwrap_or_else(|| error.to_string()))
    }

    /// Opens the filter's stream for an exchange.
    pub(super) fn open_stream(&mut self, slot: u32) -> Result<(), ReplayError> {
        let Some(live) = self.live[slot as usize].as_deref_mut() else { return Ok(()) };
        let worker = &mut self.workers[live.worker];
        let connection = self.connections[live.connection].info.clone();
        if let (Some(vm), Some(plugin), Some(connection)) =
            (worker.vm.as_mut(), worker.plugin, connection)
        {
            let properties = stream_properties(live.spec);
            let stream = vm.open_http(plugin, StreamInfo { connection, properties });
            worker.bind(stream, slot);
            live.stream = Some(stream);
        }
        Ok(())
    }

    /// Ends the filter's stream of an exchange that is over.
    pub(super) fn close_stream(&mut self, live: &mut Live<'t>) -> Result<(), ReplayError> {
        let Some(stream) = live.stream.take() else { return Ok(()) };
        if let Some(vm) = self.workers[live.worker].vm.as_mut() {
            vm.close_http(stream);
        }
        // Its last callbacks are the place to say why it failed.
        let worker = live.worker;
        self.take_decisions(Some((stream, live)));
        self.drain(worker)
    }

    /// Says who answers an exchange, or why it is about to break off, to whoever asks in the filter.
    pub(super) fn explain(&mut self, slot: u32, details: ResponseDetails) {
        let Some((worker, stream)) = self.at(slot).map(|live| (live.worker, live.stream)) else {
            return;
        };
        if let (Some(vm), Some(stream)) = (self.workers[worker].vm.as_mut(), stream) {
            vm.response_details(stream, details);
        }
    }

    /// A part of the request reaches the filter, or passes where there is none.
    pub(super) fn request_in(&mut self, slot: u32, part: Part) -> Result<(), ReplayError> {
        self.part_in(slot, Direction::Request, part)
    }

    /// A part of the response reaches the filter, or passes where there is none.
    pub(super) fn response_in(&mut self, slot: u32, part: Part) -> Result<(), ReplayError> {
        self.part_in(slot, Direction::Response, part)
    }

    fn part_in(&mut self, slot: u32, way: Direction, part: Part) -> Result<(), ReplayError> {
        let Some(live) = self.live[slot as usize].as_deref() else { return Ok(()) };
        let (worker, stream) = (live.worker, live.stream);
        if live.orphaned {
            return self.fail_orphan(slot);
        }
        if let (Some(stream), Some(vm)) = (stream, self.workers[worker].vm.as_mut()) {
            match (way, part) {
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
        match way {
            Direction::Request => {
                self.request_out(slot, part);
                self.touch(slot);
            }
            Direction::Response => self.response_out(slot, part),
        }
        self.end_exchanges()
    }

    /// Carries out what came out of a worker's filter, until nothing more comes.
    pub(super) fn settle(&mut self, worker: usize) -> Result<(), ReplayError> {
        self.drain(worker)?;
        self.end_exchanges()?;
        self.deliver_queues()
    }

    fn drain(&mut self, worker: usize) -> Result<(), ReplayError> {
        let Some(vm) = self.workers[worker].vm.as_mut() else { return Ok(()) };
        let mut effects = std::mem::take(&mut self.effects);
        vm.drain_effects(&mut effects);
        self.take_decisions(None);
        let mut trapped = false;
        for effect in effects.drain(..) {
            trapped |= matches!(effect, Effect::Trap(_));
            self.effect(worker, effect);
        }
        self.effects = effects;
        if trapped {
            self.replace_vm(worker)?;
        }
        Ok(())
    }

    fn effect(&mut self, worker: usize, effect: Effect) {
        match effect {
            Effect::Request { stream, part } => {
                if let Some(slot) = self.workers[worker].exchange_of(stream) {
                    self.request_out(slot, part);
                    self.touch(slot);
                }
            }
            Effect::Response { stream, part } => {
                if let Some(slot) = self.workers[worker].exchange_of(stream) {
                    self.response_out(slot, part);
                }
            }
            Effect::LocalReply { stream, source, .. } => {
                let slot = self.workers[worker].exchange_of(stream);
                if let Some(live) = slot.and_then(|slot| self.at(slot)) {
                    live.abandon_attempt();
                    live.deadline = None;
                    live.answered_by = Some(match source {
                        ReplySource::Guest => EndedBy::Filter,
                        ReplySource::Overflow | ReplySource::Trap => EndedBy::Proxy,
                    });
                }
            }
            Effect::Reset { stream, cause } => {
                let slot = self.workers[worker].exchange_of(stream);
                if let Some((slot, live)) = slot.and_then(|slot| Some((slot, self.at(slot)?))) {
                    live.answered_by = Some(match cause {
                        ResetCause::Guest | ResetCause::LateReply => EndedBy::Filter,
                        ResetCause::Overflow | ResetCause::Trap => EndedBy::Proxy,
                    });
                    self.ended.push((slot, Outcome::Cut));
                }
            }
            Effect::HttpCall(call) => {
                let answer = self.call_answer(&call.upstream, call.timeout, Answer::Http);
                self.await_call(worker, call.call, call.upstream, answer);
            }
            Effect::GrpcOpen(call) => {
                let cluster = String::from_utf8_lossy(&call.upstream).into_owned();
                let answer = self.call_answer(&cluster, call.timeout, Answer::Grpc);
                self.await_call(worker, call.call, cluster, answer);
            }
            Effect::Log { level, text } => {
                let worker = Some(worker as u32);
                self.report.log.push(LogLine { at: self.now, worker, level, text });
            }
            Effect::Trap(trap) => {
                self.report.log.push(LogLine {
                    at: self.now,
                    worker: Some(worker as u32),
                    level: LogLevel::Critical,
                    text: trap.to_string(),
                });
                self.report.traps += 1;
            }
            // What a trace cannot answer: the messages of a stream that the plugin feeds, and TCP,
            // which has no exchanges.
            Effect::GrpcSend { .. }
            | Effect::GrpcClose { .. }
            | Effect::GrpcCancel { .. }
            | Effect::BodyOverflow { .. }
            | Effect::ToUpstream { .. }
            | Effect::ToDownstream { .. }
            | Effect::Connected { .. }
            | Effect::CloseConnection { .. } => {}
        }
    }

    /// A broken virtual machine is replaced by a new one with the configuration in force. The exchange
    /// that broke it has been ended by its last effects; the others fail when their next part comes.
    fn replace_vm(&mut self, worker: usize) -> Result<(), ReplayError> {
        let Some(module) = self.module else { return Ok(()) };
        let vm = self.new_vm(module, worker as u32)?;
        let state = &mut self.workers[worker];
        state.vm = Some(vm);
        state.plugin = None;
        state.tickers.clear();
        for live in self.live.iter_mut().flatten().filter(|live| live.worker == worker) {
            live.orphaned |= live.stream.take().is_some();
        }
        self.start_plugin(worker)
    }

    /// An exchange whose virtual machine broke under another one gets no further.
    fn fail_orphan(&mut self, slot: u32) -> Result<(), ReplayError> {
        let status = self.options.profile.rules().trap_status;
        let Some(live) = self.at(slot) else { return Ok(()) };
        live.abandon_attempt();
        live.deadline = None;
        live.answered_by = Some(EndedBy::Proxy);
        let outcome = match (live.client.status, status) {
            (None, Some(status)) => {
                live.client.status = u16::try_from(status).ok();
                Outcome::Complete
            }
            _ => Outcome::Cut,
        };
        self.ended.push((slot, outcome));
        self.end_exchanges()
    }

    /// Hands what filters reported to their exchanges. One that is ending is in no slot any more.
    fn take_decisions(&mut self, mut ending: Option<(StreamId, &mut Live<'t>)>) {
        let (workers, live) = (&self.workers, &mut self.live);
        self.decisions.take(|worker, stream, decision| {
            let worker = worker as usize;
            if let Some((ended, live)) = &mut ending
                && (live.worker, *ended) == (worker, stream)
            {
                return live.decided(decision);
            }
            let slot = workers.get(worker).and_then(|worker| worker.exchange_of(stream));
            if let Some(Some(live)) = slot.map(|slot| &mut live[slot as usize]) {
                live.decided(decision);
            }
        });
    }

    fn deliver_queues(&mut self) -> Result<(), ReplayError> {
        for event in self.process.take_queue_events() {
            let worker = self
                .workers
                .iter_mut()
                .position(|worker| worker.vm.as_ref().is_some_and(|vm| vm.id() == event.vm));
            if let Some(worker) = worker {
                if let Some(vm) = self.workers[worker].vm.as_mut() {
                    vm.queue_ready(event.plugin, event.queue);
                }
                self.drain(worker)?;
                self.end_exchanges()?;
            }
        }
        Ok(())
    }
}

/// What the trace says of the route that the proxy itself chose.
fn stream_properties(exchange: &Exchange<'_>) -> Option<Arc<Properties>> {
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
