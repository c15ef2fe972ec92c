//! The JSON Schema (draft 7) of pipeline files, for editors.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::registry::Registry;
use crate::settings::Settings;

/// The schema of a pipeline with the stages of a registry, made from the types that read it.
pub fn schema(registry: &Registry) -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut root = generator.into_root_schema_for::<Settings>().to_value();
    let mut definitions = take_map(&mut root, "definitions");
    let mut kinds = vec![];
    for (name, schema) in registry.schemas() {
        let mut stage = schema.clone().to_value();
        definitions.append(&mut take_map(&mut stage, "definitions"));
        kinds.push(json!({ "$ref": format!("#/definitions/stage-{name}") }));
        definitions.insert(format!("stage-{name}"), with_wiring(stage, name));
    }
    let stages = json!({
        "description": "The stages by name.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": { "oneOf": kinds },
    });
    let mut properties = take_map(&mut root, "properties");
    properties.insert("stages".into(), stages);
    root["properties"] = Value::Object(properties);
    root["required"] = json!(["stages"]);
    root["definitions"] = Value::Object(definitions);
    root["title"] = json!("Nextscale pipeline");
    root
}

/// The parameters of a stage together with the two keys that every stage has.
fn with_wiring(mut stage: Value, name: &str) -> Value {
    if let Some(object) = stage.as_object_mut() {
        object.remove("$schema");
        object.remove("title");
    }
    let mut properties = take_map(&mut stage, "properties");
    properties.insert("stage".into(), json!({ "const": name }));
    let wire = json!({
        "description": "The stage that feeds this one; a mapping if it has several inputs.",
        "oneOf": [
            { "type": "string" },
            { "type": "object", "additionalProperties": { "type": "string" } },
        ],
    });
    properties.insert("from".into(), wire);
    let required = stage["required"].as_array().cloned().unwrap_or_default();
    let required: Vec<Value> = std::iter::once(json!("stage")).chain(required).collect();
    stage["properties"] = Value::Object(properties);
    stage["required"] = Value::Array(required);
    stage
}

fn take_map(value: &mut Value, key: &str) -> Map<String, Value> {
    match value.as_object_mut().and_then(|o| o.remove(key)) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_the_repository_is_this_schema() {
        let file = include_str!("../pipeline.schema.json");
        let schema = serde_json::to_string_pretty(&schema(&Registry::builtin())).unwrap();
        let help = "run `nextscale schema > pipelines/pipeline.schema.json`";
        assert!(file.trim_end() == schema, "{help}");
    }
}
