//! Values, statuses and log lines as the specification writes them.

use proxy_wasm::types::{Bytes, LogLevel, MapType, Status};

use crate::raw;

/// The name of a status of the ABI.
pub(crate) fn word(status: u32) -> &'static str {
    const WORDS: [&str; 13] = [
        "ok",
        "not found",
        "bad argument",
        "serialization failure",
        "parse failure",
        "bad expression",
        "invalid memory access",
        "empty",
        "cas mismatch",
        "result mismatch",
        "internal failure",
        "broken connection",
        "unimplemented",
    ];
    WORDS.get(status as usize).unwrap_or(&"another status")
}

/// The name of the result of a host call.
pub(crate) fn result<T>(result: &Result<T, Status>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(status) => word(*status as u32),
    }
}

/// Bytes as text, or the name of the status.
pub(crate) fn value(value: Result<Vec<u8>, u32>) -> String {
    match value {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(status) => word(status).to_owned(),
    }
}

pub(crate) fn header(map: MapType, name: &str) -> String {
    value(raw::header(map, name))
}

pub(crate) fn text(bytes: Option<Bytes>) -> String {
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// The two hexadecimal digits of each byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Logs `BEHAVIOR: TEXT`.
pub(crate) fn say(behavior: &str, text: &str) {
    crate::log(LogLevel::Info, &format!("{behavior}: {text}"));
}
