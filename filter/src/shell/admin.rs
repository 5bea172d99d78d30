//! The filter's answers about its own state: to health checks, and at the admin path.

use super::host;
use super::root::Active;
use super::vm;
use super::watch::AT_ONCE;
use crate::admin::{self, Asked, Ended, MAX_BODY};
use crate::drain::{Command, RecordError};
use crate::health;
use crate::metrics::General;
use crate::reply::LocalReply;
use crate::request::RequestView;
use crate::state::State;

/// What happens to a request that is for the filter itself.
pub(super) enum Own {
    /// It is answered.
    Answer(LocalReply),
    /// Its body decides.
    AwaitBody,
}

/// What happens to `request` if it is for the filter itself.
pub(super) fn own(active: &Active, request: &RequestView<'_>, ended: bool) -> Option<Own> {
    let config = &active.config;
    if let Some(status) = vm::with(|vm| health::status(config, &vm.worker, request)) {
        return Some(Own::Answer(tell(active, |state, _| health::answer(status, state))));
    }
    Some(match admin::asked(config, request, ended)? {
        Asked::State => Own::Answer(tell(active, admin::state)),
        Asked::Command(command) => Own::Answer(carry_out(active, command)),
        Asked::TooLarge => Own::Answer(admin::too_large()),
        Asked::Body => Own::AwaitBody,
    })
}

/// The answer to a command whose body has at most `size` bytes by now; `None` while more may come.
pub(super) fn body(active: &Active, size: usize, ended: bool) -> Option<LocalReply> {
    if size > MAX_BODY {
        return Some(admin::too_large());
    }
    ended.then(|| carry_out(active, Command::written(&host::request_body(size))))
}

fn carry_out(active: &Active, command: Result<Command, RecordError>) -> LocalReply {
    let config = &active.config;
    let command = match command {
        Ok(command) => command,
        Err(error) => return admin::wrong(&error),
    };
    let ended = match config.unknown_route(command.routes.as_deref()) {
        Some(name) => Ended::NoSuchRoute(name.to_owned()),
        None => vm::with(|vm| vm.command(&command, config)),
    };
    if ended == Ended::InForce {
        vm::with(|vm| vm.metrics.add(General::AdminCommands, 1));
    }
    tell(active, |state, closed| admin::answer(&ended, state, closed))
}

fn tell(active: &Active, answer: impl FnOnce(&State<'_>, u64) -> LocalReply) -> LocalReply {
    let tick_ms = active.config.refresh().as_millis();
    vm::with(|vm| vm.state(&active.instance, tick_ms, answer))
}

/// Answers the requests whose body has not come in time.
pub(super) fn give_up_waiting() {
    let Some(now) = host::now_ms() else { return };
    for context in vm::with(|vm| vm.waiting.expired(now)) {
        host::reply_to(context, &admin::no_body());
    }
}

/// The requests whose body is waited for: their contexts, and since when, in milliseconds since the Unix epoch.
#[derive(Default)]
pub(super) struct Waiting(Vec<(u32, u64)>);

impl Waiting {
    pub(super) fn begin(&mut self, context: u32) {
        self.0.extend(host::now_ms().map(|now| (context, now)));
    }

    pub(super) fn end(&mut self, context: u32) {
        self.0.retain(|(waiting, _)| *waiting != context);
    }

    fn expired(&mut self, now: u64) -> Vec<u32> {
        let expired = |(_, since): &mut (u32, u64)| now.abs_diff(*since) > admin::BODY_WAIT_MS;
        self.0.extract_if(.., expired).map(|(context, _)| context).take(AT_ONCE).collect()
    }
}
