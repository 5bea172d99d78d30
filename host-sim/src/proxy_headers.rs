//! The headers that the proxy adds around its filters, and those about a connection, which it
//! removes. Measured on Envoy 1.40; `tests/tests/envoy/host_calls/proxy_headers.rs` compares both
//! hosts.

use std::time::Duration;

use crate::HeaderMap;

/// The headers about the client's connection, which filters do not see.
const REQUEST_HOP_BY_HOP: [&str; 6] =
    ["connection", "upgrade", "keep-alive", "proxy-connection", "transfer-encoding", "expect"];

/// The headers about the upstream's connection, which filters see and clients do not.
const RESPONSE_HOP_BY_HOP: [&str; 4] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding"];

/// Removes the headers about the client's connection, and those that `connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let Some(named) = headers.find("connection").map(<[u8]>::to_vec) else {
        return remove_each(headers);
    };
    let h2c = headers.text("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("h2c"));
    for name in named.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        // RFC 9110, section 7.6.1: `te` is always named. Envoy keeps what it understands of it.
        if !name.eq_ignore_ascii_case(b"te") && !name.starts_with(b":") {
            headers.remove(name);
        }
    }
    if h2c {
        headers.remove("http2-settings");
    }
    remove_each(headers);
}

fn remove_each(headers: &mut HeaderMap) {
    for name in REQUEST_HOP_BY_HOP {
        headers.remove(name);
    }
    // Of `te`, only `trailers` has a meaning for a proxy.
    let trailers = |value: &str| value.split(',').any(|word| word.trim() == "trailers");
    match headers.text("te").map(trailers) {
        Some(true) => headers.set("te", "trailers"),
        Some(false) => {
            headers.remove("te");
        }
        None => {}
    }
}

/// Adds an id to a request without one, or to each request of an outside client.
pub(crate) fn add_request_id(headers: &mut HeaderMap, replaces: bool, random: &mut fastrand::Rng) {
    if replaces || headers.find("x-request-id").is_none() {
        headers.set("x-request-id", uuid(random.u128(..)));
    }
}

/// A random UUID of version 4 (RFC 9562, section 5.4).
fn uuid(random: u128) -> [u8; 36] {
    let bits = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let places = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    for (place, byte) in places.into_iter().zip(bits.to_be_bytes()) {
        for (place, digit) in [(place, byte >> 4), (place + 1, byte & 0xf)] {
            text[place] = b"0123456789abcdef"[usize::from(digit)];
        }
    }
    text
}

/// Adds the timeout of an attempt for the upstream, or else that of the request.
pub(crate) fn add_expected_timeout(headers: &mut HeaderMap, timeout: Option<Duration>) {
    if let Some(timeout) = timeout {
        headers.set("x-envoy-expected-rq-timeout-ms", (timeout.as_millis() as u64).to_string());
    }
}

/// Adds the time from the end of the request to a response of the upstream.
pub(crate) fn add_service_time(headers: &mut HeaderMap, time: Duration) {
    headers.set("x-envoy-upstream-service-time", (time.as_millis() as u64).to_string());
}

/// Finishes a response for the client: removes the headers about the upstream's connection, and
/// adds the date and the name of the proxy. `now` counts from the Unix epoch.
pub(crate) fn finish_response(headers: &mut HeaderMap, upgraded: bool, now: Duration) {
    for name in RESPONSE_HOP_BY_HOP {
        headers.remove(name);
    }
    if !upgraded {
        headers.remove("upgrade");
    }
    if headers.find("date").is_none() {
        headers.push("date", date(now.as_secs()));
    }
    headers.set("server", "envoy");
}

/// The date of RFC 9110, section 5.6.7, such as `Thu, 01 Jan 2026 00:00:00 GMT`. Each response has
/// one, so this does not use the general formatting.
fn date(seconds: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March 0000, in eras of 400 years of the proleptic Gregorian calendar.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let mut text = *b"Www, 00 Mmm 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[days as usize % 7]);
    text[8..11].copy_from_slice(MONTHS[month as usize]);
    let numbers =
        [(5, day), (12, year / 100), (14, year), (17, hour), (20, minute), (23, second % 60)];
    for (place, number) in numbers {
        text[place] += (number / 10 % 10) as u8;
        text[place + 1] += (number % 10) as u8;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_has_the_form_of_http() {
        assert_eq!(&date(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&date(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&date(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&date(1_767_225_599), b"Wed, 31 Dec 2025 23:59:59 GMT");
        assert_eq!(&date(4_107_542_400), b"Mon, 01 Mar 2100 00:00:00 GMT");
    }

    #[test]
    fn request_id_is_a_uuid() {
        let id = uuid(u128::MAX);
        assert_eq!(&id, b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(&uuid(0), b"00000000-0000-4000-8000-000000000000");
        let digits = 0x0123_4567_89ab_4def_8123_4567_89ab_cdef;
        assert_eq!(&uuid(digits), b"01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn headers_about_the_connection_are_removed() {
        let mut headers: HeaderMap = [
            ("connection", "keep-alive, X-Drop, te"),
            ("x-drop", "1"),
            ("te", "trailers, gzip"),
            ("keep-alive", "5"),
            ("proxy-connection", "a"),
            ("trailer", "x"),
            ("proxy-authorization", "p"),
            ("expect", "100-continue"),
        ]
        .into_iter()
        .collect();
        remove_hop_by_hop(&mut headers);
        let kept = [("te", "trailers"), ("trailer", "x"), ("proxy-authorization", "p")];
        assert_eq!(headers, kept.into_iter().collect());
    }
}
