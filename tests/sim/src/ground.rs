//! What every part of a simulated cluster stands on: seeded randomness, virtual time, the trace, the faults that were put in
//! by hand.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use openraft::{AsyncRuntime as _, Instant as _};
use openraft_rt_sim::{SimInstant, SimRuntime};
use sha2::{Digest as _, Sha256};
use swarm_core::{id::Random, time::Timestamp};

/// 2026-01-01 00:00:00 UTC, when every simulation begins.
const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000_000);

/// A fault put in by hand, to prove that the simulation finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sabotage {
    /// The disk says that a vote is written before it is.
    VoteNotSynced,
    /// The disk says that entries are written before they are.
    AppendNotSynced,
    /// The allocator gives a task the address that another one has.
    AddressTwice,
    /// A manager answers reads without asking the others whether it still leads.
    StaleReads,
    /// The cluster does not remember which nodes were removed.
    RemovalsForgotten,
}

/// Locks; a panic of another task has been reported by then.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shared by everything in one simulation.
#[derive(Debug)]
pub(crate) struct Ground {
    random: Mutex<u64>,
    trace: Mutex<Trace>,
    pub(crate) sabotage: Option<Sabotage>,
}

#[derive(Debug)]
struct Trace {
    lines: u64,
    digest: Sha256,
    /// Kept only when asked for.
    text: Option<Vec<String>>,
}

impl Ground {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, keep_trace: bool) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(seed ^ 0x5377_6172_6d53_696d),
            trace: Mutex::new(Trace {
                lines: 0,
                digest: Sha256::new(),
                text: keep_trace.then(Vec::new),
            }),
            sabotage,
        })
    }

    /// SplitMix64.
    fn next(&self) -> u64 {
        let mut state = lock(&self.random);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// An index below `len`.
    pub(crate) fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// Whether something of this probability, in thousandths, happens.
    pub(crate) fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A time from `low` to `high` microseconds.
    pub(crate) fn micros(&self, low: u64, high: u64) -> Duration {
        Duration::from_micros(low + self.below(high.saturating_sub(low) + 1))
    }

    /// A time from `low` to `high` milliseconds.
    pub(crate) fn millis(&self, low: u64, high: u64) -> Duration {
        self.micros(low * 1000, high * 1000)
    }

    /// Adds a line to the trace, with the time.
    pub(crate) fn trace(&self, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>12.6} {what}", elapsed().as_secs_f64());
        let mut trace = lock(&self.trace);
        trace.lines += 1;
        trace.digest.update(line.as_bytes());
        trace.digest.update(b"\n");
        if let Some(text) = &mut trace.text {
            text.push(line);
        }
    }

    /// Number of lines, their SHA-256, and the lines if they were kept.
    pub(crate) fn finish_trace(&self) -> (u64, String, Vec<String>) {
        let mut trace = lock(&self.trace);
        let digest = hex::encode(trace.digest.clone().finalize());
        let text = trace.text.take().unwrap_or_default();
        (trace.lines, digest, text)
    }
}

/// Randomness for core.
#[derive(Debug)]
pub(crate) struct Dice<'a>(pub(crate) &'a Ground);

impl Random for Dice<'_> {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.0.next().to_le_bytes();
            for (byte, value) in chunk.iter_mut().zip(random) {
                *byte = value;
            }
        }
    }
}

/// Virtual time since the simulation began.
pub(crate) fn elapsed() -> Duration {
    SimInstant::now().elapsed_since_start()
}

/// The moment on a clock that is `skew` nanoseconds off.
pub(crate) fn clock(skew: i64) -> Timestamp {
    let exact = EPOCH + elapsed();
    Timestamp(exact.0.saturating_add_signed(skew))
}

/// Lets virtual time pass: an event of the simulated clock, which costs no time of ours.
pub(crate) async fn sleep(duration: Duration) {
    SimRuntime::sleep(duration).await;
}

/// Starts a task.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(SimRuntime::spawn(task));
}

/// The outcome of `work`, or `None` if it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
    SimRuntime::timeout(limit, work).await.ok()
}
