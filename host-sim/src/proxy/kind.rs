//! The names of presets and versions.

use serde::de::{Deserialize, Deserializer, Error};

use super::names::by_name;
use crate::trace::Text;

/// A proxy whose defaults are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Preset {
    /// Envoy, with the defaults of its API.
    #[default]
    Envoy,
    /// A sidecar of Istio, for requests that the application sends.
    IstioSidecar,
    /// A gateway of Istio.
    IstioGateway,
    /// Envoy Gateway.
    EnvoyGateway,
}

impl Preset {
    const ALL: [Self; 4] =
        [Self::Envoy, Self::IstioSidecar, Self::IstioGateway, Self::EnvoyGateway];

    /// The name in traces and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::IstioSidecar => "istio-sidecar",
            Self::IstioGateway => "istio-gateway",
            Self::EnvoyGateway => "envoy-gateway",
        }
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        by_name(&name, ("preset", "presets"), &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}

/// The version of Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Version {
    V1_37,
    V1_39,
    #[default]
    V1_40,
}

impl Version {
    const ALL: [Self; 3] = [Self::V1_37, Self::V1_39, Self::V1_40];

    /// The name in traces and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_37 => "1.37",
            Self::V1_39 => "1.39",
            Self::V1_40 => "1.40",
        }
    }
}

/// What differs between versions of Envoy, as clients and upstreams see it. Conformance runs with
/// each version find no other difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionRules {
    /// `normalize_path` treats a dot segment with parameters, as in `/..;x/`, as a dot segment.
    pub(crate) dots_have_parameters: bool,
    /// The local reply for a refused connection also names the error of the transport.
    pub(crate) reply_names_transport_failure: bool,
}

impl Version {
    pub(crate) fn rules(self) -> VersionRules {
        VersionRules {
            dots_have_parameters: self >= Self::V1_39,
            reply_names_transport_failure: self < Self::V1_39,
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        by_name(&name, ("version", "versions"), &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}
