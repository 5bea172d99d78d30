//! Where a drain is started and shown: at the admin path of one proxy, or under a key of etcd.

use std::time::Duration;

use sluice_filter::config::is_store_key;
use sluice_filter::drain::{Command, Record};

use super::clock;
use super::etcd::{Etcd, EtcdError};
use super::http::Client;
use super::proxy::Proxy;
use super::report::Told;
use super::state::State;
use super::token::{self, TokenArguments};
use super::url::Url;

/// How long a whole answer may take: the proxy answers from memory, and etcd is near.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the command line says about it.
#[derive(Debug, clap::Args)]
pub(crate) struct Target {
    /// The admin path of one proxy, such as http://127.0.0.1:10000/.sluice/drain
    #[arg(long, value_name = "URL", required_unless_present = "etcd", conflicts_with = "etcd")]
    url: Option<Url>,
    #[command(flatten)]
    token: TokenArguments,
    /// An etcd whose key a fleet polls, such as http://127.0.0.1:2379
    #[arg(long, value_name = "URL", requires = "key")]
    etcd: Option<Url>,
    /// That key
    #[arg(long, requires = "etcd", value_parser = key)]
    key: Option<String>,
}

/// A [`Target`] with what it takes to ask it.
pub(crate) enum Place {
    /// One proxy.
    Proxy(Proxy),
    /// A key of etcd, and the proxies of its fleet that are asked.
    Etcd(Etcd, Vec<Proxy>),
}

/// A drain that was started, or that stands under a key.
pub(crate) struct Started {
    /// The drain; none only where nothing stands under the key.
    pub(crate) record: Option<Record>,
    url: String,
    by: By,
}

enum By {
    Proxy(State),
    Key(String),
}

/// A key that a proxy's configuration can name, too.
fn key(text: &str) -> Result<String, &'static str> {
    let expected = "expected 1 to 1024 visible ASCII characters other than ?, # and %";
    is_store_key(text).then(|| text.to_owned()).ok_or(expected)
}

impl Target {
    /// The place, where `watch` has the proxies of a fleet.
    pub(crate) fn place(&self, watch: &[Url]) -> Result<Place, String> {
        let client = Client::new(PATIENCE);
        let token = self.token.find().map_err(|error| error.to_string())?;
        match (&self.url, &self.etcd) {
            (Some(url), _) => {
                let token = token.ok_or_else(|| {
                    format!(
                        "no token for {url}; expected a file with --token-file, or {}",
                        token::VARIABLE
                    )
                })?;
                Ok(Place::Proxy(Proxy::admin(client, url.clone(), token)))
            }
            (None, Some(url)) => {
                let key = self.key.clone().unwrap_or_default();
                let watched =
                    |url: &Url| Proxy::watched(client.clone(), url.clone(), token.clone());
                let watched = watch.iter().map(watched).collect();
                Ok(Place::Etcd(Etcd::new(client, url.clone(), key), watched))
            }
            (None, None) => Err("nobody to drain; expected --url or --etcd".to_owned()),
        }
    }
}

impl Place {
    /// Has the drain started that `command` asks for.
    pub(crate) fn start(&self, command: &Command) -> Result<Started, String> {
        match self {
            Self::Proxy(proxy) => {
                let url = proxy.url.to_string();
                let (record, state) =
                    proxy.command(command).map_err(|error| format!("{url} {error}"))?;
                Ok(Started { record: Some(record), url, by: By::Proxy(state) })
            }
            Self::Etcd(etcd, watched) => {
                // A proxy may be further than the key: its admin path counts on, too.
                let epochs = watched.iter().filter_map(|proxy| proxy.state().ok()?.epoch);
                let record = etcd.put(command, epochs.max().unwrap_or(0), clock::unix_ms());
                Started::under(etcd, record.map(Some))
            }
        }
    }

    /// What stands under the key of etcd, if that is the place.
    pub(crate) fn stored(&self) -> Result<Option<Started>, String> {
        match self {
            Self::Proxy(_) => Ok(None),
            Self::Etcd(etcd, _) => Started::under(etcd, etcd.record(clock::unix_ms())).map(Some),
        }
    }

    /// The proxies that can be asked.
    pub(crate) fn proxies(&self) -> &[Proxy] {
        match self {
            Self::Proxy(proxy) => std::slice::from_ref(proxy),
            Self::Etcd(_, watched) => watched,
        }
    }
}

impl Started {
    fn under(etcd: &Etcd, record: Result<Option<Record>, EtcdError>) -> Result<Self, String> {
        let url = etcd.url.to_string();
        let record = record.map_err(|error| format!("{url} {error}"))?;
        Ok(Self { record, url, by: By::Key(etcd.key.clone()) })
    }

    /// Who told it.
    pub(crate) fn told(&self) -> Told<'_> {
        match &self.by {
            By::Proxy(state) => Told::State(&self.url, state),
            By::Key(key) => Told::Record(&self.url, key, self.record.as_ref()),
        }
    }

    /// What the proxy told that started it.
    pub(crate) fn state(&self) -> Option<&State> {
        match &self.by {
            By::Proxy(state) => Some(state),
            By::Key(_) => None,
        }
    }
}
