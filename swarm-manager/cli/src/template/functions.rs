//! The functions of templates: Go's own that make sense for data, and Docker's additions.

use std::cmp::Ordering;

use serde_json::Value;

use super::show::{show, truth};
use crate::format::json;

const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print",
    "printf", "println", "json", "split", "join", "title", "lower", "upper", "pad", "truncate",
];

/// Whether a function of this name exists.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function; the error is the reason alone.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let value = match (name, args) {
        ("and", [_, ..]) => args
            .iter()
            .find(|v| !truth(v))
            .or_else(|| args.last())
            .cloned()
            .unwrap_or_default(),
        ("or", [_, ..]) => args
            .iter()
            .find(|v| truth(v))
            .or_else(|| args.last())
            .cloned()
            .unwrap_or_default(),
        ("not", [value]) => Value::from(!truth(value)),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let mut any = false;
            for other in others {
                any |= equal(first, other)?;
            }
            any.into()
        }
        ("ne", [a, b]) => (!equal(a, b)?).into(),
        ("lt", [a, b]) => compare(a, b)?.is_lt().into(),
        ("le", [a, b]) => compare(a, b)?.is_le().into(),
        ("gt", [a, b]) => compare(a, b)?.is_gt().into(),
        ("ge", [a, b]) => compare(a, b)?.is_ge().into(),
        ("len", [value]) => length(value)?.into(),
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("slice", [value, bounds @ ..]) => slice(value, bounds)?,
        ("print", _) => print(args).into(),
        ("println", _) => (args.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into(),
        ("printf", [Value::String(format), rest @ ..]) => printf(format, rest)?.into(),
        ("json", [value]) => json::compact(&public(value)).into(),
        ("split", [Value::String(text), Value::String(by)]) => text
            .split(by.as_str())
            .map(Value::from)
            .collect::<Vec<_>>()
            .into(),
        ("join", [Value::Array(list), Value::String(by)]) => {
            list.iter().map(show).collect::<Vec<_>>().join(by).into()
        }
        ("title", [Value::String(text)]) => title(text).into(),
        ("lower", [Value::String(text)]) => text.to_lowercase().into(),
        ("upper", [Value::String(text)]) => text.to_uppercase().into(),
        ("pad", [Value::String(text), before, after]) => pad(text, before, after)?.into(),
        ("truncate", [Value::String(text), length]) => truncate(text, length)?.into(),
        _ => return Err(format!("wrong number or type of args for {name}")),
    };
    Ok(value)
}

/// The value without the fields that are only for the engine.
fn public(value: &Value) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    let kept = map.iter().filter(|(key, _)| !key.starts_with('_'));
    Value::Object(
        kept.map(|(key, inner)| (key.clone(), inner.clone()))
            .collect(),
    )
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("non-comparable type".to_owned())
        }
        (Value::Null, _) | (_, Value::Null) => Ok(a == b),
        _ => compare(a, b).map(Ordering::is_eq),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let order = a.as_f64().partial_cmp(&b.as_f64());
            order.ok_or_else(|| "invalid type for comparison".to_owned())
        }
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(list) => Ok(list.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Err("len of nil pointer".to_owned()),
        Value::Bool(_) | Value::Number(_) => Err("len of type that has no length".to_owned()),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut current = value.clone();
    for key in keys {
        current = match (&current, key) {
            (Value::Array(list), Value::Number(at)) => {
                let at = at.as_u64().and_then(|at| usize::try_from(at).ok());
                let found = at.and_then(|at| list.get(at));
                found
                    .cloned()
                    .ok_or_else(|| format!("index out of range: {key}"))?
            }
            (Value::Object(map), Value::String(name)) => map.get(name).cloned().unwrap_or_default(),
            (Value::Null, _) => return Err("index of nil pointer".to_owned()),
            _ => return Err("can't index item".to_owned()),
        };
    }
    Ok(current)
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let total = length(value)?;
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Ok(default),
        Some(value) => whole(value)
            .filter(|n| *n <= total)
            .ok_or_else(|| "index out of range".to_owned()),
    };
    let (from, to) = (bound(0, 0)?, bound(1, total)?);
    match value {
        _ if from > to => Err("invalid slice index".to_owned()),
        Value::String(text) => text
            .get(from..to)
            .map(Value::from)
            .ok_or_else(|| "invalid slice index".to_owned()),
        Value::Array(list) => Ok(Value::from(list[from..to].to_vec())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("can't slice item".to_owned())
        }
    }
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// Go's `print`: blanks between operands when neither is a text.
fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 && !arg.is_string() && !args[at - 1].is_string() {
            out.push(' ');
        }
        out.push_str(&show(arg));
    }
    out
}

fn printf(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = args.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        if letters.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let left = letters.next_if_eq(&'-').is_some();
        let mut width = 0usize;
        while let Some(digit) = letters.peek().and_then(|c| c.to_digit(10)) {
            width = (width * 10 + digit as usize).min(10_000);
            letters.next();
        }
        let arg = rest.next().ok_or("printf: missing argument")?;
        let text = match letters.next() {
            Some('s' | 'v' | 'd' | 't' | 'f' | 'g') => show(arg),
            Some('q') => format!("{:?}", show(arg)),
            other => {
                return Err(format!(
                    "printf: verb %{} is not supported",
                    other.unwrap_or(' ')
                ));
            }
        };
        let padded = if left {
            format!("{text:<width$}")
        } else {
            format!("{text:>width$}")
        };
        out.push_str(&padded);
    }
    Ok(out)
}

fn title(text: &str) -> String {
    let mut start = true;
    let word = |letter: char| {
        let shown: String = if start {
            letter.to_uppercase().collect()
        } else {
            letter.to_string()
        };
        start = !letter.is_alphanumeric() && letter != '_' && letter != '\'';
        shown
    };
    text.chars().map(word).collect()
}

fn pad(text: &str, before: &Value, after: &Value) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let count = |value: &Value| whole(value).filter(|n| *n < 10_000).ok_or("pad: bad width");
    Ok(format!(
        "{}{text}{}",
        " ".repeat(count(before)?),
        " ".repeat(count(after)?)
    ))
}

fn truncate(text: &str, length: &Value) -> Result<String, String> {
    let length = whole(length).ok_or("truncate: bad length")?;
    Ok(text.get(..length).unwrap_or(text).to_owned())
}
