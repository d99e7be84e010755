//! Makes the maps hold what a plan wants, in an order that never shows the programs a reference
//! to something that is not there: additions from the referred-to to the referring, then
//! removals the other way round, then the flows of endpoints that are gone.

use std::collections::BTreeSet;

use swarm_common::layout::{LAYOUT_HASH, SCHEMA_VERSION};
use swarm_common::maps::{EndpointKey, Meta};
use swarm_core::datapath::{DesiredMaps, diff};

use crate::flows;
use crate::report::{ApplyReport, Difference, DifferenceKind, VerifyReport};
use crate::store::{MapStore, StoreError};
use crate::tables::{ForEachTable, Table};

/// Applies plans to a store and remembers what it wrote, so that a small change costs a few
/// system calls and not a walk over every map.
#[derive(Debug, Default)]
pub struct Reconciler {
    /// What the store holds as far as we know; `None` before the first plan and after a failure.
    known: Option<DesiredMaps>,
}

impl Reconciler {
    /// Makes the store hold `desired`.
    pub fn apply(
        &mut self,
        store: &mut impl MapStore,
        desired: &DesiredMaps,
    ) -> Result<ApplyReport, StoreError> {
        // Taken: after a failure nothing is known and the next plan reads the maps first.
        let current = match self.known.take() {
            Some(known) => known,
            None => read(store)?,
        };
        let report = transform(store, &current, desired)?;
        self.known = Some(desired.clone());
        Ok(report)
    }

    /// Compares what the store really holds with `desired`, and mends it if asked to.
    pub fn verify(
        &mut self,
        store: &mut impl MapStore,
        desired: &DesiredMaps,
        repair: bool,
    ) -> Result<VerifyReport, StoreError> {
        let actual = read(store)?;
        let mut report = compare(&actual, desired);
        if repair && !report.differences.is_empty() {
            self.known = None;
            report.repair = Some(transform(store, &actual, desired)?);
            self.known = Some(desired.clone());
        }
        Ok(report)
    }
}

/// Everything the store holds.
pub fn read(store: &impl MapStore) -> Result<DesiredMaps, StoreError> {
    struct Reader<'a, S> {
        store: &'a S,
        maps: DesiredMaps,
    }
    impl<S: MapStore> ForEachTable for Reader<'_, S> {
        type Error = StoreError;
        fn visit<T: Table>(&mut self) -> Result<(), StoreError> {
            *T::of_mut(&mut self.maps) = self.store.entries::<T>()?;
            Ok(())
        }
    }
    let mut reader = Reader {
        store,
        maps: DesiredMaps::default(),
    };
    reader.referred_first()?;
    Ok(reader.maps)
}

/// Lists every entry of `actual` that is not as in `desired`.
pub fn compare(actual: &DesiredMaps, desired: &DesiredMaps) -> VerifyReport {
    let mut comparer = Comparer {
        actual,
        desired,
        report: VerifyReport::default(),
    };
    let Ok(()) = comparer.referred_first();
    comparer.report
}

struct Comparer<'a> {
    actual: &'a DesiredMaps,
    desired: &'a DesiredMaps,
    report: VerifyReport,
}

impl ForEachTable for Comparer<'_> {
    type Error = std::convert::Infallible;

    fn visit<T: Table>(&mut self) -> Result<(), Self::Error> {
        let (actual, desired) = (T::of(self.actual), T::of(self.desired));
        let delta = diff(desired, actual);
        self.report.compared += actual.len().max(desired.len());
        for (key, wanted) in &delta.puts {
            let found = actual.get(key);
            let kind = if found.is_some() {
                DifferenceKind::Changed
            } else {
                DifferenceKind::Missing
            };
            self.report
                .differences
                .push(difference::<T>(kind, key, found, Some(wanted)));
        }
        for key in &delta.removals {
            let found = actual.get(key);
            let kind = DifferenceKind::Unexpected;
            self.report
                .differences
                .push(difference::<T>(kind, key, found, None));
        }
        Ok(())
    }
}

fn difference<T: Table>(
    kind: DifferenceKind,
    key: &T::Key,
    found: Option<&T::Value>,
    wanted: Option<&T::Value>,
) -> Difference {
    Difference {
        map: T::NAME,
        kind,
        key: format!("{key:?}"),
        found: found.map(|value| shortened(format!("{value:?}"))),
        wanted: wanted.map(|value| shortened(format!("{value:?}"))),
    }
}

/// A Maglev table has a thousand numbers; the first few identify it.
fn shortened(text: String) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => text.get(..end).unwrap_or(&text).to_owned() + "...",
        None => text,
    }
}

/// Turns `current` into `desired` inside the store.
fn transform(
    store: &mut impl MapStore,
    current: &DesiredMaps,
    desired: &DesiredMaps,
) -> Result<ApplyReport, StoreError> {
    let mut change = Change {
        store,
        current,
        desired,
        report: ApplyReport::default(),
    };
    Additions(&mut change).referred_first()?;
    Removals(&mut change).referring_first()?;
    let mut report = change.report;
    report.flows_forgotten = forget_flows(store, current, desired)?;
    for service in current
        .maglev
        .keys()
        .filter(|service| !desired.maglev.contains_key(service))
    {
        store.remove_service_stats(*service)?;
    }
    let meta = store.meta()?;
    report.generation = meta.generation + 1;
    store.set_meta(Meta {
        layout_hash: LAYOUT_HASH,
        generation: report.generation,
        schema_version: SCHEMA_VERSION,
        flags: meta.flags,
    })?;
    Ok(report)
}

struct Change<'a, S> {
    store: &'a mut S,
    current: &'a DesiredMaps,
    desired: &'a DesiredMaps,
    report: ApplyReport,
}

struct Additions<'a, 'b, S>(&'a mut Change<'b, S>);
struct Removals<'a, 'b, S>(&'a mut Change<'b, S>);

impl<S: MapStore> ForEachTable for Additions<'_, '_, S> {
    type Error = StoreError;
    fn visit<T: Table>(&mut self) -> Result<(), StoreError> {
        for (key, value) in diff(T::of(self.0.desired), T::of(self.0.current)).puts {
            self.0.store.put::<T>(&key, &value)?;
            self.0.report.written += 1;
        }
        Ok(())
    }
}

impl<S: MapStore> ForEachTable for Removals<'_, '_, S> {
    type Error = StoreError;
    fn visit<T: Table>(&mut self) -> Result<(), StoreError> {
        for key in diff(T::of(self.0.desired), T::of(self.0.current)).removals {
            self.0.store.remove::<T>(&key)?;
            self.0.report.removed += 1;
        }
        Ok(())
    }
}

/// A flow towards an endpoint that is gone would keep its packets going nowhere.
fn forget_flows(
    store: &mut impl MapStore,
    current: &DesiredMaps,
    desired: &DesiredMaps,
) -> Result<usize, StoreError> {
    let absent = current
        .endpoints
        .keys()
        .filter(|key| !desired.endpoints.contains_key(key));
    let gone: BTreeSet<EndpointKey> = absent.copied().collect();
    if gone.is_empty() {
        return Ok(0);
    }
    let mut forgotten = 0;
    for (key, value) in store.flows()? {
        if flows::touches(&gone, &key, &value) {
            store.remove_flow(&key)?;
            forgotten += 1;
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
#[path = "reconcile_test.rs"]
mod tests;
