//! How a stream ended, as its client sees it.

/// The end of an event stream or a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The service ended the stream.
    Whole,
    /// A proxy ended the stream after a whole event, or with a Close frame after a whole frame.
    AtBoundary,
    /// A proxy ended the stream anywhere else.
    Torn,
}

impl Ending {
    /// The end of an event stream with this body; `is_complete` if the transfer ended regularly.
    pub(super) fn of_events(body: &[u8], is_complete: bool) -> Self {
        match (is_complete, body.ends_with(b"\n\n")) {
            (true, true) => Self::Whole,
            (false, true) => Self::AtBoundary,
            (_, false) => Self::Torn,
        }
    }

    /// The end of a WebSocket on which the server sent these bytes.
    pub(super) fn of_frames(mut bytes: &[u8]) -> Self {
        // The service sends unmasked frames of less than 126 bytes.
        while let [first, length, rest @ ..] = bytes {
            let Some((payload, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
            match (first, payload, rest) {
                (0x88, [0x03, 0xe8], []) => return Self::Whole,
                (0x88, _, []) => return Self::AtBoundary,
                _ => bytes = rest,
            }
        }
        Self::Torn
    }
}
