//! The host's state of one VM: everything that host functions can access besides guest memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use wasmtime::{Memory, StoreLimits, StoreLimitsBuilder, TypedFunc};

use crate::abi::{LogLevel, Status};
use crate::actions::{Action, Actions};
use crate::context::Contexts;
use crate::cost::Cost;
use crate::effect::Effect;
use crate::headers::HeaderMap;
use crate::limits::Limits;
use crate::options::VmOptions;
use crate::process::Process;
use crate::profile::Rules;
use crate::trap::{HostTrap, TrapReason};

pub(crate) struct State {
    pub(crate) rules: &'static Rules,
    pub(crate) limits: Arc<Limits>,
    pub(crate) process: Process,
    pub(crate) options: VmOptions,
    /// See [`Vm::id`](crate::Vm::id).
    pub(crate) id: u64,
    /// The guest's memory; `None` during the module's start function.
    pub(crate) memory: Option<Memory>,
    /// The guest's allocator; `None` while it runs.
    pub(crate) allocate: Option<TypedFunc<(u32,), u32>>,
    pub(crate) phase: Phase,
    pub(crate) store_limits: StoreLimits,
    pub(crate) contexts: Contexts,
    /// The slot of the effective context of host calls.
    pub(crate) effective: Option<u32>,
    /// Data that the running callback can read.
    pub(crate) subject: Subject,
    /// Code and message for `proxy_get_status`.
    pub(crate) call_status: (u32, String),
    pub(crate) calls: Calls,
    /// gRPC calls that failed at once, with the slots of their plugins. The guest learns of them
    /// after the running callback.
    pub(crate) failed_calls: VecDeque<(u32, u32)>,
    /// The slot of the context whose `proxy_on_log` runs.
    pub(crate) in_log: Option<u32>,
    /// Whether the running callback pauses its stream, whatever it returns.
    pub(crate) pauses_callback: bool,
    pub(crate) random: Rng,
    pub(crate) actions: Actions,
    pub(crate) effects: Vec<Effect>,
    /// The fuel with which the running callback started.
    pub(crate) fuel: u64,
    pub(crate) cost: Cost,
    effect_bytes: usize,
    log_bytes: usize,
    /// At least the bytes that the guest added to the streams that are open.
    pub(crate) stream_bytes: usize,
    pub(crate) dropped_logs: u64,
    /// The part of `dropped_logs` that the replay has counted.
    pub(crate) reported_drops: u64,
}

/// The phase of the guest. It determines which host calls are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Running,
    Allocating,
}

/// Data that a callback of a plugin can read while it runs.
#[derive(Debug, Default)]
pub(crate) enum Subject {
    #[default]
    None,
    VmConfiguration,
    PluginConfiguration(Vec<u8>),
    HttpCall {
        headers: HeaderMap,
        body: Vec<u8>,
        trailers: HeaderMap,
    },
    GrpcInitialMetadata(HeaderMap),
    GrpcTrailingMetadata(HeaderMap),
    GrpcMessage(Vec<u8>),
    ForeignArguments(Vec<u8>),
}

/// Calls without a response.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: BTreeMap<u32, Call>,
    /// Whether the lower two bits of an id are the kind of the call.
    ids_have_kind: bool,
    /// The number of calls so far, of each kind if ids have a kind.
    counts: [u32; 3],
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// The slot of the plugin that receives the response.
    pub(crate) plugin: u32,
    pub(crate) kind: CallKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Http,
    GrpcUnary,
    GrpcStream {
        /// The guest has ended its side.
        closed: bool,
        /// The upstream has ended the stream, and the guest has received the close. Envoy keeps
        /// such a stream until the guest closes it.
        ended: bool,
    },
}

impl CallKind {
    pub(crate) const OPEN_STREAM: Self = CallKind::GrpcStream { closed: false, ended: false };

    fn is_ended(self) -> bool {
        matches!(self, CallKind::GrpcStream { ended: true, .. })
    }
}

/// The number of the lower bits of an id that are the kind of the call, in Envoy.
const KIND_BITS: u32 = 2;

impl CallKind {
    /// The kind in the lower bits of an id.
    fn bits(self) -> u32 {
        match self {
            CallKind::Http => 0,
            CallKind::GrpcUnary => 1,
            CallKind::GrpcStream { .. } => 2,
        }
    }
}

/// What the lower bits of an id say about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdKind {
    /// Ids have no kind.
    Any,
    GrpcUnary,
    GrpcStream,
    /// Not a gRPC call.
    Other,
}

impl Calls {
    fn new(ids_have_kind: bool) -> Calls {
        Calls { ids_have_kind, ..Calls::default() }
    }

    /// The kind that an id has, whether or not the call exists.
    pub(crate) fn id_kind(&self, id: u32) -> IdKind {
        match id & ((1 << KIND_BITS) - 1) {
            _ if !self.ids_have_kind => IdKind::Any,
            1 => IdKind::GrpcUnary,
            2 => IdKind::GrpcStream,
            _ => IdKind::Other,
        }
    }

    /// Adds a call and returns its id; `None` if `limit` calls are open.
    pub(crate) fn insert(&mut self, call: Call, limit: usize) -> Option<u32> {
        if self.open.len() >= limit {
            // A stream that has ended has no response left to wait for.
            let ended = self.open.iter().find(|(_, call)| call.kind.is_ended())?;
            let id = *ended.0;
            self.open.remove(&id);
        }
        let id = self.next_id(call.kind);
        self.open.insert(id, call);
        Some(id)
    }

    /// The id of the next call of this kind.
    pub(crate) fn next_id(&mut self, kind: CallKind) -> u32 {
        let bits = if self.ids_have_kind { kind.bits() } else { 0 };
        let shift = if self.ids_have_kind { KIND_BITS } else { 0 };
        let count = &mut self.counts[bits as usize];
        loop {
            *count = count.wrapping_add(1);
            let id = (*count << shift) | bits;
            if id >> shift != 0 && !self.open.contains_key(&id) {
                return id;
            }
        }
    }

    pub(crate) fn get(&self, id: u32) -> Option<Call> {
        self.open.get(&id).copied()
    }

    pub(crate) fn remove(&mut self, id: u32) {
        self.open.remove(&id);
    }

    /// Marks the guest's side of a gRPC stream as ended.
    pub(crate) fn close_stream(&mut self, id: u32) {
        if let Some(call) = self.open.get_mut(&id) {
            call.kind = CallKind::GrpcStream { closed: true, ended: call.kind.is_ended() };
        }
    }

    /// Records that the upstream has ended a call. `keeps_streams`: a stream stays until the guest
    /// closes it.
    pub(crate) fn end(&mut self, id: u32, keeps_streams: bool) {
        match self.open.get_mut(&id) {
            Some(Call { kind: CallKind::GrpcStream { closed, ended }, .. }) if keeps_streams => {
                (*closed, *ended) = (true, true);
            }
            _ => self.remove(id),
        }
    }
}

/// Bytes charged for each effect in addition to its content, so that empty effects count too.
const OVERHEAD: usize = 64;

impl State {
    pub(crate) fn new(process: &Process, options: VmOptions, limits: Arc<Limits>) -> State {
        let id = process.next_vm_id();
        State {
            rules: process.profile().rules(),
            process: process.clone(),
            options,
            id,
            memory: None,
            allocate: None,
            phase: Phase::Starting,
            store_limits: StoreLimitsBuilder::new()
                .memory_size(limits.memory_bytes)
                .table_elements(limits.table_elements)
                .build(),
            contexts: Contexts::default(),
            effective: None,
            subject: Subject::None,
            call_status: (0, String::new()),
            calls: Calls::new(process.profile().rules().call_ids_have_kind),
            failed_calls: VecDeque::new(),
            in_log: None,
            pauses_callback: false,
            random: Rng::with_seed(process.seed() ^ id.rotate_left(32)),
            actions: Actions::default(),
            effects: Vec::new(),
            fuel: 0,
            cost: Cost::default(),
            effect_bytes: 0,
            log_bytes: 0,
            stream_bytes: 0,
            dropped_logs: 0,
            reported_drops: 0,
            limits,
        }
    }

    /// Why a callback trapped.
    pub(crate) fn trap_reason(&self, error: &wasmtime::Error) -> TrapReason {
        match TrapReason::from_error(error, &self.limits) {
            TrapReason::Budget { .. } if self.process.is_exhausted() => TrapReason::TotalBudget,
            reason => reason,
        }
    }

    /// Fails if the guest may not make host calls in this phase. Logging is always allowed.
    pub(crate) fn check_phase(&self, call: &'static str) -> Result<(), HostTrap> {
        let during = match self.phase {
            Phase::Running => return Ok(()),
            Phase::Starting => "its module starts",
            Phase::Allocating => "its allocator runs",
        };
        Err(HostTrap(TrapReason::Forbidden { call, during }))
    }

    /// Counts the bytes of an effect against the limit, until the effects are drained.
    pub(crate) fn charge_effect(&mut self, bytes: usize) -> Result<(), Status> {
        let bytes = self.effect_bytes.saturating_add(bytes).saturating_add(OVERHEAD);
        if bytes > self.limits.effect_bytes {
            return Err(Status::InternalFailure);
        }
        self.effect_bytes = bytes;
        Ok(())
    }

    pub(crate) fn log(&mut self, level: LogLevel, text: &[u8]) {
        let bytes = text.len() + OVERHEAD;
        if self.log_bytes + bytes > self.limits.log_bytes {
            self.dropped_logs += 1;
            return;
        }
        self.log_bytes += bytes;
        let text = String::from_utf8_lossy(text).into_owned();
        self.effects.push(Effect::Log { level, text });
    }

    pub(crate) fn drain_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
        (self.effect_bytes, self.log_bytes) = (0, 0);
    }

    /// Puts an action for the context in this slot into the queue, and counts its bytes against the
    /// limit for effects.
    pub(crate) fn defer(&mut self, slot: u32, action: Action) -> Result<(), Status> {
        let bytes = match &action {
            Action::Reply(reply) => reply.byte_size(),
            Action::Continue(_) | Action::Close(_) | Action::Done => 0,
        };
        self.charge_effect(bytes)?;
        self.actions.push(self.contexts.at(slot).id, action);
        Ok(())
    }

    /// Removes a context. The calls of a plugin end with it.
    pub(crate) fn remove_context(&mut self, slot: u32) {
        if self.contexts.plugin(slot).is_some() {
            self.calls.open.retain(|_, call| call.plugin != slot);
        }
        self.contexts.remove(slot);
    }
}
