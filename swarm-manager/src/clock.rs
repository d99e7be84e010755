//! The clock and the randomness of this process; core gets both as inputs.

use std::time::{SystemTime, UNIX_EPOCH};

use swarm_core::{id::Random, time::Timestamp};

/// The moment, on this host's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default(); // a clock before 1970 counts as 1970
    Timestamp(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The system's random bytes.
#[derive(Debug)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel's random generator works once the system is up");
    }
}
