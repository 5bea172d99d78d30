//! One use of the filter in a proxy: takes plugin configurations, ticks, polls the control store,
//! and creates streams.

use std::sync::Arc;

use crate::config::{ConfigError, Document, MAX_DOCUMENT};
use crate::drain::store::{self, StoreError};
use crate::ending::{Ending, MAX_ENDINGS, end_streams};
use crate::host::{Buffer, HeaderMap, Host, LogLevel, log_refusal, now_ms, parse_status};
use crate::load::load;
use crate::metrics::General;
use crate::plugin_config::PluginConfig;
use crate::rules::Rules;
use crate::stream::Stream;
use crate::vm::{PluginId, Vm};

/// The warnings of one configuration that are logged. A generated configuration may have thousands.
const LOGGED_WARNINGS: usize = 20;

/// The tick period, in milliseconds, while more streams are due than one tick may end.
const HURRIED_TICK_MS: u64 = 1;

/// One use of the filter in a proxy.
#[derive(Debug)]
pub struct Plugin {
    id: PluginId,
    config: Option<Arc<PluginConfig>>,
    /// The number of its configuration among those of the VM.
    number: u32,
    /// Whether it made a call to its store, and the response has not arrived.
    awaits_response: bool,
    /// Whether the host has replaced or removed it.
    is_done: bool,
    /// Whether it ticks every [`HURRIED_TICK_MS`], because more streams may be due than one tick
    /// ends.
    is_hurried: bool,
}

impl Plugin {
    /// A plugin without a configuration. [`end`](Self::end) has to follow.
    pub fn new(vm: &mut Vm) -> Self {
        let id = vm.timers.add_plugin();
        Self {
            id,
            config: None,
            number: 0,
            awaits_response: false,
            is_done: false,
            is_hurried: false,
        }
    }

    /// A plugin configuration of `size` bytes arrived. Returns whether it is accepted; a refused
    /// one leaves the configuration in force unchanged.
    pub fn on_configure(&mut self, vm: &mut Vm, host: &mut impl Host, size: usize) -> bool {
        match read_configuration(host, size) {
            Ok(rules) => {
                self.accept(vm, host, rules);
                true
            }
            Err(error) => {
                host.log(LogLevel::Error, &format!("configuration rejected: {error}"));
                vm.metrics.add(General::ConfigRejected, 1);
                vm.metrics.flush(host);
                false
            }
        }
    }

    fn accept(&mut self, vm: &mut Vm, host: &mut impl Host, rules: Rules) {
        let traits = vm.host_traits(host);
        let config = Arc::new(PluginConfig::new(rules, traits, &mut vm.metrics, host));
        let rules = &config.rules;
        set_tick_period(host, rules.tick_period().as_millis());
        self.is_hurried = false;
        let now = now_ms(host);
        vm.timers.of_mut(self.id).set_tick_period(rules.tick_period(), now);
        vm.store_plugins.remove(self.number);
        self.number = vm.store_plugins.add(rules.control_store().is_some());
        match rules.control_store() {
            Some(control) => vm.poller.use_store(control),
            None if vm.store_plugins.is_empty() => vm.poller.interrupt(),
            None => {}
        }
        if let Some(drain) = &rules.drain {
            vm.refresh_drain(host, rules);
            if let Some(state) = &drain.state {
                vm.apply_configured(host, state, rules);
            }
        }
        self.config = Some(config.clone());
        if let Some(now) = now {
            vm.exchanges.schedule_first(&config.rules, now);
            self.exchange(vm, host, &config, now);
        }
    }

    /// A tick. The caller carries out the endings afterwards, when the VM is no longer borrowed: a
    /// host may call back into the streams that end.
    #[must_use]
    pub fn on_tick(&mut self, vm: &mut Vm, host: &mut impl Host) -> Vec<Ending> {
        let now = now_ms(host);
        let mut endings = Vec::new();
        match (self.config.clone(), now) {
            (Some(config), Some(now)) => {
                self.exchange(vm, host, &config, now);
                let expired = vm.waiting_replies.expire(now, MAX_ENDINGS).into_iter();
                endings.extend(expired.map(|(context, reply)| Ending::reply(context, reply)));
                if vm.drain.is_terminating(|| Some(now)) {
                    endings.extend(vm.health_watches.take(MAX_ENDINGS).map(Ending::reset));
                }
            }
            _ => vm.metrics.flush(host),
        }
        let (ended, is_hurried) = end_streams(vm, self.id, now);
        endings.extend(ended);
        if std::mem::replace(&mut self.is_hurried, is_hurried) != is_hurried
            && let Some(config) = &self.config
        {
            let period = config.rules.tick_period().as_millis();
            set_tick_period(host, if is_hurried { HURRIED_TICK_MS } else { period });
        }
        // It is decided last and carried out first, so that little time passes in between.
        endings.splice(..0, self.continue_held(vm, host));
        endings
    }

    /// Continues the stream whose headers are held to learn about the host, if its time is over.
    fn continue_held(&self, vm: &mut Vm, host: &mut impl Host) -> Option<Ending> {
        let holding = vm.timers.holding_mut(self.id);
        if !holding.is_trying() {
            return None;
        }
        let ticks = self.config.as_ref().map_or(1, |config| config.rules.ticks_per_refresh());
        let (context, direction, timer) = holding.tick(host.now_ns().ok(), ticks)?;
        let timers = vm.timers.of_mut(self.id);
        if let Some(timer) = timer {
            timers.hold_headers(timer, false);
        }
        // A stream that the same tick ends gets its reply.
        let is_ended = timer.is_some_and(|timer| timers.end_reason(timer).is_some());
        (!is_ended).then(|| Ending::continuation(context, direction))
    }

    /// Makes the exchanges with the other VMs and the host that are due, and polls the store.
    fn exchange(&mut self, vm: &mut Vm, host: &mut impl Host, config: &PluginConfig, now_ms: u64) {
        let rules = &config.rules;
        if vm.exchanges.begin_drain_if_due(rules, now_ms) {
            vm.refresh_drain(host, rules);
        }
        let exchanges_members = vm.exchanges.begin_members_if_due(rules, now_ms);
        if exchanges_members {
            vm.heartbeat(host, rules.refresh().as_millis());
        }
        if let Some(control) = rules.control_store()
            && vm.store_plugins.polls(self.number)
            && vm.poll_store(host, control, rules, now_ms)
        {
            self.awaits_response = true;
        }
        if exchanges_members {
            vm.metrics.flush(host);
        }
    }

    /// Reads the response to a call of this plugin. `headers` is the number of its headers.
    pub fn on_http_call_response(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        headers: usize,
        body_size: usize,
    ) {
        self.awaits_response = false;
        self.read_store_response(vm, host, headers, body_size);
        if self.is_done {
            let done = host.done();
            log_refusal(host, done, "end of a plugin");
        }
    }

    fn read_store_response(
        &self,
        vm: &mut Vm,
        host: &mut impl Host,
        headers: usize,
        body_size: usize,
    ) {
        // The response of a store that a push has replaced is discarded.
        let rules = self.config.as_ref().map(|config| &config.rules);
        let store = rules.and_then(|rules| Some((rules, rules.control_store()?)));
        let Some((rules, control)) = store.filter(|(_, control)| vm.poller.awaits(control)) else {
            return;
        };
        let response = match body_size {
            // An incomplete response arrives without headers.
            _ if headers == 0 => Err(StoreError::Incomplete),
            0..=store::MAX_RESPONSE => {
                let status = host.header(HeaderMap::CallResponse, ":status");
                let status = status.ok().flatten().and_then(parse_status);
                let body = host.buffer(Buffer::CallResponseBody, 0, body_size);
                let body = body.unwrap_or_default();
                store::parse_response(control.format, status.unwrap_or(0), body)
            }
            _ => Err(StoreError::TooLarge(body_size)),
        };
        vm.on_store_response(host, response, control, rules);
    }

    /// The host replaces or removes the plugin. In Envoy, its streams have ended. Returns whether
    /// the plugin may end at once. Otherwise, it calls [`Host::done`] when the response of its
    /// store has arrived. If it did not wait, frequent pushes could end every poll before its
    /// response.
    #[must_use]
    pub fn on_done(&mut self, vm: &mut Vm, host: &mut impl Host) -> bool {
        vm.store_plugins.remove(self.number);
        // If the VM ends now, the others would count the requests of its last report for a while.
        if let Some(config) = self.config.as_ref().filter(|_| vm.has_reported()) {
            vm.heartbeat(host, config.rules.refresh().as_millis());
        }
        vm.metrics.flush(host);
        self.is_done = true;
        !self.awaits_response
    }

    /// A new stream of this plugin. [`Stream::end`] has to follow.
    pub fn new_stream(&self, vm: &mut Vm, context: u32) -> Stream {
        vm.timers.add_stream(self.id);
        Stream::new(self.config.clone(), self.id, context)
    }

    /// Releases the plugin. Must be the last call.
    pub fn end(&mut self, vm: &mut Vm) {
        if self.awaits_response {
            // A host that does not wait has ended the call too.
            vm.poller.interrupt();
        }
        vm.timers.release(self.id);
    }
}

fn read_configuration(host: &mut impl Host, size: usize) -> Result<Rules, ConfigError> {
    let document = match size {
        0 => &[],
        1..=MAX_DOCUMENT => host.buffer(Buffer::PluginConfiguration, 0, size).unwrap_or_default(),
        // The document is not even copied, because the memory of a wasm module never shrinks.
        _ => return Err(Document::too_large(size)),
    };
    let loaded = load(document)?;
    for warning in loaded.warnings.iter().take(LOGGED_WARNINGS) {
        host.log(LogLevel::Warn, &format!("configuration: {warning}"));
    }
    Ok(loaded.rules)
}

fn set_tick_period(host: &mut impl Host, ms: u64) {
    let set = host.set_tick_period(ms);
    log_refusal(host, set, "tick period");
}
