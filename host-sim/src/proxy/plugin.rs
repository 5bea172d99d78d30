//! The plugin as the proxy's configuration describes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::Value;

use crate::Properties;

/// The plugin and its VM. A missing field has the value of the replay's options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an object such as {\"name\":\"sluice\"}")]
#[non_exhaustive]
pub struct PluginSection {
    /// Property `plugin_name`.
    pub name: Option<String>,
    /// Property `plugin_root_id`.
    pub root_id: Option<String>,
    /// Property `plugin_vm_id`; VMs with the same id share data.
    pub vm_id: Option<String>,
    /// The configuration of the VM, which the module reads when the VM starts: a string as its
    /// contents, any other JSON value as its text.
    #[serde(deserialize_with = "vm_config")]
    pub vm_config: Option<String>,
    /// The plugin is a service of the proxy, as Envoy's bootstrap extension `envoy.bootstrap.wasm`
    /// with `singleton`: one VM on the main thread, which ticks and handles no requests.
    pub singleton: Option<bool>,
    /// The environment variables of the module.
    pub environment: Option<BTreeMap<String, String>>,
    /// Properties that every stream and the plugin itself can read.
    #[serde(deserialize_with = "properties")]
    pub properties: Option<Properties>,
}

impl PluginSection {
    /// Adds the fields of `other`, which replace those of `self`. Properties and variables are
    /// merged one by one.
    #[must_use]
    pub fn merged(&self, other: &Self) -> Self {
        let either = |one: &Option<String>, two: &Option<String>| two.clone().or(one.clone());
        let mut environment = self.environment.clone();
        if let Some(more) = &other.environment {
            environment.get_or_insert_default().extend(more.clone());
        }
        let mut properties = self.properties.clone();
        if let Some(more) = &other.properties {
            properties.get_or_insert_default().extend(more);
        }
        Self {
            name: either(&self.name, &other.name),
            root_id: either(&self.root_id, &other.root_id),
            vm_id: either(&self.vm_id, &other.vm_id),
            vm_config: either(&self.vm_config, &other.vm_config),
            singleton: other.singleton.or(self.singleton),
            environment,
            properties,
        }
    }
}

fn vm_config<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// Deserializes properties from an object. A name of several parts is a nested object or a name
/// with dots: `{"xds.node.id":"a"}` and `{"xds":{"node":{"id":"a"}}}` are the same. `\.` is a dot
/// within a part.
fn properties<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Properties>, D::Error> {
    let Some(value) = Option::<serde_json::Map<String, Value>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let mut properties = Properties::new();
    add(&mut properties, &mut Vec::new(), &value).map_err(D::Error::custom)?;
    Ok(Some(properties))
}

fn add(
    properties: &mut Properties,
    path: &mut Vec<String>,
    fields: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    for (name, value) in fields {
        let depth = path.len();
        path.extend(parts(name));
        match value {
            Value::Object(inner) => add(properties, path, inner)?,
            _ => {
                let bytes = bytes(value).ok_or_else(|| {
                    format!(
                        "{:?} is {value}; expected a string, a number, true or false",
                        path.join(".")
                    )
                })?;
                *properties = std::mem::take(properties).with(path, bytes);
            }
        }
        path.truncate(depth);
    }
    Ok(())
}

/// The parts of a name, which dots separate.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = name.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '.' => parts.push(String::new()),
            '\\' if characters.peek() == Some(&'.') => {
                characters.next();
                parts.last_mut().into_iter().for_each(|part| part.push('.'));
            }
            other => parts.last_mut().into_iter().for_each(|part| part.push(other)),
        }
    }
    parts
}

/// The bytes that a guest reads. As in Envoy, numbers have 8 bytes, the least significant first,
/// and a truth value has one.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    Some(match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Bool(truth) => vec![u8::from(*truth)],
        Value::Number(number) => match number.as_i64() {
            Some(integer) => integer.to_le_bytes().to_vec(),
            None => number.as_f64()?.to_le_bytes().to_vec(),
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::PluginSection;

    #[test]
    fn properties_are_nested_or_dotted() {
        let text =
            r#"{"properties":{"xds.node.id":"a","xds":{"node":{"cluster":"b"}},"one\\.two":7}}"#;
        let section: PluginSection = serde_json::from_str(text).expect("valid");
        let properties = section.properties.expect("properties");
        assert_eq!(properties.value(&["xds", "node", "id"]), Some(&b"a"[..]));
        assert_eq!(properties.value(&["xds", "node", "cluster"]), Some(&b"b"[..]));
        assert_eq!(properties.value(&["one.two"]), Some(&7i64.to_le_bytes()[..]));
    }

    #[test]
    fn list_is_not_a_property() {
        let error = serde_json::from_str::<PluginSection>(r#"{"properties":{"a.b":[1]}}"#);
        let error = error.expect_err("a list").to_string();
        assert!(error.starts_with(r#""a.b" is [1]; expected a string"#), "{error}");
    }
}
