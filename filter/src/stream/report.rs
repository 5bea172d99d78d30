//! Reports of decisions: to a host that requests them, to the client in a header, and to the access
//! log.

use crate::decision::{self, Decision, ResponseDecision};
use crate::host::{HeaderMap, Host, log_refusal, now_ms, property};
use crate::plugin_config::PluginConfig;
use crate::reserved_headers::MARKER;
use crate::vm::Vm;

use super::request::connection_id;
use super::state::Stream;

impl Stream {
    pub(super) fn report_request(&self, host: &mut impl Host, config: &PluginConfig) {
        if config.wants_decisions
            && let Some(decision) = self.request_decision(config)
        {
            call(host, &decision);
        }
    }

    pub(super) fn report_response(
        &mut self,
        vm: &Vm,
        host: &mut impl Host,
        config: &PluginConfig,
        response: ResponseDecision,
    ) {
        self.response = Some(response);
        if config.wants_decisions {
            call(host, &Decision::default().with_response(&response).with_epoch(epoch(vm)));
        }
        if config.rules.report.header
            && let Some(decision) = self.decision(vm, config)
        {
            let set = host.set_header(HeaderMap::Response, decision::HEADER, &decision.to_json());
            log_refusal(host, set, decision::HEADER);
        }
    }

    /// The stream ends, and the proxy is about to write its access log.
    pub fn on_log(&mut self, vm: &mut Vm, host: &mut impl Host) {
        if self.has_marker && matches!(host.header(HeaderMap::Response, MARKER), Ok(Some(_))) {
            vm.report_missing_bridge(host);
        }
        let Some(config) = self.config.clone() else { return };
        if !self.has_request {
            report_bypass(vm, host, &config);
            return;
        }
        self.find_reason(vm, host, &config);
        if config.wants_decisions && self.reason.is_some() {
            call(host, &Decision::default().with_reason(self.reason));
        }
        if config.rules.report.access_log
            && let Some(decision) = self.decision(vm, &config)
        {
            let set = host.set_property(decision::PROPERTY, decision.to_json().as_bytes());
            log_refusal(host, set, decision::PROPERTY);
        }
    }

    /// Finds the reason of a failed stream, unless it is already known.
    fn find_reason(&mut self, vm: &mut Vm, host: &mut impl Host, config: &PluginConfig) {
        if let Some(reason) = self.timer_reason(vm) {
            self.reason = Some(reason);
            return;
        }
        if self.is_complete || self.reason.is_some() || !config.rules.wants_failure_reason() {
            return;
        }
        let reason = Self::proxy_reason(host);
        self.reason = reason.filter(|reason| !(self.is_tunnel && reason.is_close()));
        if let Some(reason) = self.reason.filter(|_| self.is_counted) {
            self.count_failure(vm, config, reason);
        }
    }

    fn request_decision<'a>(&self, config: &'a PluginConfig) -> Option<Decision<'a>> {
        let decisions = config.decisions.as_ref()?;
        Some(decisions.request(&config.rules, self.route, self.buffers_request))
    }

    /// All decisions on the stream, if they are reported anywhere.
    fn decision<'a>(&self, vm: &Vm, config: &'a PluginConfig) -> Option<Decision<'a>> {
        let request = self.request_decision(config).filter(|_| self.is_counted)?;
        let decision = match &self.response {
            Some(response) => request.with_response(response),
            None => request,
        };
        Some(decision.with_epoch(epoch(vm)).with_reason(self.reason))
    }
}

/// Reports a response that did not pass this filter, if the drain in force would have closed its
/// connection. Envoy calls a filter for a response only if the request reached it. A drain with
/// routes is not reported, because the route of such a response is unknown.
fn report_bypass(vm: &mut Vm, host: &mut impl Host, config: &PluginConfig) {
    if config.rules.drain.is_none() {
        return;
    }
    let Some(connection) = connection_id(host) else { return };
    if !vm.drain.closes(connection, None, || now_ms(host)) {
        return;
    }
    let has_response = matches!(host.header(HeaderMap::Response, ":status"), Ok(Some(_)));
    // The proxy announces a close that it decided itself, such as after a malformed request.
    let closes_anyway = host
        .header(HeaderMap::Response, "connection")
        .is_ok_and(|value| value.is_some_and(|value| value.eq_ignore_ascii_case(b"close")));
    if has_response && !closes_anyway {
        let details = property(host, &["response", "code_details"]).unwrap_or_default();
        let details = String::from_utf8_lossy(details).into_owned();
        vm.report_bypass(host, &details);
    }
}

fn call(host: &mut impl Host, decision: &Decision<'_>) {
    // The host had the function when the configuration was accepted. If it refuses, the stream
    // continues.
    let _ = host.call_foreign_function(decision::FUNCTION, decision.to_json().as_bytes());
}

/// The epoch of the drain that closes connections.
fn epoch(vm: &Vm) -> Option<u64> {
    vm.drain.active().map(|record| record.epoch)
}
