//! Streams of an upstream: the boundaries and the events that the filter finds in them must not
//! depend on their division into chunks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice_filter::boundary::{BoundaryReader, Framing};
use sluice_filter::events::EventReader;

const FRAMINGS: [Framing; 5] =
    [Framing::Events, Framing::Lines, Framing::Grpc, Framing::WebSocket, Framing::Opaque];

/// Reads a stream in chunks of this size. Returns where it stands, and the number of chunks with an
/// event.
fn read(framing: Framing, stream: &[u8], size: usize) -> ((bool, bool, bool), usize) {
    let mut boundaries = BoundaryReader::new(framing);
    let mut events = EventReader::new(framing);
    let mut found = 0;
    for chunk in stream.chunks(size) {
        let needed = boundaries.needed_bytes(chunk.len());
        let boundary = boundaries.read(&chunk[chunk.len() - needed..], chunk.len());
        assert!(boundary.is_none_or(|boundary| boundary <= chunk.len()));
        if boundaries.is_at_boundary() {
            assert!(needed == 0 || boundary == Some(chunk.len()));
        }
        found += usize::from(events.read(chunk, |name| name == b"ping"));
    }
    let stands = (boundaries.is_at_boundary(), boundaries.is_broken(), boundaries.has_closed());
    (stands, found)
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([framing, size], stream)) = bytes.split_first_chunk() else { return };
    let framing = FRAMINGS[usize::from(*framing) % FRAMINGS.len()];
    let (stands, found) = read(framing, stream, 1);
    for size in [1 + usize::from(*size), stream.len().max(1)] {
        let divided = read(framing, stream, size);
        assert_eq!(divided.0, stands);
        assert_eq!(divided.1 > 0, found > 0);
    }
});
