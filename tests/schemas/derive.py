"""Writes the schemas next to this file; README.md lists the sources and how to run it."""

import json
from pathlib import Path

from cloudcoil.models.istio.extensions.v1alpha1 import WasmPlugin
from cloudcoil.models.istio.networking.v1alpha3 import EnvoyFilter
from cloudcoil.models.kubernetes.apps.v1 import Deployment
from cloudcoil.models.kubernetes.core.v1 import Service


def strict(schema):
    """Returns the schema without descriptions and without nulls; unknown fields are forbidden."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kinds = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        return strict(kinds[0])
    named = ("properties", "$defs")
    kept = {
        key: {name: strict(value) for name, value in part.items()} if key in named else strict(part)
        for key, part in schema.items()
        if key in named or key not in ("title", "description", "default")
    }
    if kinds:
        kept["anyOf"] = strict(kinds)
    if schema.get("properties"):
        kept.setdefault("additionalProperties", False)
    return kept


for model in (WasmPlugin, EnvoyFilter, Deployment, Service):
    schema = strict(model.model_json_schema(by_alias=True))
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    for name, field in (("apiVersion", "api_version"), ("kind", "kind")):
        schema["properties"][name] = {"const": model.model_fields[field].default}
    text = json.dumps(schema, indent=1, sort_keys=True)
    Path(__file__).with_name(f"{model.__name__}.json").write_text(text + "\n")
