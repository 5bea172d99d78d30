//! The names of failure policies.

use serde::de::{Deserialize, Deserializer, Error};

use super::names::by_name;
use crate::options::FailurePolicy;
use crate::trace::Text;

impl<'de> Deserialize<'de> for FailurePolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Text::deserialize(deserializer)?;
        let kinds = ("failure policy", "failure policies");
        by_name(&name, kinds, &Self::ALL, Self::name).map_err(D::Error::custom)
    }
}
