//! The network between hosts: delays, losses, copies, cuts in one direction or both.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::ground::{Ground, lock, sleep};

/// How long a connection keeps repeating what is lost before it breaks.
const BREAKS_AFTER: Duration = Duration::from_secs(3);
/// Pause before something lost is sent again.
const RESEND: Duration = Duration::from_millis(200);

/// A number of a host.
pub(crate) type HostId = usize;

#[derive(Debug, Default)]
struct State {
    /// From, to.
    cut: BTreeSet<(HostId, HostId)>,
    /// Of a thousand messages.
    lost: u64,
    copied: u64,
    /// Delays in microseconds.
    delay: (u64, u64),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    ground: Arc<Ground>,
    state: Mutex<State>,
}

/// The connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Network {
    pub(crate) fn new(ground: Arc<Ground>) -> Self {
        let network = Self {
            ground,
            state: Mutex::default(),
        };
        network.heal();
        network
    }

    /// No faults; what is left is what every network does.
    pub(crate) fn heal(&self) {
        *lock(&self.state) = State {
            delay: (100, 2_000),
            ..State::default()
        };
    }

    /// Loses and copies that many messages of a thousand, and delays them by up to `delay_ms`.
    pub(crate) fn set_bad(&self, lost: u64, copied: u64, delay_ms: u64) {
        let mut state = lock(&self.state);
        (state.lost, state.copied) = (lost, copied);
        state.delay = (100, delay_ms * 1000);
    }

    /// Cuts the way from one host to another.
    pub(crate) fn cut(&self, from: HostId, to: HostId) {
        lock(&self.state).cut.insert((from, to));
    }

    /// Takes all cuts away.
    pub(crate) fn join(&self) {
        lock(&self.state).cut.clear();
    }

    /// Whether a message is sent a second time.
    pub(crate) fn copies(&self) -> bool {
        let copied = lock(&self.state).copied;
        self.ground.chance(copied)
    }

    /// How long one message travels; `None` if it never arrives.
    pub(crate) fn travel(&self, from: HostId, to: HostId) -> Option<Duration> {
        if from == to {
            return Some(Duration::from_micros(50));
        }
        let state = lock(&self.state);
        if state.cut.contains(&(from, to)) || self.ground.chance(state.lost) {
            return None;
        }
        Some(self.ground.micros(state.delay.0, state.delay.1))
    }

    /// One message that may get lost: never returns if it does.
    pub(crate) async fn datagram(&self, from: HostId, to: HostId) {
        match self.travel(from, to) {
            Some(delay) => sleep(delay).await,
            None => std::future::pending().await,
        }
    }

    /// A message on a connection: sent again until it arrives or the connection breaks.
    pub(crate) async fn stream(&self, from: HostId, to: HostId) -> Result<(), Broken> {
        let mut waited = Duration::ZERO;
        while waited < BREAKS_AFTER {
            // A cut in one direction loses the acknowledgements.
            let back = self.travel(to, from);
            if let (Some(delay), Some(_)) = (self.travel(from, to), back) {
                sleep(delay).await;
                return Ok(());
            }
            sleep(RESEND).await;
            waited += RESEND;
        }
        Err(Broken)
    }
}
