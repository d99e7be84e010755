//! The difference between what a map should hold and what it holds.

use alloc::{collections::BTreeMap, vec::Vec};

/// What to write into a map and what to take out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDelta<K, V> {
    /// New and changed entries, in key order.
    pub puts: Vec<(K, V)>,
    /// Keys of entries that should not be there, in order.
    pub removals: Vec<K>,
}

impl<K, V> MapDelta<K, V> {
    /// Whether the map is as it should be.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removals.is_empty()
    }
}

/// The operations that turn `actual` into `desired`.
pub fn diff<K: Ord + Clone, V: PartialEq + Clone>(
    desired: &BTreeMap<K, V>,
    actual: &BTreeMap<K, V>,
) -> MapDelta<K, V> {
    let changed = desired
        .iter()
        .filter(|(key, value)| actual.get(*key) != Some(*value));
    let stale = actual.keys().filter(|key| !desired.contains_key(*key));
    MapDelta {
        puts: changed
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        removals: stale.cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_desired_map(
            desired: BTreeMap<u8, u8>,
            actual: BTreeMap<u8, u8>,
        ) {
            let delta = diff(&desired, &actual);
            let mut map = actual;
            for key in &delta.removals {
                prop_assert!(map.remove(key).is_some());
            }
            map.extend(delta.puts.iter().copied());
            prop_assert!(diff(&desired, &map).is_empty());
            prop_assert_eq!(map, desired);
        }
    }
}
