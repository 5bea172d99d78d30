//! When a VM exchanges state with the others: once per refresh.
//!
//! The times belong to the VM and not to a plugin. Each configuration push replaces the plugin and
//! its timer, so with frequent pushes no timer might ever expire. A configuration push therefore
//! makes the exchanges that are due, as a tick does.

use crate::rules::Rules;

/// The times of the last exchanges, in milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    /// The exchange of the drain record. Only plugins that take part in drains make it.
    drain_ms: Option<u64>,
    /// The exchange of the members and the metrics.
    members_ms: Option<u64>,
}

impl Exchanges {
    /// Schedules the first exchanges, if this is the first plugin configuration of the VM. They are
    /// due a tick later, because a host may have created the VM only to validate the configuration.
    pub(crate) fn schedule_first(&mut self, rules: &Rules, now_ms: u64) {
        let one_tick_left = now_ms + rules.tick_period().as_millis();
        let last = one_tick_left.saturating_sub(rules.refresh().as_millis());
        self.drain_ms.get_or_insert(last);
        self.members_ms.get_or_insert(last);
    }

    /// Whether the exchange of the drain record is due; if so, the caller makes it.
    pub(crate) fn begin_drain_if_due(&mut self, rules: &Rules, now_ms: u64) -> bool {
        rules.drain.is_some() && begin_if_due(&mut self.drain_ms, rules, now_ms)
    }

    /// Whether the exchange of the members is due; if so, the caller makes it.
    pub(crate) fn begin_members_if_due(&mut self, rules: &Rules, now_ms: u64) -> bool {
        begin_if_due(&mut self.members_ms, rules, now_ms)
    }
}

/// Whether a refresh has passed, rounded to ticks. If so, the next refresh begins.
fn begin_if_due(last_ms: &mut Option<u64>, rules: &Rules, now_ms: u64) -> bool {
    let tick = rules.tick_period().as_millis();
    let refresh = rules.refresh().as_millis();
    let is_due = last_ms.is_none_or(|last| now_ms.abs_diff(last) + tick / 2 >= refresh);
    if is_due {
        *last_ms = Some(now_ms);
    }
    is_due
}
