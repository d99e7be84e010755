//! Timestamps of the Engine API: ages, and Go's way of printing a time.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::human;

/// The time since an RFC 3339 stamp in words, without "ago".
pub(crate) fn age(stamp: &str, now: Timestamp) -> String {
    human::duration(nanos_since(stamp, now))
}

/// Nanoseconds since an RFC 3339 stamp; Go's longest duration when there is none.
pub(crate) fn nanos_since(stamp: &str, now: Timestamp) -> i64 {
    let Ok(then) = stamp.parse::<Timestamp>() else {
        return i64::MAX;
    };
    let nanos = now.as_nanosecond() - then.as_nanosecond();
    i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

/// An RFC 3339 stamp as Go prints a time: `2026-11-22 14:16:14.557731022 +0000 UTC`.
pub(crate) fn go(stamp: &str) -> String {
    stamp
        .parse::<Timestamp>()
        .map_or_else(|_| stamp.to_owned(), |at| zoned(at, TimeZone::UTC))
}

/// A moment as Go prints it in a time zone.
pub(crate) fn zoned(at: Timestamp, zone: TimeZone) -> String {
    let local = at.to_zoned(zone);
    let fraction = if local.subsec_nanosecond() == 0 {
        String::new()
    } else {
        let digits = format!("{:09}", local.subsec_nanosecond());
        format!(".{}", digits.trim_end_matches('0'))
    };
    format!(
        "{}{fraction} {}",
        local.strftime("%Y-%m-%d %H:%M:%S"),
        local.strftime("%z %Z")
    )
}

/// An RFC 3339 stamp in C's form: `Tue Sep 15 11:02:57 2026`.
pub(crate) fn ansic(stamp: &str) -> String {
    stamp.parse::<Timestamp>().map_or_else(
        |_| stamp.to_owned(),
        |at| {
            at.to_zoned(TimeZone::UTC)
                .strftime("%a %b %e %H:%M:%S %Y")
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(
            go("2026-11-22T14:16:14.557731022Z"),
            "2026-11-22 14:16:14.557731022 +0000 UTC"
        );
        assert_eq!(
            go("2026-11-22T14:16:14.5Z"),
            "2026-11-22 14:16:14.5 +0000 UTC"
        );
        assert_eq!(go("2026-11-22T14:16:14Z"), "2026-11-22 14:16:14 +0000 UTC");
        assert_eq!(
            ansic("2026-09-15T11:02:57.000000000+00:00"),
            "Tue Sep 15 11:02:57 2026"
        );
        assert_eq!(ansic("2026-09-05T11:02:57Z"), "Sat Sep  5 11:02:57 2026");
    }

    #[test]
    fn an_absent_stamp_is_very_old() {
        let now = "2026-11-22T14:16:14Z".parse().unwrap();
        assert_eq!(age("", now), "292 years");
        assert_eq!(age("2026-11-22T14:16:04.9Z", now), "9 seconds");
        assert_eq!(age("2026-11-22T14:16:24Z", now), "Less than a second");
    }
}
