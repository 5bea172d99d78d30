//! A line of a trace as it is in the file, before its event is known.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::event::{
    Close, ClusterResponse, Open, Request, SharedData, UpstreamAttempt, raw_or_text,
};
use super::text::{Text, duration, optional_duration, optional_time};
use crate::proxy::{PluginSection, ProxySection, Setup};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an event, which is a JSON object")]
pub(super) struct Line<'a> {
    #[serde(deserialize_with = "duration")]
    pub(super) at: Duration,
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) connection: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "some_raw_or_text")]
    pub(super) configure: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) open: Option<Open<'a>>,
    #[serde(borrow)]
    pub(super) request: Option<Request<'a>>,
    #[serde(borrow, default, deserialize_with = "one_or_many")]
    pub(super) upstream: Option<Vec<UpstreamAttempt<'a>>>,
    #[serde(borrow)]
    pub(super) expect: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) shared_data: Option<SharedData<'a>>,
    #[serde(borrow)]
    pub(super) cluster: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) respond: Option<Box<ClusterResponse<'a>>>,
    pub(super) close: Option<Close>,
    #[serde(default, deserialize_with = "optional_time")]
    pub(super) clock: Option<Duration>,
    pub(super) worker: Option<u32>,
    #[serde(default, deserialize_with = "optional_duration")]
    pub(super) stall: Option<Duration>,
    #[serde(borrow)]
    pub(super) metrics: Option<BTreeMap<Text<'a>, Option<u64>>>,
    proxy: Option<Box<ProxySection>>,
    plugin: Option<Box<PluginSection>>,
    clusters: Option<Vec<String>>,
    #[serde(default, deserialize_with = "optional_time")]
    start_time: Option<Duration>,
}

impl Line<'_> {
    /// The name of the first part of a setup on this line.
    pub(super) fn setup_part(&self) -> Option<&'static str> {
        let parts = [
            ("proxy", self.proxy.is_some()),
            ("plugin", self.plugin.is_some()),
            ("clusters", self.clusters.is_some()),
            ("start_time", self.start_time.is_some()),
        ];
        parts.into_iter().find_map(|(name, present)| present.then_some(name))
    }

    /// Moves the parts of a setup out of the line.
    pub(super) fn take_setup(&mut self) -> Setup {
        Setup {
            proxy: self.proxy.take().map(|section| *section),
            plugin: self.plugin.take().map(|section| *section),
            clusters: self.clusters.take(),
            start_time: self.start_time.take(),
        }
    }
}

fn some_raw_or_text<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'a, str>>, D::Error> {
    raw_or_text(deserializer).map(Some)
}

/// Deserializes one attempt, or a list of attempts that is not empty.
fn one_or_many<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<UpstreamAttempt<'a>>>, D::Error> {
    struct Attempts;
    impl<'de> Visitor<'de> for Attempts {
        type Value = Vec<UpstreamAttempt<'de>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an attempt such as {\"status\":200}, or a list with one for each attempt")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            UpstreamAttempt::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            let attempts = Vec::<UpstreamAttempt>::deserialize(SeqAccessDeserializer::new(seq))?;
            if attempts.is_empty() {
                return Err(A::Error::custom("the list is empty; expected at least one attempt"));
            }
            Ok(attempts)
        }
    }
    deserializer.deserialize_any(Attempts).map(Some)
}
