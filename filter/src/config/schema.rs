//! The JSON Schema of the configuration, generated from the types that read it, so that editors and CI can check a file without
//! this program.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::read::OneOrMore;
use super::spec::{BufferingMode, ConfigSpec};

/// The JSON Schema (draft 2020-12) of a configuration document.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ConfigSpec).to_value()
}

/// A word alone stands for `buffering.response`.
pub(super) fn or_response_mode(schema: &mut Schema) {
    let object = std::mem::take(schema).to_value();
    *schema = json_schema!({ "anyOf": [{ "enum": BufferingMode::WORDS }, object] });
}

impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("OneOrMore_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "minItems": 1, "items": items })
    }
}
