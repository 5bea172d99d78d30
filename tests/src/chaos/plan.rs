//! The plan of a run: which drain each epoch starts, and which faults happen around it. A plan is a
//! function of its seed.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use super::deck::{Card, Deck};
use super::fault::{Fault, Nonsense, PlannedFault};

/// The number of proxies.
pub const PROXIES: usize = 2;

/// The plan of a run: an endless sequence of epochs.
#[derive(Debug, Clone)]
pub struct Plan {
    rng: Rng,
    /// The settings of each proxy.
    pub proxies: [ProxyPlan; PROXIES],
    deck: Deck,
    nonsense: Vec<Nonsense>,
    number: u64,
    /// The number of the next epoch that terminates. The one after it ends that.
    next_terminate: u64,
}

/// The settings of one proxy for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyPlan {
    /// Its workers.
    pub workers: usize,
    /// `drain.refresh`.
    pub refresh: Duration,
}

/// One drain and the faults around it. Times count from the start of the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochPlan {
    /// The number of the drain.
    pub number: u64,
    /// Which connections close.
    pub mode: Mode,
    /// Where the drain is written.
    pub source: Source,
    /// When it is written.
    pub at: Duration,
    /// The time over which the closes spread.
    pub window: Duration,
    /// Whether the clients send only short requests. A slow request keeps its VM alive, and a VM
    /// that has been replaced could then still help the next one.
    pub is_quick: bool,
    /// The faults, in the order of their starts.
    pub faults: Vec<PlannedFault>,
}

/// The mode of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Old connections close.
    Reload,
    /// All connections close.
    Terminate,
    /// No connection closes.
    Off,
}

/// Where a drain is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The key in etcd.
    Store,
    /// The admin path of each proxy.
    Admin,
    /// `drain.state` of a configuration push.
    Push,
    /// `drain.state` of a push that also brings another module.
    PushWithModule,
}

impl Plan {
    /// The plan of a seed. A `steady` plan never replaces a process, so that its memory can be
    /// watched.
    pub fn new(seed: u64, is_steady: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut refreshes = [Duration::from_millis(250), Duration::from_secs(1)];
        rng.shuffle(&mut refreshes);
        let mut workers = [1, 2, 3, 4];
        rng.shuffle(&mut workers);
        let proxy = |index: usize| ProxyPlan { workers: workers[index], refresh: refreshes[index] };
        let proxies = [proxy(0), proxy(1)];
        Self {
            rng,
            proxies,
            deck: Deck::new(is_steady),
            nonsense: Vec::new(),
            number: 0,
            next_terminate: 4,
        }
    }

    /// The plan of the next epoch.
    pub fn next_epoch(&mut self) -> EpochPlan {
        self.number += 1;
        let mode = if self.number == self.next_terminate {
            Mode::Terminate
        } else if self.number == self.next_terminate + 1 {
            self.next_terminate += self.rng.u64(6..=9);
            Mode::Off
        } else {
            Mode::Reload
        };
        let cards = self.deck.draw(mode, &mut self.rng);
        let source = self.source(&cards, mode);
        let is_quick = match source {
            Source::PushWithModule => self.rng.u8(..4) > 0,
            _ => self.rng.u8(..6) == 0,
        };
        // The slow requests of the epoch before have to end.
        let at = if is_quick { self.between(5000, 6000) } else { self.between(800, 1600) };
        let faults = self.faults(&cards, at);
        let window = match mode {
            Mode::Off => Duration::from_millis(1),
            Mode::Terminate | Mode::Reload => self.between(1, 1500),
        };
        EpochPlan { number: self.number, mode, source, at, window, is_quick, faults }
    }

    fn source(&mut self, cards: &[Card], mode: Mode) -> Source {
        // After a hot restart, a configuration with `terminate` would start that drain again.
        if cards.contains(&Card::NewModule) && mode == Mode::Reload {
            return Source::PushWithModule;
        }
        // A poll takes so long that most connections have made a request before the new VMs learn
        // the drain.
        if cards.contains(&Card::CrashAll) && self.rng.u8(..4) > 0 {
            let pushes = mode == Mode::Reload && self.rng.bool();
            return if pushes { Source::Push } else { Source::Admin };
        }
        let needs_store = |card: &Card| card.is_of_store() || *card == Card::FastPushes;
        if cards.iter().any(needs_store) && self.rng.u8(..4) > 0 {
            return Source::Store;
        }
        match self.rng.u8(..3) {
            0 => Source::Store,
            1 => Source::Admin,
            _ if mode == Mode::Reload && !cards.contains(&Card::FastPushes) => Source::Push,
            _ => Source::Admin,
        }
    }

    /// The faults of an epoch whose drain is written at this time.
    fn faults(&mut self, cards: &[Card], drain: Duration) -> Vec<PlannedFault> {
        let mut faults: Vec<PlannedFault> =
            cards.iter().filter_map(|card| self.fault(*card, drain)).collect();
        faults.sort_by_key(|fault| fault.at);
        faults
    }

    /// `None` for a new module, which comes with the drain.
    fn fault(&mut self, card: Card, drain: Duration) -> Option<PlannedFault> {
        let proxy = self.rng.usize(..PROXIES);
        let before = self.between(100, 800);
        let mut at = drain.saturating_sub(before) + self.between(0, 1000);
        let mut lasts = Duration::ZERO;
        let some_time = self.between(1500, 3500);
        let fault = match card {
            Card::NewModule => return None,
            Card::StoreLosesData => {
                lasts = some_time / 2;
                Fault::StoreLosesData { keeps_older: self.rng.bool() }
            }
            Card::FastPushes => {
                at = drain.saturating_sub(before);
                // Long enough to be late for certain, if the pushes prevent the drain.
                lasts = 10 * self.proxies[proxy].refresh + Duration::from_secs(8);
                Fault::FastPushes { proxy }
            }
            Card::Crash => Fault::Crash { proxy, all: false },
            Card::CrashAll => {
                at = drain.saturating_sub(before / 4);
                Fault::Crash { proxy, all: true }
            }
            Card::ListenerUpdate => Fault::ListenerUpdate { proxy, whole: self.rng.bool() },
            Card::HotRestart => Fault::HotRestart { proxy },
            Card::OwnDrain => {
                lasts = some_time;
                Fault::OwnDrain { proxy }
            }
            Card::Suspend => {
                lasts = some_time;
                Fault::Suspend { proxy }
            }
            Card::LongSuspend => {
                lasts = self.between(10_500, 12_500);
                Fault::Suspend { proxy }
            }
            of_store => {
                lasts = some_time;
                self.store_fault(of_store)
            }
        };
        Some(PlannedFault { at, lasts, fault })
    }

    fn store_fault(&mut self, card: Card) -> Fault {
        match card {
            Card::StoreRefuses => Fault::StoreRefuses,
            Card::StoreHangs => Fault::StoreHangs,
            Card::StoreSlow => Fault::StoreSlow(self.between(50, 700)),
            Card::StoreHalf => Fault::StoreHalf { stalls: self.rng.bool() },
            _ => {
                if self.nonsense.is_empty() {
                    self.nonsense.extend(Nonsense::ALL);
                    self.rng.shuffle(&mut self.nonsense);
                }
                Fault::StoreNonsense(self.nonsense.pop().unwrap_or(Nonsense::NotHttp))
            }
        }
    }

    fn between(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from_ms..=to_ms))
    }
}

impl Mode {
    /// The word in a drain record.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Terminate => "terminate",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "etcd",
            Self::Admin => "admin path",
            Self::Push => "push",
            Self::PushWithModule => "push with a new module",
        })
    }
}

impl fmt::Display for EpochPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, mode, source, at, window, is_quick, faults } = self;
        let mode = mode.word();
        write!(f, "epoch {number}: {mode} by {source} at {at:.1?}, window {window:?}")?;
        if *is_quick {
            f.write_str(", short requests")?;
        }
        for fault in faults {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}
