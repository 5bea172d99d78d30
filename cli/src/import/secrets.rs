//! Replaces the secrets of a recording, because traces are kept in repositories and shown in reports.
//!
//! A placeholder takes the place of a value and leaves its form: the scheme of `authorization` and
//! the names of cookies and parameters stay, so that routes match as they did. All values have the
//! same placeholder, because even a hash of a short secret can be reversed.

use super::record::{Headers, Record};

/// The placeholder of a value.
const PLACEHOLDER: &str = "redacted";

/// Headers whose values are secrets.
const HEADERS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-amz-security-token",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "x-xsrf-token",
    "x-forwarded-client-cert",
    "x-goog-iap-jwt-assertion",
];

/// Headers with cookies.
const COOKIES: [&str; 2] = ["cookie", "set-cookie"];

/// Headers with a URL, whose query can have secrets.
const URLS: [&str; 3] = ["referer", "location", "x-envoy-original-path"];

/// Parameters of a query whose values are secrets; `-` and `_` are not compared.
const PARAMETERS: [&str; 22] = [
    "accesstoken",
    "apikey",
    "auth",
    "authtoken",
    "clientsecret",
    "code",
    "csrftoken",
    "idtoken",
    "jwt",
    "key",
    "password",
    "refreshtoken",
    "samlresponse",
    "secret",
    "session",
    "sessionid",
    "sig",
    "signature",
    "token",
    "xamzcredential",
    "xamzsecuritytoken",
    "xamzsignature",
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
            if HEADERS.contains(&name.as_str()) || self.names.contains(&compared(&name)) {
                *value = credentials(value);
            } else if COOKIES.contains(&name.as_str()) {
                *value = cookies(value, name == "set-cookie");
            } else if URLS.contains(&name.as_str()) {
                *value = self.path(value);
            }
        }
    }

    /// The path or URL with placeholders in its query.
    fn path(&self, path: &str) -> String {
        let Some((before, query)) = path.split_once('?') else { return path.to_owned() };
        let (query, fragment) = match query.split_once('#') {
            Some((query, fragment)) => (query, Some(fragment)),
            None => (query, None),
        };
        let parameter = |parameter: &str| match parameter.split_once('=') {
            Some((name, value)) if !value.is_empty() && self.is_secret(name) => {
                format!("{name}={PLACEHOLDER}")
            }
            _ => parameter.to_owned(),
        };
        let query = query.split('&').map(parameter).collect::<Vec<_>>().join("&");
        let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
        format!("{before}?{query}{fragment}")
    }

    fn is_secret(&self, parameter: &str) -> bool {
        let name = compared(parameter);
        PARAMETERS.contains(&name.as_str()) || self.names.contains(&name)
    }
}

/// A name as it is compared: in lower case, without separators.
fn compared(name: &str) -> String {
    name.chars().filter(|char| !matches!(char, '-' | '_')).collect::<String>().to_ascii_lowercase()
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
            ("x-tenant-key", "abc", "redacted"),
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
            ("/a?token=1=2?3", "/a?token=redacted"),
        ] {
            assert_eq!(secrets.path(path), expected);
        }
    }
}
