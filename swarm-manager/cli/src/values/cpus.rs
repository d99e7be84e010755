//! Numbers of CPUs, counted in billionths.

const BILLION: i128 = 1_000_000_000;

/// Reads `0.5`, `2` or `1/3` as billionths of a CPU.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let failed = || format!("failed to parse {text} as a rational number");
    let (numerator, denominator) = match text.split_once('/') {
        Some((above, below)) => (
            above.parse::<i128>().map_err(|_| failed())?,
            below
                .parse::<i128>()
                .ok()
                .filter(|n| *n > 0)
                .ok_or_else(failed)?,
        ),
        None => decimal(text).ok_or_else(failed)?,
    };
    let scaled = numerator.checked_mul(BILLION).ok_or_else(failed)?;
    if scaled % denominator != 0 {
        return Err("value is too precise".to_owned());
    }
    i64::try_from(scaled / denominator).map_err(|_| failed())
}

/// A decimal number as a fraction.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let below = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some((all.parse::<i128>().ok()? * sign, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_exact() {
        assert_eq!(parse("0.1"), Ok(100_000_000));
        assert_eq!(parse("2"), Ok(2_000_000_000));
        assert_eq!(parse("1/4"), Ok(250_000_000));
        assert_eq!(parse(".5"), Ok(500_000_000));
        assert_eq!(parse("1/3").unwrap_err(), "value is too precise");
        assert_eq!(
            parse("abc").unwrap_err(),
            "failed to parse abc as a rational number"
        );
        assert_eq!(
            parse("").unwrap_err(),
            "failed to parse  as a rational number"
        );
        assert!(parse("1/0").is_err());
    }
}
