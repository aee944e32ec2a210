//! JSON Schemas (draft 2020-12) of the entities, made from their Rust types.
//!
//! The types say what the published schemas say; `Compat` follows from that by the same rules as the relaxed reading of
//! [`crate::schema::check`]. Two notes on the types guide this and never reach the result: `x-null` (null is allowed in
//! the published schema too) and `x-compat` (members that take the place of others in `Compat`; null removes).

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Typed;
use crate::record::Profile;

/// The JSON Schema of an entity in a profile.
///
/// Patterns are those of ECMA 262, where `$` is the end of the text and digits are ASCII; Python's, which upstream uses,
/// also let pass a newline at the end and digits of other scripts.
#[must_use]
pub fn json_schema<T: Typed + JsonSchema>(profile: Profile) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    shape(&mut schema, profile, true);
    schema
}

fn shape(schema: &mut Value, profile: Profile, nullable: bool) {
    let Value::Object(object) = schema else { return };
    let null_published = object.shift_remove("x-null").is_some();
    let compat = object.shift_remove("x-compat");
    object.shift_remove("format");
    let required: Vec<String> = object
        .get("required")
        .and_then(Value::as_array)
        .map_or_else(Vec::new, |names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            shape(property, profile, !required.contains(name));
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            shape(inner, profile, true);
        }
    }
    if profile == Profile::Compat {
        relax(object, compat);
    }
    let null = null_published || profile == Profile::Compat && nullable;
    if !null {
        without_null(object);
    }
}

/// The relaxed reading: ids need one character after the prefix and may hold capitals, unknown fields pass, texts and
/// lists may be empty.
fn relax(object: &mut Map<String, Value>, compat: Option<Value>) {
    for bound in ["minLength", "minItems"] {
        object.shift_remove(bound);
    }
    if object.get("additionalProperties") == Some(&Value::Bool(false)) {
        object.shift_remove("additionalProperties");
    }
    if let Some(Value::String(pattern)) = object.get_mut("pattern")
        && let Some((prefix, _)) = pattern.split_once("[a-z0-9_]")
    {
        *pattern = format!("{prefix}[A-Za-z0-9_]+$");
    }
    for (name, value) in compat.into_iter().filter_map(|c| c.as_object().cloned()).flatten() {
        match value {
            Value::Null => object.shift_remove(&name),
            value => object.insert(name, value),
        };
    }
}

/// Takes null out of what a type made of `Option` allows.
fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".into(), one);
        }
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != json!({"type": "null"}));
    if let [Value::Object(one)] = choices.as_mut_slice() {
        let one = std::mem::take(one);
        object.shift_remove("anyOf");
        // What is said of the field goes before what is said of its type.
        for (name, value) in one {
            object.entry(name).or_insert(value);
        }
    }
}
