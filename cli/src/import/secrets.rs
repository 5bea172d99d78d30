//! Replaces the secrets of a recording, because traces are kept in repositories and shown in reports.
//!
//! A placeholder takes the place of a value and leaves its form: the scheme of `authorization` and
//! the names of cookies and parameters stay, so that routes match as they did. All values have the
//! same placeholder, because even a hash of a short secret can be reversed.

use percent_encoding::percent_decode_str;

use super::record::{Headers, Record};

/// The placeholder of a value.
const PLACEHOLDER: &str = "redacted";

/// Headers with credentials, which begin with a scheme.
const CREDENTIALS: [&str; 2] = ["authorization", "proxy-authorization"];

/// Headers with cookies.
const COOKIES: [&str; 2] = ["cookie", "set-cookie"];

/// Headers with a URL, whose query can have secrets.
const URLS: [&str; 7] = [
    "referer",
    "origin",
    "location",
    "link",
    "x-envoy-original-path",
    "x-forwarded-uri",
    "x-original-url",
];

/// Names of headers and parameters with secrets, as [`compared`].
const NAMES: [&str; 17] = [
    "assertion",
    "auth",
    "bearer",
    "code",
    "codeverifier",
    "dpop",
    "key",
    "otp",
    "pass",
    "pwd",
    "samlresponse",
    "secwebsocketprotocol",
    "sid",
    "sig",
    "ocpapimsubscriptionkey",
    "xauth",
    "xforwardedclientcert",
];

/// Parts of names of headers and parameters with secrets, as [`compared`].
const PARTS: [&str; 11] = [
    "apikey",
    "credential",
    "csrf",
    "jwt",
    "passwd",
    "password",
    "secret",
    "sessid",
    "session",
    "signature",
    "token",
];

/// The names of the secrets of a recording.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    /// Further names of headers and parameters.
    names: Vec<String>,
}

impl Secrets {
    pub(super) fn new(names: &[String]) -> Self {
        Self { names: names.iter().map(|name| compared(name)).collect() }
    }

    /// Replaces the secrets in the headers and the path of a record.
    pub(super) fn redact(&self, record: &mut Record) {
        let exchange = &mut record.exchange;
        exchange.request.path = self.path(&exchange.request.path);
        self.redact_headers(&mut exchange.request.headers);
        exchange.upstream.iter_mut().for_each(|attempt| self.redact_headers(&mut attempt.headers));
    }

    fn redact_headers(&self, headers: &mut Headers) {
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if CREDENTIALS.contains(&name.as_str()) {
                *value = credentials(value);
            } else if COOKIES.contains(&name.as_str()) {
                *value = cookies(value, name == "set-cookie");
            } else if URLS.contains(&name.as_str()) {
                *value = self.path(&without_user(value));
            } else if self.is_secret(&name) && !value.is_empty() {
                *value = PLACEHOLDER.to_owned();
            }
        }
    }

    /// The path or URL with placeholders in its query and its fragment.
    fn path(&self, path: &str) -> String {
        let Some(at) = path.find(['?', '#']) else { return path.to_owned() };
        let mut redacted = path[..at].to_owned();
        let mut rest = &path[at..];
        while let Some(separator) = rest.chars().next() {
            let end = rest[1..].find(['?', '#', '&']).map_or(rest.len(), |end| end + 1);
            redacted.push(separator);
            redacted.push_str(&self.parameter(&rest[1..end]));
            rest = &rest[end..];
        }
        redacted
    }

    /// A parameter, with a placeholder if it is a secret or a URL with one.
    fn parameter(&self, parameter: &str) -> String {
        let Some((name, value)) = parameter.split_once('=') else { return parameter.to_owned() };
        let decoded = percent_decode_str(value).decode_utf8_lossy();
        let is_url = decoded.contains(['?', '#', '&']);
        let has_secret = is_url && *self.path(&decoded) != *decoded;
        match !value.is_empty() && (self.is_secret(name) || has_secret) {
            true => format!("{name}={PLACEHOLDER}"),
            false => parameter.to_owned(),
        }
    }

    fn is_secret(&self, name: &str) -> bool {
        let name = compared(name);
        NAMES.contains(&name.as_str())
            || PARTS.iter().any(|part| name.contains(part))
            || self.names.contains(&name)
    }
}

/// A URL without its user and password.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{PLACEHOLDER}{}", &rest[at..]),
        None => url.to_owned(),
    }
}

/// A name as it is compared: decoded, in lower case, and only its letters and digits.
fn compared(name: &str) -> String {
    let name = percent_decode_str(name).decode_utf8_lossy();
    name.chars().filter(|char| char.is_alphanumeric()).collect::<String>().to_ascii_lowercase()
}

/// Credentials without their secret: `Bearer abc` has the scheme `Bearer` (RFC 9110, section
/// 11.4).
fn credentials(value: &str) -> String {
    match value.split_once(' ') {
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            format!("{scheme} {PLACEHOLDER}")
        }
        _ if value.is_empty() => String::new(),
        _ => PLACEHOLDER.to_owned(),
    }
}

/// Cookies without their values. After the cookie of `set-cookie` come its attributes.
fn cookies(value: &str, has_attributes: bool) -> String {
    let cookie = |(index, part): (usize, &str)| match part.split_once('=') {
        Some(_) if has_attributes && index > 0 => part.to_owned(),
        Some((name, _)) => format!("{name}={PLACEHOLDER}"),
        // A part without a name is a value.
        None if !has_attributes && !part.trim().is_empty() => PLACEHOLDER.to_owned(),
        None => part.to_owned(),
    };
    value.split(';').enumerate().map(cookie).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(name: &str, value: &str) -> String {
        let mut headers = vec![(name.to_owned(), value.to_owned())];
        Secrets::new(&["X-Tenant-Key".to_owned()]).redact_headers(&mut headers);
        headers.remove(0).1
    }

    #[test]
    fn secrets_of_headers_are_replaced_and_their_form_stays() {
        for (name, value, expected) in [
            ("Authorization", "Bearer abc.def", "Bearer redacted"),
            ("proxy-authorization", "Basic YTpi", "Basic redacted"),
            ("authorization", "abc", "redacted"),
            ("authorization", "k=v abc", "redacted"),
            ("X-API-Key", "abc", "redacted"),
            ("x-csrf-token", "", ""),
            ("x-tenant-key", "secret words", "redacted"),
            ("x-api-key", "secret words", "redacted"),
            ("X-Vault-Token", "abc", "redacted"),
            ("ocp-apim-subscription-key", "abc", "redacted"),
            ("origin", "https://me:pw@a.example", "https://redacted@a.example"),
            (
                "referer",
                "https://a.example/#access_token=1",
                "https://a.example/#access_token=redacted",
            ),
            ("cookie", "a=1; b=x=y; c", "a=redacted; b=redacted;redacted"),
            ("set-cookie", "a=1; Path=/; Secure", "a=redacted; Path=/; Secure"),
            (
                "referer",
                "https://a.example/?token=1&x=2#f",
                "https://a.example/?token=redacted&x=2#f",
            ),
            ("accept", "token=1", "token=1"),
        ] {
            assert_eq!(redacted(name, value), expected, "{name}");
        }
    }

    #[test]
    fn secrets_of_queries_are_replaced() {
        let secrets = Secrets::new(&["tenant".to_owned()]);
        for (path, expected) in [
            ("/a", "/a"),
            ("/a?b=1", "/a?b=1"),
            ("/a?access_token=1&b=2&Api-Key=3", "/a?access_token=redacted&b=2&Api-Key=redacted"),
            ("/a?X-Amz-Signature=1&tenant=2", "/a?X-Amz-Signature=redacted&tenant=redacted"),
            ("/a?token=&token", "/a?token=&token"),
            ("/a?token=1=2", "/a?token=redacted"),
            ("/a#id_token=1&b=2", "/a#id_token=redacted&b=2"),
            (
                "/a?access%5Ftoken=1&token[]=2&api.key=3",
                "/a?access%5Ftoken=redacted&token[]=redacted&api.key=redacted",
            ),
            ("/a?to=%2Fb%3Ftoken%3D1&x=%2Fb%3Fc%3D1", "/a?to=redacted&x=%2Fb%3Fc%3D1"),
            ("/a?PHPSESSID=1&passwd=2&page=3", "/a?PHPSESSID=redacted&passwd=redacted&page=3"),
        ] {
            assert_eq!(secrets.path(path), expected);
        }
    }
}
