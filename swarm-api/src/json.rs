//! How Go reads and writes JSON, where that differs from serde: `null` means the zero value, empty optional fields are
//! left out, moments are RFC 3339 with nanoseconds, spans are integers of nanoseconds.

use core::time::Duration;

use serde::{Serializer, de::DeserializeOwned};
use serde_json::Value;
use swarm_core::time::Timestamp;

use crate::Refusal;

/// Go's zero time, which its encoder prints for a moment that was never set.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Reads a request body the way Go's decoder does.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    decode(parse_value(body)?)
}

/// Reads a request body as a tree without nulls.
pub fn parse_value(body: &[u8]) -> Result<Value, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::InvalidJson {
            reason: String::from("got EOF while reading request body"),
        });
    }
    let mut value: Value = serde_json::from_slice(body).map_err(|error| Refusal::InvalidJson {
        reason: error.to_string(),
    })?;
    strip_nulls(&mut value);
    Ok(value)
}

/// Decodes a tree from [`parse_value`].
pub fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|error| Refusal::InvalidJson {
        reason: error.to_string(),
    })
}

/// Removes members that are `null`: Go leaves the zero value in their place.
fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(strip_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a tree holds nothing but zero values, so that leaving it out means the same.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
    }
}

/// Whether a field holds its zero value; for `skip_serializing_if`.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Prints a ratio as Go does: `0`, not `0.0`.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(crate) fn ratio<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.total_cmp(&0.0).is_eq() {
        serializer.serialize_u64(0)
    } else if value.total_cmp(&1.0).is_eq() {
        serializer.serialize_u64(1)
    } else {
        serializer.serialize_f64(*value)
    }
}

/// A moment as Go prints it: RFC 3339, UTC, as many digits of the nanoseconds as are needed.
pub fn rfc3339(moment: Timestamp) -> String {
    if moment.is_zero() {
        return String::from(ZERO_TIME);
    }
    jiff::Timestamp::from_nanosecond(i128::from(moment.0))
        .map_or_else(|_| String::from(ZERO_TIME), |moment| moment.to_string())
}

/// A moment as Docker prints it in front of log lines: always nine digits, so that lines align and sort.
pub fn rfc3339_fixed(moment: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(moment.0))
        .map_or_else(|_| String::from(ZERO_TIME), |moment| format!("{moment:.9}"))
}

/// A moment from its RFC 3339 text; Go's zero time and moments before 1970 are "never".
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    if text == ZERO_TIME {
        return Some(Timestamp::default());
    }
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp(
        u64::try_from(moment.as_nanosecond()).unwrap_or(0),
    ))
}

/// A moment as unix seconds, for the fields of containers and images that want them.
pub fn unix_seconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.0 / 1_000_000_000).unwrap_or(i64::MAX)
}

/// A moment from the `since` and `until` parameters: unix seconds with an optional fraction, or RFC 3339.
pub fn parse_moment(text: &str) -> Option<Timestamp> {
    if text.is_empty() {
        return Some(Timestamp::default());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<u64>() {
        if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let nanoseconds = format!("{fraction:0<9}").parse::<u64>().ok()?;
        return Some(Timestamp(
            seconds
                .checked_mul(1_000_000_000)?
                .checked_add(nanoseconds)?,
        ));
    }
    parse_rfc3339(text)
}

/// A span as Go's nanoseconds.
pub fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// A span from Go's nanoseconds; `field` names it in the refusal of a negative one.
pub fn span(nanoseconds: i64, field: &'static str) -> Result<Duration, Refusal> {
    u64::try_from(nanoseconds)
        .map(Duration::from_nanos)
        .map_err(|_| Refusal::Negative { field })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_as_go_prints_them_and_come_back() {
        for (nanoseconds, text) in [
            (1_795_359_157_770_847_500, "2026-11-22T14:52:37.7708475Z"),
            (1_795_359_157_000_000_000, "2026-11-22T14:52:37Z"),
            (0, ZERO_TIME),
        ] {
            assert_eq!(rfc3339(Timestamp(nanoseconds)), text);
            assert_eq!(parse_rfc3339(text), Some(Timestamp(nanoseconds)));
        }
    }

    #[test]
    fn moments_of_log_requests() {
        for (text, expected) in [
            ("", Some(0)),
            ("12", Some(12_000_000_000)),
            ("12.5", Some(12_500_000_000)),
            ("12.000000001", Some(12_000_000_001)),
            ("2026-11-22T14:52:37Z", Some(1_795_359_157_000_000_000)),
            ("yesterday", None),
            ("1.x", None),
        ] {
            assert_eq!(parse_moment(text), expected.map(Timestamp), "{text}");
        }
    }

    #[test]
    fn null_is_the_zero_value_and_an_empty_body_is_refused() {
        let value = parse_value(br#"{"a":null,"b":[{"c":null}]}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"b":[{}]}"#);
        assert_eq!(
            parse_value(b"").unwrap_err().to_string(),
            "invalid JSON: got EOF while reading request body"
        );
    }
}
