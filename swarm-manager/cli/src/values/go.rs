//! Numbers and booleans as Go's strconv reads them, with its error texts, which Docker's command
//! line shows to its users.

/// Reads a decimal, hexadecimal (`0x`), octal (`0o`, `0`) or binary (`0b`) number of `bits` bits.
pub(crate) fn parse_uint(text: &str, bits: u32) -> Result<u64, String> {
    let (digits, radix) = split_radix(text);
    let cleaned = digits.replace('_', "");
    let syntax = || format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
    let range = || format!("strconv.ParseUint: parsing {text:?}: value out of range");
    if cleaned.is_empty() || !cleaned.chars().all(|c| c.is_digit(radix)) {
        return Err(syntax());
    }
    let value = u64::from_str_radix(&cleaned, radix).map_err(|_| range())?;
    if bits < 64 && value >> bits != 0 {
        return Err(range());
    }
    Ok(value)
}

/// Reads a decimal number without a prefix.
pub(crate) fn parse_decimal(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let reason = if digits {
        "value out of range"
    } else {
        "invalid syntax"
    };
    let error = || format!("strconv.ParseUint: parsing {text:?}: {reason}");
    if digits {
        text.parse().map_err(|_| error())
    } else {
        Err(error())
    }
}

/// Reads a signed number.
pub(crate) fn parse_int(text: &str) -> Result<i64, String> {
    let error = |reason: &str| format!("strconv.ParseInt: parsing {text:?}: {reason}");
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_uint(rest, 64).map_err(|e| {
        error(if e.ends_with("out of range") {
            "value out of range"
        } else {
            "invalid syntax"
        })
    })?;
    let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
    i64::try_from(signed).map_err(|_| error("value out of range"))
}

/// Reads a fraction.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    text.parse()
        .map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

/// Reads a boolean in any of Go's spellings.
pub(crate) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {text:?}: invalid syntax"
        )),
    }
}

fn split_radix(text: &str) -> (&str, u32) {
    let lower = text.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0x") => (&text[2..], 16),
        Some("0o") => (&text[2..], 8),
        Some("0b") => (&text[2..], 2),
        Some(two) if two.starts_with('0') => (&text[1..], 8),
        _ => (text, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("0", 0),
            ("10", 10),
            ("0x1f", 31),
            ("010", 8),
            ("0b11", 3),
            ("1_0", 10),
        ] {
            assert_eq!(parse_uint(text, 64), Ok(value), "{text}");
        }
        for text in ["", "-1", "1.5", "x", "08"] {
            assert!(parse_uint(text, 64).is_err(), "{text}");
        }
        assert_eq!(
            parse_uint("70000", 16).unwrap_err(),
            "strconv.ParseUint: parsing \"70000\": value out of range"
        );
        assert_eq!(parse_int("-5"), Ok(-5));
        assert_eq!(
            parse_decimal("0x1").unwrap_err(),
            "strconv.ParseUint: parsing \"0x1\": invalid syntax"
        );
    }

    #[test]
    fn booleans_have_six_spellings_each() {
        assert_eq!(parse_bool("T"), Ok(true));
        assert_eq!(parse_bool("0"), Ok(false));
        assert!(parse_bool("yes").is_err());
    }
}
