//! Sizes in bytes with binary units: `32m`, `1.5GiB`.

/// Reads a size. Units are powers of 1024, upper or lower case, with or without `b` or `ib`.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(invalid)?;
    let (number, suffix) = (text[..=end].trim_end_matches(' '), &text[end + 1..]);
    let parsed: f64 = number
        .parse()
        .map_err(|_| format!("strconv.ParseFloat: parsing {number:?}: invalid syntax"))?;
    if parsed < 0.0 {
        return Err(invalid());
    }
    let factor = factor(&suffix.to_lowercase())
        .ok_or_else(|| format!("invalid suffix: '{}'", suffix.to_lowercase()))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "Docker truncates fractions of a byte"
    )]
    Ok((parsed * factor) as i64)
}

fn factor(suffix: &str) -> Option<f64> {
    let power = match suffix.chars().next() {
        None => return Some(1.0),
        Some('b') => return (suffix == "b").then_some(1.0),
        Some(letter) => "kmgtp".find(letter)? + 1,
    };
    let tail = &suffix[1..];
    let exponent = i32::try_from(power).ok()?;
    matches!(tail, "" | "b" | "ib").then(|| 1024f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("32M", 33_554_432),
            ("512kb", 524_288),
            ("1.5g", 1_610_612_736),
            ("1 GiB", 1_073_741_824),
            ("7", 7),
            ("7b", 7),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn bad_sizes_say_why() {
        for (text, error) in [
            ("abc", "invalid size: 'abc'"),
            ("-1m", "invalid size: '-1m'"),
            ("1x", "invalid suffix: 'x'"),
            ("1mi", "invalid suffix: 'mi'"),
            ("1bb", "invalid suffix: 'bb'"),
            ("", "invalid size: ''"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }
}
