//! Short numbers for long names in map keys: a hash of the name, moved on where two names meet. The same set of names gives the
//! same numbers on every node and after every restart, so nothing has to be remembered.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

/// A number above zero for each name. A name keeps its number while others come and go, unless two hashes are equal.
pub fn numbers<N: Ord + Clone>(names: impl IntoIterator<Item = (N, u64)>) -> BTreeMap<N, u32> {
    let mut sorted: Vec<(N, u64)> = names.into_iter().collect();
    sorted.sort();
    let mut taken = BTreeSet::new();
    let mut numbered = BTreeMap::new();
    for (name, hash) in sorted {
        if numbered.contains_key(&name) {
            continue;
        }
        let mut number = u32::try_from(super::maglev::mix(hash) >> 32)
            .unwrap_or(1)
            .max(1);
        while !taken.insert(number) {
            number = number.checked_add(1).unwrap_or(1);
        }
        numbered.insert(name, number);
    }
    numbered
}

/// FNV-1a (RFC 9923 section 2) over a name's bytes.
pub(super) fn hash_bytes(parts: &[&[u8]]) -> u64 {
    parts
        .iter()
        .flat_map(|part| part.iter())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hashes_get_different_numbers_above_zero() {
        let found = numbers([("a", 7), ("b", 7), ("c", 7)]);
        let distinct: BTreeSet<u32> = found.values().copied().collect();
        assert_eq!(distinct.len(), 3);
        assert!(!distinct.contains(&0));
    }

    #[test]
    fn a_name_keeps_its_number_when_others_go() {
        let all = numbers((0u64..1000).map(|name| (name, name)));
        let some = numbers((0u64..1000).step_by(3).map(|name| (name, name)));
        assert!(
            some.iter()
                .all(|(name, number)| all.get(name) == Some(number))
        );
    }
}
