//! Clocks of a joiner and of the manager it joins.

use alloc::format;
use core::time::Duration;

use super::{Code, ControlError};
use crate::time::Timestamp;

/// How far two clocks may be apart: certificates count from an hour before they are made, and half of that is for drift
/// after the join.
const MAX_SKEW: Duration = Duration::from_mins(30);

/// Refuses a join when this host's clock is so far from the manager's that a certificate of the one would not be valid for
/// the other.
pub fn check_clock(ours: Timestamp, managers: Timestamp) -> Result<(), ControlError> {
    let ahead = ours.since(managers);
    let behind = managers.since(ours);
    let (skew, direction) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    if skew <= MAX_SKEW {
        return Ok(());
    }
    let minutes = skew.as_secs() / 60;
    let (hours, minutes) = (minutes / 60, minutes % 60);
    Err(ControlError::new(
        Code::FailedPrecondition,
        format!(
            "the clock of this host is {hours}h{minutes}m {direction} the manager's: set both by the same source (NTP) and join again"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_hours_off_is_named() {
        let at = |minutes: u64| Timestamp(1_800_000_000_000_000_000) + Duration::from_mins(minutes);
        for (ours, managers, expected) in [
            (100, 100, None),
            (130, 100, None),
            (100, 130, None),
            (250, 100, Some("is 2h30m ahead of the manager's")),
            (100, 131, Some("is 0h31m behind the manager's")),
            (100, 5 * 24 * 60, Some("is 118h20m behind the manager's")),
        ] {
            match (check_clock(at(ours), at(managers)), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(text)) => {
                    assert!(error.message.contains(text), "{}", error.message);
                }
                (outcome, _) => panic!("{ours} {managers}: {outcome:?}"),
            }
        }
    }
}
