//! Which kinds of fault happen together. A kind does not repeat before every other one has happened.

use fastrand::Rng;

use super::plan::Mode;

/// The kinds of fault that have not happened.
#[derive(Debug, Clone)]
pub(super) struct Deck {
    cards: Vec<Card>,
    is_steady: bool,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Card {
    StoreRefuses,
    StoreHangs,
    StoreSlow,
    StoreHalf,
    StoreNonsense,
    StoreLosesData,
    FastPushes,
    NewModule,
    Crash,
    CrashAll,
    ListenerUpdate,
    OwnDrain,
    HotRestart,
    Suspend,
    LongSuspend,
}

impl Card {
    const ALL: [Self; 15] = [
        Self::StoreRefuses,
        Self::StoreHangs,
        Self::StoreSlow,
        Self::StoreHalf,
        Self::StoreNonsense,
        Self::StoreLosesData,
        Self::FastPushes,
        Self::NewModule,
        Self::Crash,
        Self::CrashAll,
        Self::ListenerUpdate,
        Self::OwnDrain,
        Self::HotRestart,
        Self::Suspend,
        Self::LongSuspend,
    ];

    pub(super) fn is_of_store(self) -> bool {
        matches!(
            self,
            Self::StoreRefuses
                | Self::StoreHangs
                | Self::StoreSlow
                | Self::StoreHalf
                | Self::StoreNonsense
                | Self::StoreLosesData
        )
    }

    /// Whether the fault stops or replaces a process, or starts a drain of Envoy. Two of them at
    /// once could cut requests by Envoy's own rules.
    fn is_of_process(self) -> bool {
        matches!(
            self,
            Self::ListenerUpdate
                | Self::OwnDrain
                | Self::HotRestart
                | Self::Suspend
                | Self::LongSuspend
        )
    }

    fn replaces_process(self) -> bool {
        matches!(self, Self::OwnDrain | Self::HotRestart)
    }

    /// Whether only a `reload` shows an effect of the fault.
    fn needs_reload(self) -> bool {
        matches!(self, Self::NewModule | Self::CrashAll)
    }

    /// Whether both can happen in one epoch.
    fn fits(self, other: Self) -> bool {
        let both = |is: fn(Self) -> bool| is(self) && is(other);
        let one = |is: fn(Self) -> bool, needs: Self| {
            (is(self) && other == needs) || (is(other) && self == needs)
        };
        self != other
            && !both(Self::is_of_process)
            && !both(Self::is_of_store)
            // Each needs another kind of drain.
            && !one(Self::needs_reload, Self::FastPushes)
            // A store that fails, or a process that does not run, makes a late drain legitimate.
            // After some time, a VM that replaces a crashed one knows the connections again.
            && !one(Self::is_of_store, Self::FastPushes)
            && !one(Self::is_of_process, Self::FastPushes)
            && !one(Self::is_of_store, Self::CrashAll)
    }
}

impl Deck {
    /// A `steady` deck has no fault that replaces a process.
    pub(super) fn new(is_steady: bool) -> Self {
        Self { cards: Vec::new(), is_steady }
    }

    /// One to three kinds of fault that can happen together.
    pub(super) fn draw(&mut self, mode: Mode, rng: &mut Rng) -> Vec<Card> {
        let mut drawn: Vec<Card> = Vec::new();
        for _ in 0..rng.usize(1..=3) {
            let fits = |card: &Card| {
                (mode == Mode::Reload || !card.needs_reload())
                    && drawn.iter().all(|other| card.fits(*other))
            };
            if !self.cards.iter().any(fits) {
                let mut cards = Card::ALL.to_vec();
                cards.retain(|card| !self.is_steady || !card.replaces_process());
                rng.shuffle(&mut cards);
                self.cards.extend(cards);
            }
            if let Some(index) = self.cards.iter().position(fits) {
                drawn.push(self.cards.remove(index));
            }
        }
        drawn
    }
}
