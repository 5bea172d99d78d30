//! Where a drain is started and shown: the admin path of one proxy, or a key of etcd that a fleet
//! polls.

use std::time::Duration;

use sluice_filter::config::is_store_key;
use sluice_filter::drain::{Command, Record};

use super::clock;
use super::endpoint::Endpoint;
use super::error::DrainError;
use super::etcd::{Etcd, EtcdError};
use super::http::Client;
use super::proxy::Proxy;
use super::state::ProxyState;
use super::token::TokenArguments;

/// The timeout of a request. A proxy answers from memory, and etcd is on the same network.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct TargetArguments {
    /// Admin path of one proxy, such as http://127.0.0.1:10000/.sluice/drain
    #[arg(long, value_name = "URL", required_unless_present = "etcd", conflicts_with = "etcd")]
    url: Option<Endpoint>,
    #[command(flatten)]
    token: TokenArguments,
    /// Client URL of the etcd that the fleet polls, such as http://127.0.0.1:2379
    #[arg(long, value_name = "URL", requires = "key")]
    etcd: Option<Endpoint>,
    /// Key in etcd that holds the drain of the fleet
    #[arg(long, requires = "etcd", value_parser = key)]
    key: Option<String>,
}

pub(crate) enum Target {
    Proxy(Proxy),
    /// A key, and the proxies of its fleet whose state can be read.
    Etcd(Etcd, Vec<Proxy>),
}

/// The drain at a target, and where it was found.
pub(crate) enum Snapshot {
    Proxy { url: String, state: ProxyState },
    Key { url: String, key: String, record: Option<Record> },
}

/// A drain that a command started.
pub(crate) struct Started {
    pub(crate) record: Record,
    pub(crate) snapshot: Snapshot,
}

/// Accepts the keys that a proxy's configuration accepts.
fn key(text: &str) -> Result<String, &'static str> {
    let expected = "expected 1 to 1024 visible ASCII characters other than ?, # and %";
    is_store_key(text).then(|| text.to_owned()).ok_or(expected)
}

impl TargetArguments {
    /// The target; `watched` are the URLs of the proxies of a fleet.
    pub(crate) fn target(&self, watched: &[Endpoint]) -> Result<Target, DrainError> {
        let client = Client::new(TIMEOUT);
        let token = self.token.read()?;
        match (&self.url, &self.etcd) {
            (Some(url), _) => {
                let token = token.ok_or_else(|| DrainError::NoToken(url.clone()))?;
                Ok(Target::Proxy(Proxy::with_admin_path(client, url.clone(), token)))
            }
            (None, Some(url)) => {
                let key = self.key.clone().unwrap_or_default();
                let watched = watched
                    .iter()
                    .map(|url| Proxy::with_any_path(client.clone(), url.clone(), token.clone()))
                    .collect();
                Ok(Target::Etcd(Etcd::new(client, url.clone(), key), watched))
            }
            (None, None) => Err(DrainError::NoTarget),
        }
    }
}

impl Target {
    pub(crate) fn start(&self, command: &Command) -> Result<Started, DrainError> {
        match self {
            Self::Proxy(proxy) => {
                let sent = proxy.send(command);
                let (record, state) = sent.map_err(|source| DrainError::Proxy {
                    url: proxy.url.clone(),
                    source: source.into(),
                })?;
                let snapshot = Snapshot::Proxy { url: proxy.url.to_string(), state };
                Ok(Started { record, snapshot })
            }
            Self::Etcd(etcd, watched) => {
                // A proxy ignores epochs up to its own, which an admin path may have raised.
                let states = watched.iter().filter_map(|proxy| proxy.state().ok());
                let in_force = states.map(|state| state.epoch.unwrap_or(0)).max();
                let record = etcd
                    .put(command, in_force, clock::unix_ms())
                    .map_err(|source| etcd_error(etcd, source))?;
                let snapshot = snapshot_of_key(etcd, Some(record.clone()));
                Ok(Started { record, snapshot })
            }
        }
    }

    /// The drain under the key; `None` if the target is a proxy.
    pub(crate) fn stored(&self) -> Result<Option<Snapshot>, DrainError> {
        let Self::Etcd(etcd, _) = self else { return Ok(None) };
        let record = etcd.record(clock::unix_ms()).map_err(|source| etcd_error(etcd, source))?;
        Ok(Some(snapshot_of_key(etcd, record)))
    }

    /// The proxies that report their state.
    pub(crate) fn proxies(&self) -> &[Proxy] {
        match self {
            Self::Proxy(proxy) => std::slice::from_ref(proxy),
            Self::Etcd(_, watched) => watched,
        }
    }
}

fn etcd_error(etcd: &Etcd, source: EtcdError) -> DrainError {
    DrainError::Etcd { url: etcd.url.clone(), source: source.into() }
}

fn snapshot_of_key(etcd: &Etcd, record: Option<Record>) -> Snapshot {
    Snapshot::Key { url: etcd.url.to_string(), key: etcd.key.clone(), record }
}

impl Snapshot {
    /// The state of the proxy that started the drain; `None` for a key.
    pub(crate) fn state(&self) -> Option<&ProxyState> {
        match self {
            Self::Proxy { state, .. } => Some(state),
            Self::Key { .. } => None,
        }
    }
}
