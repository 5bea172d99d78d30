//! Streams that may not stay idle: never ended early, never late by more than the ticks allow, each ended once; and what a tick costs.

use proptest::prelude::*;
use sluice_filter::config::Span;
use sluice_filter::live::{Kind, Live, Over, Slot, Waits};
use sluice_filter::policy::IdleTimeouts;
use sluice_filter::reason::Reason;
use sluice_filter::rules::TICKS_PER_REFRESH;

const REFRESH_MS: u64 = 240;
const TICK_MS: u64 = REFRESH_MS / TICKS_PER_REFRESH;
const ROOM: usize = 1_000;

fn span(ms: u64) -> Span {
    Span::from_millis(ms)
}

const fn limits(read: Option<Span>, send: Option<Span>) -> IdleTimeouts {
    IdleTimeouts { read, send }
}

/// A plugin whose host ticks when it should, and whose clock starts at some moment.
struct Plugin {
    live: Live<()>,
    now_ms: u64,
}

impl Plugin {
    fn new() -> Self {
        let mut live = Live::default();
        let now_ms = 1_700_000_000_000;
        live.ticks_every(span(TICK_MS), Some(now_ms));
        Self { live, now_ms }
    }

    fn tick(&mut self) -> Vec<Over<()>> {
        self.tick_after(TICK_MS)
    }

    fn tick_after(&mut self, ms: u64) -> Vec<Over<()>> {
        self.now_ms += ms;
        self.live.tick(Some(self.now_ms), ROOM)
    }

    /// Ticks until something is over: what, and how long it took.
    fn until_over(&mut self) -> (Vec<Over<()>>, u64) {
        let began = self.now_ms;
        loop {
            let over = self.tick();
            if !over.is_empty() {
                return (over, self.now_ms - began);
            }
            assert!(self.now_ms - began < 3_600_000, "nothing was ever over");
        }
    }

    fn read(&mut self, context: u32, ms: u64) -> Slot {
        self.live.begin(context, limits(Some(span(ms)), None), Waits::ForUpstream, ())
    }
}

#[test]
fn the_wait_for_a_head_and_each_gap_are_limited_and_a_finished_stream_is_left_alone() {
    let mut plugin = Plugin::new();
    let waits = plugin.read(7, 1_000);
    let (over, took) = plugin.until_over();
    assert_eq!(over, [Over { context: 7, reason: Reason::ReadTimeout, begun: false, owner: () }]);
    assert!((1_000..=1_000 + REFRESH_MS).contains(&took), "{took}");
    assert_eq!(plugin.live.over(waits), Some(Reason::ReadTimeout));

    let streams = plugin.read(8, 1_000);
    plugin.live.answered(streams, Kind::Endless);
    for _ in 0..100 {
        plugin.live.received(streams, 1);
        assert_eq!(plugin.tick(), []);
    }
    let (over, took) = plugin.until_over();
    assert!(over[0].begun && over.len() == 1, "{over:?}");
    assert!((1_000..=1_000 + REFRESH_MS).contains(&took), "{took}");

    let done = plugin.read(9, 1_000);
    plugin.live.answered(done, Kind::Endless);
    plugin.live.completed(done);
    assert!((0..100).all(|_| plugin.tick().is_empty()));
}

#[test]
fn an_upload_is_watched_while_it_lasts_and_the_upstream_from_its_end_on() {
    let mut plugin = Plugin::new();
    let both = limits(Some(span(500)), Some(span(2_000)));
    let slot = plugin.live.begin(1, both, Waits::ForUpload, ());
    for _ in 0..20 {
        plugin.live.sent(slot);
        assert_eq!(plugin.tick(), [], "the upstream has nothing to answer yet");
    }
    plugin.live.asked(slot);
    let (over, took) = plugin.until_over();
    assert_eq!(over[0].reason, Reason::ReadTimeout);
    assert!((500..=500 + REFRESH_MS).contains(&took), "{took}");

    plugin.live.begin(2, both, Waits::ForUpload, ());
    let (over, took) = plugin.until_over();
    assert_eq!((over[0].context, over[0].reason), (2, Reason::SendTimeout));
    assert!((2_000..=2_000 + REFRESH_MS).contains(&took), "{took}");
}

/// A response that began early may wait for more of the upload.
#[test]
fn an_upload_that_goes_on_counts_for_a_response_that_has_begun() {
    let mut plugin = Plugin::new();
    let both = limits(Some(span(500)), Some(span(2_000)));
    let slot = plugin.live.begin(1, both, Waits::ForUpload, ());
    plugin.live.answered(slot, Kind::Endless);
    for _ in 0..20 {
        plugin.live.sent(slot);
        assert_eq!(plugin.tick(), []);
    }
    let (over, took) = plugin.until_over();
    assert_eq!((over[0].reason, over[0].begun), (Reason::ReadTimeout, true));
    assert!((500..=500 + REFRESH_MS).contains(&took), "{took}");

    let alike = limits(Some(span(500)), Some(span(500)));
    let slot = plugin.live.begin(3, alike, Waits::ForUpload, ());
    plugin.live.answered(slot, Kind::Endless);
    plugin.live.sent(slot);
    assert_eq!(plugin.until_over().0[0].reason, Reason::SendTimeout);

    let slot = plugin.live.begin(2, both, Waits::ForUpload, ());
    plugin.live.answered(slot, Kind::Endless);
    plugin.live.completed(slot);
    plugin.live.sent(slot);
    assert!((0..100).all(|_| plugin.tick().is_empty()), "nothing is waited for");
}

#[test]
fn a_response_that_begins_while_we_hold_the_upload_is_not_late() {
    let mut plugin = Plugin::new();
    let slot = plugin.live.begin(1, limits(Some(span(500)), None), Waits::ForUs, ());
    plugin.live.answered(slot, Kind::Endless);
    plugin.live.received(slot, 1);
    assert!((0..100).all(|_| plugin.tick().is_empty()));
    plugin.live.asked(slot);
    assert_eq!(plugin.until_over().0[0].reason, Reason::ReadTimeout);
}

#[test]
fn of_a_response_of_known_length_the_begin_is_watched() {
    for (kind, ends) in [(Kind::Sized(1000), false), (Kind::Endless, true)] {
        let mut plugin = Plugin::new();
        let slot = plugin.read(1, 500);
        plugin.live.answered(slot, kind);
        plugin.live.received(slot, 1000);
        assert_eq!((0..100).any(|_| !plugin.tick().is_empty()), ends, "{kind:?}");
        let slot = plugin.read(2, 500);
        plugin.live.answered(slot, kind);
        plugin.live.received(slot, 999);
        assert_eq!(plugin.until_over().0[0].context, 2, "{kind:?}");
    }
}

#[test]
fn no_clock_runs_while_the_filter_holds_an_upload() {
    let mut plugin = Plugin::new();
    let both = limits(Some(span(500)), Some(span(500)));
    let slot = plugin.live.begin(1, both, Waits::ForUs, ());
    assert!((0..100).all(|_| plugin.tick().is_empty()));
    plugin.live.asked(slot);
    assert_eq!(plugin.until_over().0[0].reason, Reason::ReadTimeout);
}

#[test]
fn a_tunnel_lives_by_either_direction() {
    let mut plugin = Plugin::new();
    let slot =
        plugin.live.begin(1, limits(Some(span(500)), Some(span(700))), Waits::ForUpstream, ());
    plugin.live.answered(slot, Kind::Tunnel);
    for piece in 0..40 {
        match piece % 2 {
            0 => plugin.live.sent(slot),
            _ => plugin.live.received(slot, 1),
        }
        assert!((0..4).all(|_| plugin.tick().is_empty()), "320 ms are within both");
    }
    let (over, _) = plugin.until_over();
    assert_eq!((over[0].reason, over[0].begun), (Reason::ReadTimeout, true));
}

#[test]
fn a_tunnel_whose_client_has_ended_waits_for_its_upstream_alone() {
    let mut plugin = Plugin::new();
    let slot = plugin.live.begin(1, limits(None, Some(span(700))), Waits::ForUpstream, ());
    plugin.live.answered(slot, Kind::Tunnel);
    plugin.live.asked(slot);
    plugin.live.received(slot, 1);
    assert!((0..100).all(|_| plugin.tick().is_empty()));
}

#[test]
fn a_worker_that_stood_still_and_a_clock_that_jumped_end_nothing() {
    let mut plugin = Plugin::new();
    let slot = plugin.read(1, 60_000);
    assert_eq!(plugin.tick_after(3_600_000), [], "nothing was read for an hour, by us");
    plugin.now_ms -= 7_200_000;
    assert_eq!(plugin.tick(), []);
    assert_eq!(plugin.live.over(slot), None);
    let (_, took) = plugin.until_over();
    assert!(took <= 60_000 + REFRESH_MS, "{took}");
}

#[test]
fn more_than_a_tick_may_end_are_ended_by_the_next_ones_each_once() {
    let mut plugin = Plugin::new();
    let slots: Vec<Slot> = (0..100).map(|context| plugin.read(context, 500)).collect();
    plugin.tick_after(TICK_MS);
    let mut ended = Vec::new();
    while ended.len() < 100 {
        plugin.now_ms += TICK_MS;
        let over = plugin.live.tick(Some(plugin.now_ms), 32);
        assert!(over.len() <= 32);
        ended.extend(over.into_iter().map(|over| over.context));
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..100).collect::<Vec<_>>());
    slots.into_iter().for_each(|slot| plugin.live.end(slot));
    assert!((0..100).all(|_| plugin.tick().is_empty()));
}

proptest! {
    /// Pieces at any moment between two ticks, ticks as late as a busy worker's: a stream is never ended before its limit is over, and on a
    /// worker that ticks in time not a refresh after it.
    #[test]
    fn never_early_and_late_by_a_refresh_at_most(
        limit in 1_u64..5_000,
        pieces in proptest::collection::vec(0_u64..3_000, 1..20),
        delays in proptest::collection::vec(0_u64..200, 1..50),
        is_idle: bool,
    ) {
        let mut plugin = Plugin::new();
        let slot = plugin.read(1, limit);
        let mut delays = delays.into_iter().cycle();
        let mut next_tick = plugin.now_ms + TICK_MS;
        let mut now = plugin.now_ms;
        let mut last = now;
        let mut pieces = pieces.into_iter().map(|gap| gap.min(limit)).peekable();
        let ended = loop {
            let piece = pieces.peek().map(|gap| last + gap);
            match piece {
                Some(at) if at < next_tick => {
                    pieces.next();
                    (now, last) = (at, at);
                    plugin.live.received(slot, 1);
                }
                _ => {
                    now = next_tick;
                    let late = if is_idle { 0 } else { delays.next().unwrap_or(0) };
                    next_tick = now + TICK_MS + late;
                    if !plugin.live.tick(Some(now), ROOM).is_empty() {
                        break now;
                    }
                }
            }
            prop_assert!(now < plugin.now_ms + 3_600_000, "never ended");
        };
        prop_assert!(ended - last >= limit, "{} after {limit}", ended - last);
        if is_idle {
            prop_assert!(ended - last <= limit + REFRESH_MS, "{} after {limit}", ended - last);
        }
    }
}
