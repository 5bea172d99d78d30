//! What a virtual machine's host functions can reach: everything of it but the guest itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use wasmtime::{Memory, StoreLimits, StoreLimitsBuilder, TypedFunc};

use crate::abi::{LogLevel, Status};
use crate::context::Contexts;
use crate::effect::Effect;
use crate::headers::HeaderMap;
use crate::limits::Limits;
use crate::process::Process;
use crate::profile::Rules;
use crate::trap::{HostTrap, TrapReason};
use crate::vm::VmOptions;

/// The host's half of a virtual machine.
pub(crate) struct State {
    pub(crate) rules: &'static Rules,
    pub(crate) limits: Arc<Limits>,
    pub(crate) process: Process,
    pub(crate) options: VmOptions,
    pub(crate) vm: u64,
    /// The guest's memory; not there yet while the module's own start function runs.
    pub(crate) memory: Option<Memory>,
    /// The guest's allocator; taken out while it runs.
    pub(crate) allocate: Option<TypedFunc<(u32,), u32>>,
    pub(crate) mode: Mode,
    pub(crate) growth: StoreLimits,
    pub(crate) contexts: Contexts,
    /// Slot of the context for which host functions act.
    pub(crate) current: Option<u32>,
    /// What the running callback was called about.
    pub(crate) subject: Subject,
    /// Code and text that `proxy_get_status` gives.
    pub(crate) status: (u32, String),
    pub(crate) calls: Calls,
    pub(crate) random: Random,
    /// Slots whose contexts have something pending.
    pub(crate) touched: VecDeque<u32>,
    pub(crate) effects: Vec<Effect>,
    effect_bytes: usize,
    log_bytes: usize,
    pub(crate) dropped_logs: u64,
}

/// What the guest is doing, which decides what it may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Starting,
    Running,
    Allocating,
}

/// What a plugin's callback was called about; it can be read while the callback runs.
#[derive(Debug, Default)]
pub(crate) enum Subject {
    #[default]
    Nothing,
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

/// Calls that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) pending: BTreeMap<u32, Call>,
    last: u32,
}

#[derive(Debug)]
pub(crate) struct Call {
    /// Slot of the plugin context that gets the answer.
    pub(crate) plugin: u32,
    pub(crate) kind: CallKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    Http,
    GrpcUnary,
    /// `closed`: the guest has ended its side.
    GrpcStream {
        closed: bool,
    },
}

impl Calls {
    /// A number for a new call, unless too many wait already.
    pub(crate) fn open(&mut self, plugin: u32, kind: CallKind, limit: usize) -> Option<u32> {
        if self.pending.len() >= limit {
            return None;
        }
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.pending.contains_key(&self.last) {
                self.pending.insert(self.last, Call { plugin, kind });
                return Some(self.last);
            }
        }
    }
}

/// SplitMix64: small, fast, and the same on every machine. Guests that need secrets are not run here.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

/// What an effect costs beside its bytes, so that empty ones are not free.
const OVERHEAD: usize = 64;

impl State {
    pub(crate) fn new(process: &Process, options: VmOptions, limits: Arc<Limits>) -> State {
        let vm = process.next_vm();
        let mut seed = Random(process.seed() ^ vm.rotate_left(32));
        State {
            rules: process.profile().rules(),
            process: process.clone(),
            options,
            vm,
            memory: None,
            allocate: None,
            mode: Mode::Starting,
            growth: StoreLimitsBuilder::new()
                .memory_size(limits.memory_bytes)
                .table_elements(limits.table_elements)
                .build(),
            contexts: Contexts::default(),
            current: None,
            subject: Subject::Nothing,
            status: (0, String::new()),
            calls: Calls::default(),
            random: Random(seed.next()),
            touched: VecDeque::new(),
            effects: Vec::new(),
            effect_bytes: 0,
            log_bytes: 0,
            dropped_logs: 0,
            limits,
        }
    }

    /// Whether the guest may call this host function now. Logging it may always.
    pub(crate) fn admit(&self, call: &'static str) -> Result<(), HostTrap> {
        let during = match self.mode {
            Mode::Running => return Ok(()),
            Mode::Starting => "its module starts",
            Mode::Allocating => "its allocator runs",
        };
        Err(HostTrap(TrapReason::Forbidden { call, during }))
    }

    /// Counts what the guest makes the host keep until the effects are drained.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Status> {
        let bytes = self.effect_bytes.saturating_add(bytes).saturating_add(OVERHEAD);
        if bytes > self.limits.effect_bytes {
            return Err(Status::InternalFailure);
        }
        self.effect_bytes = bytes;
        Ok(())
    }

    pub(crate) fn log(&mut self, level: LogLevel, text: &[u8]) {
        let cost = text.len() + OVERHEAD;
        if self.log_bytes + cost > self.limits.log_bytes {
            self.dropped_logs += 1;
            return;
        }
        self.log_bytes += cost;
        let text = String::from_utf8_lossy(text).into_owned();
        self.effects.push(Effect::Log { level, text });
    }

    pub(crate) fn drain_effects(&mut self, into: &mut Vec<Effect>) {
        into.append(&mut self.effects);
        (self.effect_bytes, self.log_bytes) = (0, 0);
    }

    /// Notes that the context has something pending, once.
    pub(crate) fn touch(&mut self, slot: u32) -> &mut crate::context::Pending {
        let pending = &mut self.contexts.at_mut(slot).pending;
        if !pending.queued {
            pending.queued = true;
            self.touched.push_back(slot);
        }
        pending
    }
}
