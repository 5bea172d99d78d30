//! One use of the filter in a proxy: takes plugin configurations, ticks, polls the control store,
//! and creates streams.

use std::sync::Arc;

use crate::admin;
use crate::config::{ConfigError, Document, MAX_DOCUMENT};
use crate::drain::store::{self, StoreError};
use crate::ending::{Ending, MAX_ENDINGS, end_streams};
use crate::host::{Buffer, HeaderMap, Host, LogLevel, log_refusal, now_ms, parse_status};
use crate::load::load;
use crate::metrics::General;
use crate::plugin_config::PluginConfig;
use crate::rules::{ControlStore, Rules};
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
    /// When it last exchanged state with the other VMs, in milliseconds since the Unix epoch.
    exchanged_ms: Option<u64>,
    /// Whether it ticks every [`HURRIED_TICK_MS`], because more streams may be due than one tick
    /// ends.
    is_hurried: bool,
}

impl Plugin {
    /// A plugin without a configuration. [`end`](Self::end) has to follow.
    pub fn new(vm: &mut Vm) -> Self {
        let id = vm.timers.add_plugin();
        Self { id, config: None, number: 0, exchanged_ms: None, is_hurried: false }
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
        let config = PluginConfig::new(rules, traits, &mut vm.metrics, host);
        let rules = &config.rules;
        set_tick_period(host, rules.tick_period().as_millis());
        self.is_hurried = false;
        let now = now_ms(host);
        vm.timers.of_mut(self.id).set_tick_period(rules.tick_period(), now);
        vm.store_plugins.remove(self.number);
        self.number = vm.store_plugins.add(rules.control_store().is_some());
        vm.poller.interrupt();
        if let Some(drain) = &rules.drain {
            vm.refresh_drain(host, rules);
            if let Some(state) = &drain.state {
                vm.apply_configured(host, state, rules);
            }
        }
        self.config = Some(Arc::new(config));
    }

    /// A tick. The caller carries out the endings afterwards, when the VM is no longer borrowed: a
    /// host may call back into the streams that end.
    #[must_use]
    pub fn on_tick(&mut self, vm: &mut Vm, host: &mut impl Host) -> Vec<Ending> {
        let now = now_ms(host);
        let mut endings = Vec::new();
        if self.is_exchange_due(now) {
            self.exchange(vm, host);
            if let Some(now) = now_ms(host) {
                let expired = vm.pending_commands.expire(now, MAX_ENDINGS);
                let reply = |context| Ending::reply(context, admin::no_body_reply());
                endings.extend(expired.into_iter().map(reply));
            }
        }
        let (ended, is_hurried) = end_streams(vm, self.id, now);
        endings.extend(ended);
        if std::mem::replace(&mut self.is_hurried, is_hurried) != is_hurried
            && let Some(config) = &self.config
        {
            let period = config.rules.tick_period().as_millis();
            set_tick_period(host, if is_hurried { HURRIED_TICK_MS } else { period });
        }
        endings
    }

    /// Whether a refresh has passed, rounded to ticks.
    fn is_exchange_due(&mut self, now: Option<u64>) -> bool {
        if let (Some(config), Some(now), Some(before)) = (&self.config, now, self.exchanged_ms) {
            let tick = config.rules.tick_period().as_millis();
            if now.abs_diff(before) + tick / 2 < config.rules.refresh().as_millis() {
                return false;
            }
        }
        self.exchanged_ms = now;
        true
    }

    /// Exchanges the changes since the last refresh with the other VMs and the host.
    fn exchange(&self, vm: &mut Vm, host: &mut impl Host) {
        if let Some(config) = &self.config {
            let rules = &config.rules;
            if rules.drain.is_some() {
                vm.refresh_drain(host, rules);
            }
            let heartbeat = vm.heartbeat(host, rules.refresh().as_millis());
            if let Some((rules, control)) = self.polled_store(vm)
                && heartbeat.is_leader
            {
                vm.poll_store(host, control, rules);
            }
        }
        vm.metrics.flush(host);
    }

    /// The store to poll, if this plugin is the one that polls in its VM.
    fn polled_store(&self, vm: &Vm) -> Option<(&Rules, &ControlStore)> {
        let rules = &self.config.as_ref()?.rules;
        let control = rules.control_store().filter(|_| vm.store_plugins.polls(self.number))?;
        Some((rules, control))
    }

    /// Reads the response to a call of this plugin. `headers` is the number of its headers.
    pub fn on_http_call_response(
        &mut self,
        vm: &mut Vm,
        host: &mut impl Host,
        headers: usize,
        body_size: usize,
    ) {
        // The poll of a replaced configuration is discarded.
        let Some((rules, control)) = self.polled_store(vm) else { return };
        let response = match body_size {
            // An incomplete response arrives without headers.
            _ if headers == 0 => Err(StoreError::Incomplete),
            0..=store::MAX_RESPONSE => {
                let status = host.header(HeaderMap::CallResponse, ":status");
                let status = status.ok().flatten().and_then(|status| parse_status(&status));
                let body = host.buffer(Buffer::CallResponseBody, 0, body_size);
                let body = body.unwrap_or_default();
                store::parse_response(control.format, status.unwrap_or(0), &body)
            }
            _ => Err(StoreError::TooLarge(body_size)),
        };
        vm.on_store_response(host, response, control, rules);
    }

    /// The host replaces or removes the plugin. Its streams continue.
    pub fn on_done(&mut self, vm: &mut Vm, host: &mut impl Host) {
        vm.store_plugins.remove(self.number);
        vm.metrics.flush(host);
    }

    /// A new stream of this plugin. [`Stream::end`] has to follow.
    pub fn new_stream(&self, vm: &mut Vm, context: u32) -> Stream {
        vm.timers.add_stream(self.id);
        Stream::new(self.config.clone(), self.id, context)
    }

    /// Releases the plugin. Must be the last call.
    pub fn end(&mut self, vm: &mut Vm) {
        vm.timers.release(self.id);
    }
}

fn read_configuration(host: &mut impl Host, size: usize) -> Result<Rules, ConfigError> {
    let document = match size {
        0 => Vec::new(),
        1..=MAX_DOCUMENT => host.buffer(Buffer::PluginConfiguration, 0, size).unwrap_or_default(),
        // The document is not even copied, because the memory of a wasm module never shrinks.
        _ => return Err(Document::too_large(size)),
    };
    let loaded = load(&document)?;
    for warning in loaded.warnings.iter().take(LOGGED_WARNINGS) {
        host.log(LogLevel::Warn, &format!("configuration: {warning}"));
    }
    Ok(loaded.rules)
}

fn set_tick_period(host: &mut impl Host, ms: u64) {
    let set = host.set_tick_period(ms);
    log_refusal(host, set, "tick period");
}
