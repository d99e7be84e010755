//! Natural order: `web.2` before `web.10`.

use std::cmp::Ordering;

/// Compares two texts with runs of digits taken as numbers. Digits come before other characters;
/// of two equal numbers the one with fewer leading zeros comes first.
pub(crate) fn compare(left: &str, right: &str) -> Ordering {
    let (mut a, mut b) = (left.as_bytes(), right.as_bytes());
    while let (Some(first), Some(second)) = (a.first(), b.first()) {
        match (first.is_ascii_digit(), second.is_ascii_digit()) {
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {
                if first != second {
                    return first.cmp(second);
                }
                (a, b) = (&a[1..], &b[1..]);
            }
            (true, true) => {
                let (number_a, rest_a) = take_number(a);
                let (number_b, rest_b) = take_number(b);
                let (value_a, value_b) = (trim_zeros(number_a), trim_zeros(number_b));
                let order = value_a
                    .len()
                    .cmp(&value_b.len())
                    .then_with(|| value_a.cmp(value_b));
                let order = order.then_with(|| number_a.len().cmp(&number_b.len()));
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
        }
    }
    a.len().cmp(&b.len())
}

fn take_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn trim_zeros(number: &[u8]) -> &[u8] {
    let start = number
        .iter()
        .position(|b| *b != b'0')
        .unwrap_or(number.len());
    &number[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_by_value() {
        let mut names = ["web.10", "web.2", "db.1", "web", "web.02", "1a", "a1"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(
            names,
            ["1a", "a1", "db.1", "web", "web.2", "web.02", "web.10"]
        );
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_total(a in "[a-c0-2.]{0,8}", b in "[a-c0-2.]{0,8}", c in "[a-c0-2.]{0,8}") {
            proptest::prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            proptest::prop_assert_eq!(compare(&a, &b) == Ordering::Equal, a == b);
            if compare(&a, &b).is_lt() && compare(&b, &c).is_lt() {
                proptest::prop_assert!(compare(&a, &c).is_lt());
            }
        }
    }
}
