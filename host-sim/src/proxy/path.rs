//! The request path as the proxy rewrites it before its filters run: `normalize_path` and
//! `merge_slashes`. The rules were measured on Envoy.

use std::borrow::Cow;

use super::actions::EscapedSlashes;
use super::kind::Version;
use super::settings::ProxySettings;

/// Why a proxy rejects a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidPath;

/// A path after the proxy has rewritten it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rewritten<'p> {
    pub(crate) path: Cow<'p, str>,
    /// The proxy redirects the client to this path.
    pub(crate) redirect: bool,
}

/// Rewrites a path with its query. The query does not change.
pub(crate) fn rewrite<'p>(
    target: &'p str,
    settings: &ProxySettings,
) -> Result<Rewritten<'p>, InvalidPath> {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if path.contains('#') || query.contains('#') {
        return Err(InvalidPath);
    }
    let (normalize, merge_slashes) = (settings.normalize_path, settings.merge_slashes);
    let action = settings.path_with_escaped_slashes_action;
    let keeps = action == EscapedSlashes::KeepUnchanged;
    // `*` and the target of a CONNECT are not paths.
    if !path.starts_with('/') || !(normalize || merge_slashes || !keeps) {
        return Ok(Rewritten { path: Cow::Borrowed(target), redirect: false });
    }
    let unescaped = if keeps { None } else { without_escaped_slashes(path) };
    if unescaped.is_some() && action == EscapedSlashes::RejectRequest {
        return Err(InvalidPath);
    }
    let redirect = unescaped.is_some() && action == EscapedSlashes::UnescapeAndRedirect;
    let mut rewritten = unescaped.unwrap_or_else(|| path.to_owned());
    if normalize {
        rewritten = normalized(&rewritten, settings.version)?;
    }
    if merge_slashes {
        rewritten = merged(&rewritten);
    }
    Ok(Rewritten { path: Cow::Owned(rewritten + query), redirect })
}

/// The path with its escaped slashes and backslashes unescaped, if it has any.
fn without_escaped_slashes(path: &str) -> Option<String> {
    let unescaped = [("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")]
        .into_iter()
        .fold(path.to_owned(), |path, (escape, plain)| path.replace(escape, plain));
    (unescaped != path).then_some(unescaped)
}

fn merged(path: &str) -> String {
    if !path.contains("//") {
        return path.to_owned();
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    // As measured, a path of slashes only keeps two.
    let end = if path.ends_with('/') { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

/// Decodes the characters that need no encoding, encodes those that do, and removes the segments
/// `.` and `..`.
fn normalized(path: &str, version: Version) -> Result<String, InvalidPath> {
    // As measured, a dot that is encoded does not count.
    let path = match version.rules().dots_have_parameters {
        true => without_parameters_of_dots(path),
        false => Cow::Borrowed(path),
    };
    let mut canonical = Vec::with_capacity(path.len());
    let bytes = path.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => match decoded(bytes, at) {
                Some(0) => return Err(InvalidPath),
                Some(plain) if is_unreserved(plain) => {
                    canonical.push(plain);
                    at += 2;
                }
                _ => canonical.push(b'%'),
            },
            b'\\' => canonical.push(b'/'),
            other if is_escaped(other) => canonical.extend(format!("%{other:02X}").bytes()),
            other => canonical.push(other),
        }
    }
    // Only ASCII bytes were changed.
    let canonical = String::from_utf8(canonical).map_err(|_| InvalidPath)?;
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = canonical[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    Ok(format!("/{}", kept.join("/")))
}

/// Replaces each segment such as `..;name=value` by `..`.
fn without_parameters_of_dots(path: &str) -> Cow<'_, str> {
    if !path.contains(".;") {
        return Cow::Borrowed(path);
    }
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| match segment.split_once(';') {
            Some((dots @ ("." | ".."), _)) => dots,
            _ => segment,
        })
        .collect();
    Cow::Owned(segments.join("/"))
}

/// The byte that the two hexadecimal digits from `at` on stand for.
fn decoded(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(at..at + 2)?).ok()?;
    let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| valid)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_escaped(byte: u8) -> bool {
    !byte.is_ascii_graphic() || b"\"<>^`{|}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::InvalidPath;
    use crate::proxy::{EscapedSlashes, ProxySettings, Version};

    fn rewrite(path: &str, settings: &ProxySettings) -> Result<String, InvalidPath> {
        super::rewrite(path, settings).map(|rewritten| rewritten.path.into_owned())
    }

    fn settings(normalize_path: bool, merge_slashes: bool) -> ProxySettings {
        ProxySettings { normalize_path, merge_slashes, ..ProxySettings::default() }
    }

    /// Paths with the result of `normalize_path`, and of both options, on Envoy 1.40.
    const MEASURED: &[(&str, &str, &str)] = &[
        ("/./login", "/login", "/login"),
        ("//login", "//login", "/login"),
        ("/a/../b?x=/../y//z", "/b?x=/../y//z", "/b?x=/../y//z"),
        ("/a/%2e%2E/b", "/b", "/b"),
        ("/%41%7eb%7C%2f", "/A~b%7C%2f", "/A~b%7C%2f"),
        ("/a%zz%", "/a%zz%", "/a%zz%"),
        ("/a\\..\\b", "/b", "/b"),
        ("/a|b^c\"d", "/a%7Cb%5Ec%22d", "/a%7Cb%5Ec%22d"),
        ("/a//..//b", "/a//b", "/a/b"),
        ("/a/b/..", "/a/", "/a/"),
        ("/..", "/", "/"),
        ("//", "//", "//"),
        ("/a//", "/a//", "/a/"),
        ("/x/..;p/y", "/y", "/y"),
        ("/x/%2e%2e;/y", "/x/..;/y", "/x/..;/y"),
        ("/a/.../..b;c", "/a/.../..b;c", "/a/.../..b;c"),
    ];

    #[test]
    fn paths_are_rewritten_as_in_envoy() {
        for (path, normalized, both) in MEASURED {
            let rewritten = |normalize, merge| rewrite(path, &settings(normalize, merge));
            assert_eq!(rewritten(false, false).as_deref(), Ok(*path));
            assert_eq!(rewritten(true, false).as_deref(), Ok(*normalized));
            assert_eq!(rewritten(true, true).as_deref(), Ok(*both));
        }
        assert_eq!(rewrite("/a//../b", &settings(false, true)).as_deref(), Ok("/a/../b"));
        assert_eq!(rewrite("*", &settings(true, true)).as_deref(), Ok("*"));
    }

    #[test]
    fn invalid_paths_are_rejected_as_in_envoy() {
        assert_eq!(rewrite("/a%00", &settings(true, false)), Err(InvalidPath));
        assert_eq!(rewrite("/a%00", &settings(false, true)).as_deref(), Ok("/a%00"));
        assert_eq!(rewrite("/a#b", &settings(false, false)), Err(InvalidPath));
        assert_eq!(rewrite("/a?b#c", &settings(false, false)), Err(InvalidPath));
    }

    #[test]
    fn envoy_1_37_keeps_a_dot_segment_with_parameters() {
        let settings = ProxySettings { version: Version::V1_37, ..settings(true, true) };
        assert_eq!(rewrite("/x/..;p/../y", &settings).as_deref(), Ok("/x/y"));
    }

    #[test]
    fn escaped_slashes_are_unescaped_before_the_path_is_normalized() {
        let settings = |action, rest: ProxySettings| ProxySettings {
            path_with_escaped_slashes_action: action,
            ..rest
        };
        let redirect = settings(EscapedSlashes::UnescapeAndRedirect, settings_of(true));
        let rewritten = super::rewrite("/a%5cb?x=%2f", &redirect).expect("a path");
        assert_eq!((&*rewritten.path, rewritten.redirect), ("/a/b?x=%2f", true));
        assert!(!super::rewrite("/a%252Fb", &redirect).expect("a path").redirect);
        let forward = settings(EscapedSlashes::UnescapeAndForward, settings_of(true));
        assert_eq!(rewrite("/a%2F..%2Fb", &forward).as_deref(), Ok("/b"));
        assert_eq!(rewrite("/%2F%2f", &forward).as_deref(), Ok("//"));
        let alone = settings(EscapedSlashes::UnescapeAndForward, settings_of(false));
        assert_eq!(rewrite("/a%5cb%2Fc", &alone).as_deref(), Ok("/a\\b/c"));
        let reject = settings(EscapedSlashes::RejectRequest, settings_of(false));
        assert_eq!(rewrite("/a%2Fb", &reject), Err(InvalidPath));
        assert_eq!(rewrite("/a?%2F", &reject).as_deref(), Ok("/a?%2F"));
    }

    fn settings_of(both: bool) -> ProxySettings {
        settings(both, both)
    }
}
