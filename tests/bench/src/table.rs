//! Rows of a measurement: what they say, whether the target is met, as a table and as JSON.

use std::fmt::Write as _;

use serde_json::json;

/// Which way is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Ours is at least this many times the peer's.
    AtLeast,
    /// Ours is at most this many times the peer's.
    AtMost,
}

/// One peer of a row.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    /// The ratio ours/peer to reach, if one is set.
    pub(crate) target: Option<(Wanted, f64)>,
}

/// One measured quantity.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    pub(crate) peers: Vec<Peer>,
}

impl Peer {
    fn ratio(&self, ours: f64) -> f64 {
        ours / self.value
    }

    fn is_met(&self, ours: f64) -> bool {
        self.target.is_none_or(|(wanted, ratio)| match wanted {
            Wanted::AtLeast => self.ratio(ours) >= ratio,
            Wanted::AtMost => self.ratio(ours) <= ratio,
        })
    }

    fn target_text(&self) -> String {
        self.target.map_or_else(String::new, |(wanted, ratio)| {
            let sign = match wanted {
                Wanted::AtLeast => ">=",
                Wanted::AtMost => "<=",
            };
            format!("{sign} {ratio:.2}x")
        })
    }
}

impl Row {
    pub(crate) fn is_met(&self) -> bool {
        self.peers.iter().all(|peer| peer.is_met(self.ours))
    }
}

/// A line per row and peer.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<24} {:>6} {:>9}   {:<20} {:>9} {:>8}   {:<9} verdict\n",
        "row", "unit", "ours", "peer", "peer's", "ratio", "target"
    );
    for row in rows {
        for peer in &row.peers {
            let verdict = match peer.target {
                None => "",
                Some(_) if peer.is_met(row.ours) => "ok",
                Some(_) => "MISSED",
            };
            writeln!(
                text,
                "{:<24} {:>6} {:>9.2}   {:<20} {:>9.2} {:>7.2}x   {:<9} {verdict}",
                row.name,
                row.unit,
                row.ours,
                peer.name,
                peer.value,
                peer.ratio(row.ours),
                peer.target_text()
            )
            .expect("writing to a string cannot fail");
        }
    }
    text
}

/// One object per row and line.
pub(crate) fn json(bench: &str, rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let by_name = |value: &dyn Fn(&Peer) -> serde_json::Value| -> serde_json::Value {
            let pairs = row
                .peers
                .iter()
                .map(|peer| (peer.name.to_owned(), value(peer)));
            serde_json::Value::Object(pairs.collect())
        };
        let object = json!({
            "bench": bench,
            "row": row.name,
            "unit": row.unit,
            "ours": row.ours,
            "peers": by_name(&|peer| json!(peer.value)),
            "ratios": by_name(&|peer| json!(peer.ratio(row.ours))),
            "target": by_name(&|peer| json!(peer.target_text())),
            "ok": row.is_met(),
        });
        writeln!(text, "{object}").expect("writing to a string cannot fail");
    }
    text
}

/// The middle value; the mean of the two middle ones of an even number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.as_slice() {
        [] => f64::NAN,
        values if values.len() % 2 == 1 => values[middle],
        values => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: f64) -> Row {
        let target = Some((Wanted::AtMost, 1.12));
        let veth = Peer {
            name: "veth",
            value: 10.0,
            target,
        };
        let vxlan = Peer {
            name: "vxlan",
            value: 20.0,
            target: None,
        };
        Row {
            name: "p50",
            unit: "us",
            ours,
            peers: vec![veth, vxlan],
        }
    }

    #[test]
    fn a_target_is_a_ratio_to_its_peer() {
        assert!(row(11.0).is_met());
        assert!(!row(12.0).is_met());
    }

    #[test]
    fn a_row_is_one_json_object() {
        let text = json("overlay", &[row(11.0)]);
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(value["ratios"]["veth"], json!(1.1));
        assert_eq!(value["target"]["veth"], json!("<= 1.12x"));
        assert_eq!(value["ok"], json!(true));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
