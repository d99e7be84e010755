//! How Go prints values and how its templates judge truth.

use serde_json::Value;

/// A value as `{{.}}` prints it.
pub(super) fn show(value: &Value) -> String {
    if value.is_null() {
        "<no value>".to_owned()
    } else {
        nested(value)
    }
}

/// A value inside another one.
fn nested(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(on) => on.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!(
                "[{}]",
                list.iter().map(nested).collect::<Vec<_>>().join(" ")
            )
        }
        Value::Object(map) => {
            let mut pairs: Vec<_> = map
                .iter()
                .filter(|(key, _)| !key.starts_with('_'))
                .collect();
            pairs.sort_by_key(|(key, _)| *key);
            let shown: Vec<String> = pairs
                .iter()
                .map(|(key, inner)| format!("{key}:{}", nested(inner)))
                .collect();
            format!("map[{}]", shown.join(" "))
        }
    }
}

/// Whether a value counts as true in `if`, `and`, `or`, `not`.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}
