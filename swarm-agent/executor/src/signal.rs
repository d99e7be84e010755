//! Signal names and numbers as Docker takes them: `SIGTERM`, `TERM`, `15`, `RTMIN+3`.

use nix::sys::signal::Signal;

use crate::Error;

/// Real-time signals as glibc leaves them to applications.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

pub const SIGTERM: u32 = Signal::SIGTERM as u32;
pub const SIGKILL: u32 = Signal::SIGKILL as u32;

/// The number of a signal given by name (with or without `SIG`, any case) or number.
pub fn parse_signal(name: &str) -> Result<u32, Error> {
    let unknown = || Error::UnknownSignal {
        name: name.to_owned(),
    };
    if let Ok(number) = name.parse::<u32>() {
        return if (1..=RTMAX).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = bare.strip_prefix("RTMIN") {
        return real_time(offset, '+', |offset| RTMIN.checked_add(offset)).ok_or_else(unknown);
    }
    if let Some(offset) = bare.strip_prefix("RTMAX") {
        return real_time(offset, '-', |offset| RTMAX.checked_sub(offset)).ok_or_else(unknown);
    }
    let signal: Signal = format!("SIG{bare}").parse().map_err(|_| unknown())?;
    Ok(signal as u32)
}

fn real_time(text: &str, sign: char, apply: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let offset = if text.is_empty() {
        0
    } else {
        text.strip_prefix(sign)?.parse().ok()?
    };
    apply(offset).filter(|number| (RTMIN..=RTMAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMIN", 34),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse_signal(name).unwrap(), number, "{name}");
        }
        for name in ["", "0", "65", "SIGNOPE", "RTMIN+31", "RTMAX+1", "-9"] {
            let text = parse_signal(name).unwrap_err().to_string();
            assert_eq!(text, format!("Invalid signal: {name}"));
        }
    }
}
