//! Points in time for logs: a duration back from now, a timestamp, or Unix seconds.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::duration;

/// The moment as `seconds.nanoseconds`, which is what the Engine API takes.
pub(crate) fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<String> {
    if let Ok(back) = duration::parse(text) {
        let span = jiff::SignedDuration::from_nanos(back);
        return now.checked_sub(span).ok().map(seconds);
    }
    let looks_dated = text.contains(['-', 'T', ':']);
    if !looks_dated {
        let number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        return (number && !text.is_empty()).then(|| text.to_owned());
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(seconds(moment));
    }
    let civil = text.parse::<DateTime>().ok();
    let civil = civil.or_else(|| Some(text.parse::<Date>().ok()?.at(0, 0, 0, 0)))?;
    civil
        .to_zoned(zone.clone())
        .ok()
        .map(|zoned| seconds(zoned.timestamp()))
}

fn seconds(moment: Timestamp) -> String {
    let nanos = moment.as_nanosecond();
    format!(
        "{}.{:09}",
        nanos.div_euclid(1_000_000_000),
        nanos.rem_euclid(1_000_000_000)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_unix_seconds() {
        let now: Timestamp = "2026-11-22T15:00:00Z".parse().unwrap();
        let read = |text: &str| parse(text, now, &TimeZone::UTC);
        assert_eq!(read("1h").as_deref(), Some("1795356000.000000000"));
        assert_eq!(
            read("2026-11-22T15:00:00.5Z").as_deref(),
            Some("1795359600.500000000")
        );
        assert_eq!(
            read("2026-11-22T15:00:00").as_deref(),
            Some("1795359600.000000000")
        );
        assert_eq!(read("2026-11-22").as_deref(), Some("1795305600.000000000"));
        assert_eq!(read("1795359600.25").as_deref(), Some("1795359600.25"));
        assert_eq!(read("yesterday"), None);
        assert_eq!(read(""), None);
    }
}
