//! Durations and sizes rounded for people, with Docker's words.

/// A duration in words: "About a minute", "3 weeks".
pub(crate) fn duration(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (..1, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// A size with binary units and four digits: `32MiB`, `23.54GiB`.
pub(crate) fn bytes(size: i64) -> String {
    scale(
        size,
        1024.0,
        &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"],
        4,
    )
}

/// A size with decimal units and three digits: `21.5MB`.
pub(crate) fn decimal_bytes(size: i64) -> String {
    scale(size, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

fn scale(size: i64, base: f64, units: &[&str], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = size as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// C's `%.Ng` for numbers that need no exponent.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number of digits of a value that is at most a few thousand"
    )]
    let whole = value.abs().log10().floor().max(-4.0) as i32 + 1;
    let decimals = usize::try_from(i32::try_from(digits).unwrap_or(4) - whole).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_change_unit_where_dockers_do() {
        let second = 1_000_000_000;
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (59 * 86400, "8 weeks"),
            (60 * 86400, "2 months"),
            (90 * 86400, "3 months"),
            (729 * 86400, "24 months"),
            (730 * 86400, "2 years"),
            (-5, "Less than a second"),
        ] {
            assert_eq!(duration(seconds * second), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_four_digits() {
        assert_eq!(bytes(33_554_432), "32MiB");
        assert_eq!(bytes(25_276_510_208), "23.54GiB");
        assert_eq!(bytes(1023), "1023B");
        assert_eq!(bytes(0), "0B");
        assert_eq!(decimal_bytes(21_473_000), "21.5MB");
        assert_eq!(decimal_bytes(0), "0B");
    }
}
