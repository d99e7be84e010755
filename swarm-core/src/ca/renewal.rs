//! When a node renews its certificate: between 50 % and 80 % of its life, at once when its issuer or its key is to
//! change, and again
//! after a failure with growing, jittered pauses.

use core::time::Duration;

use crate::{id::Random, time::Timestamp};

/// Least pause after a failure.
const RETRY_BASE: Duration = Duration::from_secs(1);
/// What is added at most after the first failure; doubles with each further one.
const RETRY_FACTOR: Duration = Duration::from_secs(2);
/// Longest random part of a pause.
const RETRY_MAX: Duration = Duration::from_hours(1);
/// Part of the remaining life that a pause may take, so that there are always attempts left.
const RETRY_SHARE: u32 = 8;
/// Nodes that are all asked at the same moment come within this time.
const SPREAD: Duration = Duration::from_millis(500);
/// A certificate is not renewed earlier than this after it was obtained, whoever asks: short beside a rotation of the root.
const LEAST_AGE: Duration = Duration::from_secs(1);

/// When a certificate is renewed: at a random moment between 50 % and 80 % of its life, so that nodes do not all come
/// at once and failures leave time to retry.
fn renew_at(not_before: Timestamp, not_after: Timestamp, rng: &mut dyn Random) -> Timestamp {
    let life = u64::try_from(not_after.since(not_before).as_nanos()).unwrap_or(u64::MAX);
    let earliest = life / 2;
    let span = life / 10 * 3;
    not_before + Duration::from_nanos(earliest.saturating_add(rng.below(span)))
}

/// How long a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before this moment.
    pub not_before: Timestamp,
    /// Not after this moment.
    pub not_after: Timestamp,
}

impl Validity {
    /// Whether it no longer holds at `now`.
    pub fn expired(self, now: Timestamp) -> bool {
        now > self.not_after
    }
}

/// The next renewal of a node's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    validity: Validity,
    due: Timestamp,
    /// Not before this moment.
    earliest: Timestamp,
    /// It was asked for, which counts once: attempts that fail make room for others.
    asked: bool,
    failures: u32,
}

impl Renewal {
    /// For a certificate that was obtained, or found on disk, at `now`.
    pub fn new(validity: Validity, now: Timestamp, rng: &mut dyn Random) -> Self {
        let due = renew_at(validity.not_before, validity.not_after, rng);
        let earliest = now + LEAST_AGE;
        Self {
            validity,
            due: due.max(earliest),
            earliest,
            asked: false,
            failures: 0,
        }
    }

    /// When to renew.
    pub fn due(&self) -> Timestamp {
        self.due
    }

    /// Whether the certificate no longer holds at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.validity.expired(now)
    }

    /// It is to be another one: the managers say so, or its key lay in plain. To be called as often as that holds; a pause after a failure
    /// is not cut short by it.
    pub fn ask(&mut self, now: Timestamp, rng: &mut dyn Random) {
        if core::mem::replace(&mut self.asked, true) {
            return;
        }
        let spread = u64::try_from(SPREAD.as_nanos()).unwrap_or(u64::MAX);
        let soon = now.max(self.earliest) + Duration::from_nanos(rng.below(spread));
        self.due = self.due.min(soon);
    }

    /// An attempt failed at `now`.
    pub fn fail(&mut self, now: Timestamp, rng: &mut dyn Random) {
        let doubled = RETRY_FACTOR.saturating_mul(1 << self.failures.min(20));
        let random = u64::try_from(doubled.min(RETRY_MAX).as_nanos()).unwrap_or(u64::MAX);
        let pause = RETRY_BASE + Duration::from_nanos(rng.below(random));
        let left = self.validity.not_after.since(now) / RETRY_SHARE;
        self.failures = self.failures.saturating_add(1);
        self.due = now + pause.min(left).max(RETRY_BASE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SeededRandom, at};

    const HOUR: u64 = 3600;

    fn validity() -> Validity {
        Validity {
            not_before: at(0),
            not_after: at(100 * HOUR),
        }
    }

    #[test]
    fn renewal_falls_between_half_and_four_fifths_of_life() {
        let mut rng = SeededRandom::new(1);
        let (from, to) = (Timestamp(1_000), Timestamp(11_000));
        for _ in 0..1000 {
            let at = renew_at(from, to, &mut rng).0;
            assert!((6_000..9_000).contains(&at), "{at}");
        }
    }

    #[test]
    fn a_certificate_past_its_moment_is_renewed_soon_but_not_in_a_loop() {
        let mut rng = SeededRandom::new(2);
        let now = at(90 * HOUR);
        let renewal = Renewal::new(validity(), now, &mut rng);
        assert_eq!(renewal.due(), now + LEAST_AGE);
        assert!(!renewal.expired(at(100 * HOUR)));
        assert!(renewal.expired(at(100 * HOUR + 1)));
    }

    #[test]
    fn who_is_asked_comes_soon_and_who_fails_waits_longer_each_time() {
        let mut rng = SeededRandom::new(3);
        let now = at(HOUR);
        let mut renewal = Renewal::new(validity(), now, &mut rng);
        assert!(renewal.due() >= at(50 * HOUR));
        renewal.ask(now, &mut rng);
        assert!(renewal.due() >= now + LEAST_AGE, "it is quite new");
        assert!(renewal.due() < now + LEAST_AGE + SPREAD);
        let mut renewal = Renewal::new(validity(), now, &mut rng);
        let now = now + LEAST_AGE;
        renewal.ask(now, &mut rng);
        assert!(renewal.due() < now + SPREAD);
        for failures in 0..12u32 {
            renewal.fail(now, &mut rng);
            let most = RETRY_BASE + (RETRY_FACTOR * (1 << failures)).min(RETRY_MAX);
            assert!(renewal.due() >= now + RETRY_BASE, "{failures}");
            assert!(renewal.due() < now + most, "{failures}");
            let before = renewal;
            renewal.ask(now, &mut rng);
            assert_eq!(renewal, before, "who is asked again waits no less");
        }
    }

    #[test]
    fn close_to_the_end_the_pauses_are_short() {
        let mut rng = SeededRandom::new(4);
        let now = at(100 * HOUR - 80);
        let mut renewal = Renewal::new(validity(), now, &mut rng);
        for _ in 0..20 {
            renewal.fail(now, &mut rng);
            assert!(renewal.due() <= now + Duration::from_secs(10));
        }
        let late = at(101 * HOUR);
        renewal.fail(late, &mut rng);
        assert_eq!(
            renewal.due(),
            late + RETRY_BASE,
            "expired, but not given up"
        );
    }
}
