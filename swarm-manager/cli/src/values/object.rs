//! Reading and building JSON objects: the client keeps the server's JSON as it came, so that an
//! update sends back every field it was given, also those this client knows nothing of.

use serde_json::{Map, Value};

/// The text at a path (`/Spec/Name`), empty when absent.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The number at a path, zero when absent.
pub(crate) fn number(value: &Value, pointer: &str) -> i64 {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The unsigned number at a path, when present.
pub(crate) fn uint(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// Whether the value at a path is `true`.
pub(crate) fn on(value: &Value, pointer: &str) -> bool {
    value
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The list at a path, empty when absent or null.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts of the list at a path.
pub(crate) fn texts<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(value, pointer)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

/// The object at a path sorted by key, empty when absent or null.
pub(crate) fn sorted<'a>(value: &'a Value, pointer: &str) -> Vec<(&'a str, &'a Value)> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    let mut pairs: Vec<_> = map
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v))
        .collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
}

/// Whether the value at a path is there and not null.
pub(crate) fn has(value: &Value, pointer: &str) -> bool {
    value.pointer(pointer).is_some_and(|inner| !inner.is_null())
}

/// The object at a path of keys, created where absent or null.
pub(crate) fn ensure<'a>(value: &'a mut Value, keys: &[&str]) -> &'a mut Map<String, Value> {
    let mut current = value;
    for key in keys {
        current = as_map(current).entry(*key).or_insert(Value::Null);
    }
    as_map(current)
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("was just made an object")
}

/// Whether Go's `omitempty` would leave the value out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// Sets a field, or removes it when the value is empty.
pub(crate) fn put(map: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    let value = value.into();
    if is_empty(&value) {
        map.shift_remove(key);
    } else {
        map.insert(key.to_owned(), value);
    }
}

/// `key=value` texts as an object; a later one wins.
pub(crate) fn from_pairs(pairs: &[String]) -> Map<String, Value> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((key, value)) => (key.to_owned(), Value::from(value)),
        None => (pair.clone(), Value::from("")),
    };
    pairs.iter().map(split).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_survive_an_edit() {
        let mut spec = json!({"A": {"Future": 1}, "B": null});
        put(ensure(&mut spec, &["A"]), "Known", 2);
        put(ensure(&mut spec, &["B", "C"]), "D", "x");
        assert_eq!(
            spec,
            json!({"A": {"Future": 1, "Known": 2}, "B": {"C": {"D": "x"}}})
        );
        put(ensure(&mut spec, &["A"]), "Known", 0);
        assert_eq!(spec["A"], json!({"Future": 1}));
    }

    #[test]
    fn absent_and_null_read_as_empty() {
        let value = json!({"L": null, "S": "x", "N": 3});
        assert_eq!(text(&value, "/S"), "x");
        assert_eq!(text(&value, "/None/Deep"), "");
        assert_eq!(number(&value, "/N"), 3);
        assert!(list(&value, "/L").is_empty());
        assert!(!has(&value, "/L"));
    }
}
