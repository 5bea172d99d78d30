//! The manifests match the schemas of their kinds in `tests/schemas/`, so that a cluster does not
//! reject them for an unknown field.

use std::fs;

use serde_json::{Value, json};
use sluice_tests::root;

use super::manifests::manifests;

const FILES: [&str; 3] =
    ["kubernetes/deployment.yaml", "istio/sluice.yaml", "envoy-gateway/sluice.yaml"];

/// Places where the schema allows any field.
const OPEN: [&str; 7] = [
    "/labels/",
    "/annotations/",
    "/matchLabels/",
    "/spec/selector/app",
    "/pluginConfig/",
    "/config/",
    "/value/",
];

fn all() -> Vec<Value> {
    FILES.iter().flat_map(|file| manifests(file)).collect()
}

/// The validator for a kind of manifest.
struct Schema(jsonschema::Validator);

impl Schema {
    fn of(manifest: &Value) -> Self {
        let kind = manifest["kind"].as_str().expect("a manifest has a kind");
        let file = root().join("tests/schemas").join(format!("{kind}.json"));
        let text = fs::read_to_string(file).unwrap_or_else(|_| panic!("no schema for {kind}"));
        let schema = serde_json::from_str(&text).expect("a schema is JSON");
        Self(jsonschema::validator_for(&schema).expect("a schema"))
    }

    fn mistakes(&self, manifest: &Value) -> Vec<String> {
        let errors = self.0.iter_errors(manifest);
        errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}

/// Collects every field of a manifest as (place of the parent, name), except where any field is
/// allowed.
fn fields(value: &Value, place: &str, found: &mut Vec<(String, String)>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        _ => return,
    };
    for (name, child) in children {
        let below = format!("{place}/{name}");
        if OPEN.iter().any(|open| below.contains(open)) {
            continue;
        }
        if value.is_object() {
            found.push((place.to_owned(), name));
        }
        fields(child, &below, found);
    }
}

/// The manifest with one field changed.
fn changed(manifest: &Value, place: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut manifest = manifest.clone();
    change(manifest.pointer_mut(place).expect("a place of the manifest"));
    manifest
}

#[test]
fn every_manifest_matches_the_schema_of_its_kind() {
    for manifest in all() {
        assert_eq!(Schema::of(&manifest).mistakes(&manifest), [""; 0], "{}", manifest["kind"]);
    }
}

#[test]
fn the_schemas_reject_misspelled_fields_and_wrong_types() {
    for manifest in all() {
        let schema = Schema::of(&manifest);
        let mut found = Vec::new();
        fields(&manifest, "", &mut found);
        assert!(found.len() > 9, "{found:?}");
        for (place, name) in found {
            let misspelled = changed(&manifest, &place, |parent| {
                let value = parent[&name].take();
                parent.as_object_mut().expect("a field is in an object").remove(&name);
                parent[format!("{name}s")] = value;
            });
            assert_ne!(schema.mistakes(&misspelled), [""; 0], "{place}/{name}s");
            if ["value", "config"].contains(&name.as_str()) {
                continue;
            }
            let mistyped = changed(&manifest, &place, |parent| parent[&name] = json!([[]]));
            assert_ne!(schema.mistakes(&mistyped), [""; 0], "{place}/{name}");
        }
    }
}
