//! The request of `sluice explain`, in the form in which a host hands it to the filter.

use sluice_filter::Headers;
use thiserror::Error;

use crate::request_url::RequestUrl;

#[derive(Debug, clap::Args)]
pub(crate) struct RequestArguments {
    /// Method of the request
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// Request header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// URL of the request, such as http://a.example.com/api/x, or only its path
    url: String,
}

/// Why the arguments do not describe a request.
#[derive(Debug, Error)]
pub(crate) enum RequestError {
    #[error(
        "{0:?} is not a URL; expected one such as http://a.example.com/api/x, or a path that begins with /"
    )]
    Url(String),
    #[error("-H {0:?} has no colon; expected a header such as 'accept: application/json'")]
    NoColon(String),
    #[error("-H {0:?} has no name; expected 'name: value'")]
    NoName(String),
}

impl RequestArguments {
    /// The headers of the request, pseudo-headers first.
    pub(crate) fn headers(&self) -> Result<Headers, RequestError> {
        // A path without a host is a request to localhost.
        let whole = match self.url.starts_with('/') {
            true => format!("http://{}", self.url),
            false => self.url.clone(),
        };
        let url = RequestUrl::split(&whole).ok_or_else(|| RequestError::Url(self.url.clone()))?;
        let authority = if url.authority.is_empty() { "localhost" } else { url.authority };
        let mut headers = vec![
            (":authority".to_owned(), authority.as_bytes().to_vec()),
            (":path".to_owned(), url.path.into_bytes()),
            (":method".to_owned(), self.method.clone().into_bytes()),
            (":scheme".to_owned(), url.scheme.as_bytes().to_vec()),
        ];
        for header in &self.headers {
            let (name, value) =
                header.split_once(':').ok_or_else(|| RequestError::NoColon(header.clone()))?;
            let name = name.trim().to_ascii_lowercase();
            let value = value.trim().as_bytes().to_vec();
            match name.as_str() {
                "" => return Err(RequestError::NoName(header.clone())),
                // HTTP/1.1 has this header where later versions have `:authority`.
                "host" => headers[0].1 = value,
                _ => headers.push((name, value)),
            }
        }
        Ok(headers.into_iter().collect())
    }
}
