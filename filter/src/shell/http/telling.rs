//! What is told of a stream, and to whom: an embedding host, the client in a header, the access log.

use super::super::root::Active;
use super::super::watch::Watch;
use super::super::{host, vm};
use super::Http;
use crate::decision;
use crate::reason::Reason;
use crate::stream::ResponseEffects;

impl Http {
    pub(super) fn tell_response(&mut self, active: &Active, effects: &ResponseEffects) {
        let decided = decision::response(effects);
        self.decided = Some(decided);
        if active.tells {
            let told = decision::with(decided, epoch(), None);
            host::tell(decision::FUNCTION, told.as_bytes());
        }
        if active.config.report.header
            && let Some(told) = self.both(active)
        {
            host::set_response_header(decision::HEADER, Some(&told));
        }
    }

    /// What was decided over the request, if anybody wants to know.
    pub(super) fn decision<'a>(&self, active: &'a Active) -> Option<&'a str> {
        Some(active.decisions.as_ref()?.request(self.stream.route(), self.held))
    }

    /// All that is known of the stream, if anybody wants to know.
    fn both(&self, active: &Active) -> Option<String> {
        let decision = self.decision(active).filter(|_| self.counted)?;
        Some(decision::with(&decision::both(decision, self.decided), epoch(), self.reason))
    }

    /// The stream ends, before the proxy writes its line: finds out why, if not by itself, and says so.
    pub(super) fn log(&mut self, active: &Active) {
        let over = self.watch.as_ref().and_then(Watch::over);
        if over.is_some() {
            self.reason = over;
        } else if !self.complete && self.reason.is_none() && active.config.wants_failure_reason() {
            let reason = host::detail().as_deref().and_then(Reason::of_detail);
            self.reason = reason.filter(|reason| !(self.tunnel && reason.is_close()));
            if let Some(reason) = self.reason.filter(|_| self.counted) {
                vm::with(|vm| vm.metrics.ended(active.slot(self.stream.route()), reason));
            }
        }
        if let Some(reason) = self.reason.filter(|_| active.tells) {
            host::tell(decision::FUNCTION, decision::ended(reason).as_bytes());
        }
        if active.config.report.access_log
            && let Some(told) = self.both(active)
        {
            host::set_property(decision::PROPERTY, &told);
        }
    }
}

/// The drain in force.
fn epoch() -> Option<u64> {
    vm::with(|vm| vm.worker.in_force().map(|record| record.epoch))
}
