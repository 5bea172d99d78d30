//! The messages that both hosts deliver.

/// The header that the small filter sets.
pub(crate) const MARKER: &str = "x-small";

pub(crate) const REQUEST: [(&str, &str); 10] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "www.example.com"),
    (":path", "/search?q=sluice"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=8d1f3c5e7a9b0d2f4a6c8e0b1d3f5a7c; theme=dark"),
    ("x-forwarded-for", "203.0.113.7"),
];

pub(crate) const RESPONSE: [(&str, &str); 3] =
    [(":status", "200"), ("content-type", "text/html"), ("content-length", "512")];

pub(crate) const BODY: [u8; 512] = [b'x'; 512];
