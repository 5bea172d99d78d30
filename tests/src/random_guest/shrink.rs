//! Makes a case that differs smaller: removes one part at a time, while a difference remains.

use super::case::Case;
use super::{Difference, compare};

/// The most rounds; each removes one part.
const ROUNDS: usize = 12;

/// Replaces the case by the smallest one that still differs.
pub(super) fn shrink(difference: &mut Difference) {
    for _ in 0..ROUNDS {
        let candidates = smaller(&difference.case);
        if candidates.is_empty() {
            return;
        }
        // All candidates run on one Envoy.
        let Some(found) = compare(&candidates).differences.into_iter().next() else { return };
        (difference.case, difference.lines) = (found.case, found.lines);
    }
}

/// The cases with one part less, the largest parts first.
fn smaller(case: &Case) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |change: &dyn Fn(&mut Case)| {
        let mut next = case.clone();
        change(&mut next);
        if next != *case {
            cases.push(next);
        }
    };
    for callback in case.program.keys() {
        add(&|next| drop(next.program.remove(callback)));
    }
    if case.request.trailers.is_empty() && case.response.trailers.is_empty() {
        add(&|next| next.http2 = false);
    }
    for (callback, section) in &case.program {
        for at in 0..section.calls.len() {
            add(&|next| {
                if let Some(section) = next.program.get_mut(callback) {
                    section.calls.remove(at);
                }
            });
        }
        add(&|next| {
            if let Some(section) = next.program.get_mut(callback) {
                section.returns = 0;
            }
        });
    }
    for response in [false, true] {
        let message = if response { &case.response } else { &case.request };
        let of = |next: &mut Case| match response {
            true => std::mem::take(&mut next.response),
            false => std::mem::take(&mut next.request),
        };
        let put = |next: &mut Case, message| match response {
            true => next.response = message,
            false => next.request = message,
        };
        for at in 0..message.headers.len() {
            add(&|next| {
                let mut message = of(next);
                message.headers.remove(at);
                put(next, message);
            });
        }
        for at in 0..message.chunks.len() {
            add(&|next| {
                let mut message = of(next);
                message.chunks.remove(at);
                message.has_length &= !message.chunks.is_empty();
                put(next, message);
            });
        }
        add(&|next| {
            let mut message = of(next);
            message.trailers.clear();
            put(next, message);
        });
        add(&|next| {
            let mut message = of(next);
            message.has_length = false;
            put(next, message);
        });
    }
    add(&|next| next.status = 200);
    cases
}
