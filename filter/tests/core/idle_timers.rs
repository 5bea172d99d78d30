//! Idle timeouts: no stream ends early, none ends later than the ticks allow, each ends once.

use proptest::prelude::*;
use sluice_filter::config::Span;
use sluice_filter::idle_timers::{Expired, IdleTimers, ResponseKind, TimerId, WaitsFor};
use sluice_filter::policy::IdleTimeouts;
use sluice_filter::reason::Reason;
use sluice_filter::rules::TICKS_PER_REFRESH;

const REFRESH_MS: u64 = 240;
const TICK_MS: u64 = REFRESH_MS / TICKS_PER_REFRESH;
const LIMIT: usize = 1_000;

fn span(ms: u64) -> Span {
    Span::from_millis(ms)
}

const fn timeouts(read: Option<Span>, send: Option<Span>) -> IdleTimeouts {
    IdleTimeouts { read, send }
}

/// A plugin whose host ticks on time.
struct Plugin {
    timers: IdleTimers<()>,
    now_ms: u64,
}

impl Plugin {
    fn new() -> Self {
        let mut timers = IdleTimers::default();
        let now_ms = 1_700_000_000_000;
        timers.set_tick_period(span(TICK_MS), Some(now_ms));
        Self { timers, now_ms }
    }

    fn tick(&mut self) -> Vec<Expired<()>> {
        self.tick_after(TICK_MS)
    }

    fn tick_after(&mut self, ms: u64) -> Vec<Expired<()>> {
        self.now_ms += ms;
        self.timers.expire(Some(self.now_ms), LIMIT)
    }

    /// Ticks until a stream expires. Returns it, and how long that took.
    fn until_expired(&mut self) -> (Vec<Expired<()>>, u64) {
        let began = self.now_ms;
        loop {
            let expired = self.tick();
            if !expired.is_empty() {
                return (expired, self.now_ms - began);
            }
            assert!(self.now_ms - began < 3_600_000, "no stream expired");
        }
    }

    fn read(&mut self, context: u32, ms: u64) -> TimerId {
        self.timers.start(context, timeouts(Some(span(ms)), None), WaitsFor::Response, ())
    }
}

#[test]
fn the_read_timeout_limits_the_wait_for_headers_and_each_gap_of_an_open_stream() {
    let mut plugin = Plugin::new();
    let waits = plugin.read(7, 1_000);
    let (expired, took) = plugin.until_expired();
    assert_eq!(
        expired,
        [Expired { context: 7, reason: Reason::ReadTimeout, has_response: false, owner: () }]
    );
    assert!((1_000..=1_000 + REFRESH_MS).contains(&took), "{took}");
    assert_eq!(plugin.timers.end_reason(waits), Some(Reason::ReadTimeout));

    let streams = plugin.read(8, 1_000);
    plugin.timers.response_started(streams, ResponseKind::Unbounded);
    for _ in 0..100 {
        plugin.timers.response_chunk(streams, 1);
        assert_eq!(plugin.tick(), []);
    }
    let (expired, took) = plugin.until_expired();
    assert!(expired[0].has_response && expired.len() == 1, "{expired:?}");
    assert!((1_000..=1_000 + REFRESH_MS).contains(&took), "{took}");

    let done = plugin.read(9, 1_000);
    plugin.timers.response_started(done, ResponseKind::Unbounded);
    plugin.timers.response_complete(done);
    assert!((0..100).all(|_| plugin.tick().is_empty()));
}

#[test]
fn the_send_timeout_limits_an_upload_and_the_read_timeout_starts_at_its_end() {
    let mut plugin = Plugin::new();
    let both = timeouts(Some(span(500)), Some(span(2_000)));
    let timer = plugin.timers.start(1, both, WaitsFor::Upload, ());
    for _ in 0..20 {
        plugin.timers.upload_chunk(timer);
        assert_eq!(plugin.tick(), [], "the upstream cannot respond yet");
    }
    plugin.timers.upload_complete(timer);
    let (expired, took) = plugin.until_expired();
    assert_eq!(expired[0].reason, Reason::ReadTimeout);
    assert!((500..=500 + REFRESH_MS).contains(&took), "{took}");

    plugin.timers.start(2, both, WaitsFor::Upload, ());
    let (expired, took) = plugin.until_expired();
    assert_eq!((expired[0].context, expired[0].reason), (2, Reason::SendTimeout));
    assert!((2_000..=2_000 + REFRESH_MS).contains(&took), "{took}");
}

#[test]
fn a_chunk_of_an_upload_restarts_the_read_timeout_of_a_response_that_has_begun() {
    let mut plugin = Plugin::new();
    let both = timeouts(Some(span(500)), Some(span(2_000)));
    let timer = plugin.timers.start(1, both, WaitsFor::Upload, ());
    plugin.timers.response_started(timer, ResponseKind::Unbounded);
    for _ in 0..20 {
        plugin.timers.upload_chunk(timer);
        assert_eq!(plugin.tick(), []);
    }
    let (expired, took) = plugin.until_expired();
    assert_eq!((expired[0].reason, expired[0].has_response), (Reason::ReadTimeout, true));
    assert!((500..=500 + REFRESH_MS).contains(&took), "{took}");

    let alike = timeouts(Some(span(500)), Some(span(500)));
    let timer = plugin.timers.start(3, alike, WaitsFor::Upload, ());
    plugin.timers.response_started(timer, ResponseKind::Unbounded);
    plugin.timers.upload_chunk(timer);
    assert_eq!(plugin.until_expired().0[0].reason, Reason::SendTimeout);

    let timer = plugin.timers.start(2, both, WaitsFor::Upload, ());
    plugin.timers.response_started(timer, ResponseKind::Unbounded);
    plugin.timers.response_complete(timer);
    plugin.timers.upload_chunk(timer);
    assert!((0..100).all(|_| plugin.tick().is_empty()), "the response is complete");
}

#[test]
fn a_response_that_begins_while_the_upload_is_buffered_is_not_late() {
    let mut plugin = Plugin::new();
    let timer = plugin.timers.start(1, timeouts(Some(span(500)), None), WaitsFor::Buffering, ());
    plugin.timers.response_started(timer, ResponseKind::Unbounded);
    plugin.timers.response_chunk(timer, 1);
    assert!((0..100).all(|_| plugin.tick().is_empty()));
    plugin.timers.upload_complete(timer);
    assert_eq!(plugin.until_expired().0[0].reason, Reason::ReadTimeout);
}

#[test]
fn only_the_start_of_a_response_with_a_length_is_watched() {
    for (kind, ends) in [(ResponseKind::Sized(1000), false), (ResponseKind::Unbounded, true)] {
        let mut plugin = Plugin::new();
        let timer = plugin.read(1, 500);
        plugin.timers.response_started(timer, kind);
        plugin.timers.response_chunk(timer, 1000);
        assert_eq!((0..100).any(|_| !plugin.tick().is_empty()), ends, "{kind:?}");
        let timer = plugin.read(2, 500);
        plugin.timers.response_started(timer, kind);
        plugin.timers.response_chunk(timer, 999);
        assert_eq!(plugin.until_expired().0[0].context, 2, "{kind:?}");
    }
}

#[test]
fn no_timer_runs_while_the_filter_buffers_an_upload() {
    let mut plugin = Plugin::new();
    let both = timeouts(Some(span(500)), Some(span(500)));
    let timer = plugin.timers.start(1, both, WaitsFor::Buffering, ());
    assert!((0..100).all(|_| plugin.tick().is_empty()));
    plugin.timers.upload_complete(timer);
    assert_eq!(plugin.until_expired().0[0].reason, Reason::ReadTimeout);
}

#[test]
fn bytes_in_either_direction_keep_a_tunnel_open() {
    let mut plugin = Plugin::new();
    let timer =
        plugin.timers.start(1, timeouts(Some(span(500)), Some(span(700))), WaitsFor::Response, ());
    plugin.timers.response_started(timer, ResponseKind::Tunnel);
    for chunk in 0..40 {
        match chunk % 2 {
            0 => plugin.timers.upload_chunk(timer),
            _ => plugin.timers.response_chunk(timer, 1),
        }
        assert!((0..4).all(|_| plugin.tick().is_empty()), "320 ms are within both");
    }
    let (expired, _) = plugin.until_expired();
    assert_eq!((expired[0].reason, expired[0].has_response), (Reason::ReadTimeout, true));
}

#[test]
fn an_idle_tunnel_with_equal_timeouts_ends_by_the_read_timeout() {
    let mut plugin = Plugin::new();
    let both = timeouts(Some(span(500)), Some(span(500)));
    let timer = plugin.timers.start(1, both, WaitsFor::Response, ());
    plugin.timers.response_started(timer, ResponseKind::Tunnel);
    plugin.timers.response_chunk(timer, 1);
    let (expired, _) = plugin.until_expired();
    assert_eq!(expired[0].reason, Reason::ReadTimeout);
}

#[test]
fn a_tunnel_whose_client_has_ended_has_no_send_timeout() {
    let mut plugin = Plugin::new();
    let timer = plugin.timers.start(1, timeouts(None, Some(span(700))), WaitsFor::Response, ());
    plugin.timers.response_started(timer, ResponseKind::Tunnel);
    plugin.timers.upload_complete(timer);
    plugin.timers.response_chunk(timer, 1);
    assert!((0..100).all(|_| plugin.tick().is_empty()));
}

#[test]
fn a_suspended_worker_or_a_clock_that_jumps_ends_no_stream() {
    let mut plugin = Plugin::new();
    let timer = plugin.read(1, 60_000);
    assert_eq!(plugin.tick_after(3_600_000), [], "the worker did not read for an hour");
    plugin.now_ms -= 7_200_000;
    assert_eq!(plugin.tick(), []);
    assert_eq!(plugin.timers.end_reason(timer), None);
    let (_, took) = plugin.until_expired();
    assert!(took <= 60_000 + REFRESH_MS, "{took}");
}

#[test]
fn streams_over_the_limit_of_a_tick_end_in_later_ticks_each_once() {
    let mut plugin = Plugin::new();
    let ids: Vec<TimerId> = (0..100).map(|context| plugin.read(context, 500)).collect();
    plugin.tick_after(TICK_MS);
    let mut ended = Vec::new();
    while ended.len() < 100 {
        plugin.now_ms += TICK_MS;
        let expired = plugin.timers.expire(Some(plugin.now_ms), 32);
        assert!(expired.len() <= 32);
        ended.extend(expired.into_iter().map(|expired| expired.context));
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..100).collect::<Vec<_>>());
    ids.into_iter().for_each(|timer| plugin.timers.remove(timer));
    assert!((0..100).all(|_| plugin.tick().is_empty()));
}

proptest! {
    /// Chunks arrive at any time between two ticks, and a busy worker ticks late. A stream never
    /// ends before its timeout. On a worker that ticks on time, it ends within a refresh after it.
    #[test]
    fn a_stream_ends_after_its_timeout_and_within_a_refresh(
        limit in 1_u64..5_000,
        chunks in proptest::collection::vec(0_u64..3_000, 1..20),
        delays in proptest::collection::vec(0_u64..200, 1..50),
        is_idle: bool,
    ) {
        let mut plugin = Plugin::new();
        let timer = plugin.read(1, limit);
        let mut delays = delays.into_iter().cycle();
        let mut next_tick = plugin.now_ms + TICK_MS;
        let mut now = plugin.now_ms;
        let mut last = now;
        let mut chunks = chunks.into_iter().map(|gap| gap.min(limit)).peekable();
        let ended = loop {
            let chunk = chunks.peek().map(|gap| last + gap);
            match chunk {
                Some(at) if at < next_tick => {
                    chunks.next();
                    (now, last) = (at, at);
                    plugin.timers.response_chunk(timer, 1);
                }
                _ => {
                    now = next_tick;
                    let late = if is_idle { 0 } else { delays.next().unwrap_or(0) };
                    next_tick = now + TICK_MS + late;
                    if !plugin.timers.expire(Some(now), LIMIT).is_empty() {
                        break now;
                    }
                }
            }
            prop_assert!(now < plugin.now_ms + 3_600_000, "the stream did not end");
        };
        prop_assert!(ended - last >= limit, "{} after {limit}", ended - last);
        if is_idle {
            prop_assert!(ended - last <= limit + REFRESH_MS, "{} after {limit}", ended - last);
        }
    }
}
