//! Refused certificates whose reason may be a clock: the text names both times, so that an operator can tell.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};
use time::OffsetDateTime;

/// What a failed handshake means, if it is about time.
fn explain(error: &Error) -> Option<String> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only these few are about time"
    )]
    Some(match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => format!(
            "the certificate of the other node expired at {}, and the clock of this host says {}: compare the clocks of both hosts",
            text(*not_after),
            text(*time)
        ),
        Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => {
            format!(
                "the certificate of the other node is valid from {}, but the clock of this host says {}: compare the clocks of both hosts",
                text(*not_before),
                text(*time)
            )
        }
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::NotValidYet) => {
            "the certificate of the other node does not hold at this host's time: compare the clocks of both hosts".to_owned()
        }
        Error::AlertReceived(AlertDescription::CertificateExpired) => format!(
            "the other node says that this node's certificate has expired or is not valid yet; the clock of this host says {}: compare the clocks of both hosts",
            text(UnixTime::now())
        ),
        _ => return None,
    })
}

/// A failed handshake with a text for people.
pub fn handshake_error(error: io::Error) -> io::Error {
    let text = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
        .and_then(explain);
    match text {
        Some(text) => io::Error::new(error.kind(), text),
        None => error,
    }
}

/// Seconds since the epoch as people write a time, UTC.
pub fn utc(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| format!("{seconds} s after 1970"),
        |moment| {
            let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
            format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
        },
    )
}

fn text(time: UnixTime) -> String {
    utc(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn refusals_about_time_name_the_clock() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (time, not_after) = (at(1_700_000_000), at(1_600_000_000));
        for (error, parts) in [
            (
                CertificateError::ExpiredContext { time, not_after },
                [
                    "expired at 2020-09-13 12:26:40 UTC",
                    "2023-11-14 22:13:20 UTC",
                ],
            ),
            (
                CertificateError::NotValidYetContext {
                    time: not_after,
                    not_before: time,
                },
                [
                    "valid from 2023-11-14 22:13:20 UTC",
                    "2020-09-13 12:26:40 UTC",
                ],
            ),
        ] {
            let wrapped =
                io::Error::new(io::ErrorKind::InvalidData, Error::InvalidCertificate(error));
            let text = handshake_error(wrapped).to_string();
            for part in parts.into_iter().chain(["compare the clocks"]) {
                assert!(text.contains(part), "{text}");
            }
        }
        let other = io::Error::new(io::ErrorKind::InvalidData, Error::DecryptError);
        assert_eq!(
            handshake_error(other).to_string(),
            Error::DecryptError.to_string()
        );
    }
}
