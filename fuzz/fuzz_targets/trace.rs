//! Traces, and the replay of small ones without a filter.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_sim::replay::{Options, replay};
use sluice_sim::trace::{EventKind, Trace, body_len};

/// The bodies of a trace that is also replayed, in bytes.
const MAX_BODIES: u64 = 1 << 16;

fuzz_target!(|text: &str| {
    let Ok(trace) = Trace::parse("fuzz", text) else { return };
    let bodies: u64 = trace
        .events
        .iter()
        .map(|event| match &event.kind {
            EventKind::Exchange(exchange) => {
                let responses = exchange.upstream.iter().map(|attempt| &attempt.body);
                let all = responses.chain([&exchange.request.body]);
                all.map(|body| body_len(body) + chunks(body)).sum()
            }
            _ => 0,
        })
        .sum();
    if bodies <= MAX_BODIES {
        let _ = replay(None, &trace, &Options::default(), &mut |_| {});
    }
});

fn chunks(body: &[sluice_sim::trace::Chunk<'_>]) -> u64 {
    body.iter().map(|chunk| u64::from(chunk.times)).sum()
}
