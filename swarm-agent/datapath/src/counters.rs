//! What the programs counted, as values and as a table for people.

use std::collections::BTreeMap;
use std::fmt;

use swarm_common::maps::{Counter, ServiceStats};
use swarm_common::verdict::{DropReason, Program, Verdict};

/// All counters at one moment; entries that are zero are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub verdicts: BTreeMap<(Program, Verdict), Counter>,
    /// Packets per reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// Per service number.
    pub services: BTreeMap<u32, ServiceStats>,
}

impl Counters {
    /// Packets that met this verdict in any program.
    pub fn packets(&self, verdict: Verdict) -> u64 {
        let matching = self
            .verdicts
            .iter()
            .filter(|((_, other), _)| *other == verdict);
        matching.map(|(_, counter)| counter.packets).sum()
    }

    /// Packets dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(&reason).copied().unwrap_or_default()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:<52} {:>14} {:>18}",
            "PROGRAM", "VERDICT", "PACKETS", "BYTES"
        )?;
        for ((program, verdict), counter) in &self.verdicts {
            let (program, verdict) = (program.text(), verdict.text());
            let Counter { packets, bytes } = counter;
            writeln!(f, "{program:<22} {verdict:<52} {packets:>14} {bytes:>18}")?;
        }
        writeln!(f, "\n{:<75} {:>14}", "DROP REASON", "PACKETS")?;
        for (reason, packets) in &self.drops {
            writeln!(f, "{:<75} {packets:>14}", reason.text())?;
        }
        writeln!(
            f,
            "\n{:<12} {:>14} {:>18} {:>14} {:>14}",
            "SERVICE", "PACKETS", "BYTES", "NEW FLOWS", "NO BACKEND"
        )?;
        for (service, stats) in &self.services {
            let ServiceStats {
                packets,
                bytes,
                new_flows,
                no_backend,
            } = stats;
            writeln!(
                f,
                "{service:<12} {packets:>14} {bytes:>18} {new_flows:>14} {no_backend:>14}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_program_verdict_and_reason() {
        let mut counters = Counters::default();
        let key = (Program::TaskIngress, Verdict::Drop);
        counters.verdicts.insert(
            key,
            Counter {
                packets: 3,
                bytes: 180,
            },
        );
        counters.drops.insert(DropReason::SourceSpoofed, 3);
        let text = counters.to_string();
        let lines: Vec<_> = text
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>())
            .collect();
        assert_eq!(lines[1], ["tc_task_ingress", "dropped", "3", "180"]);
        assert_eq!(lines[4].last(), Some(&"3"));
        assert!(text.contains(DropReason::SourceSpoofed.text()));
        assert_eq!(counters.packets(Verdict::Drop), 3);
        assert_eq!(counters.dropped(DropReason::NoFlow), 0);
    }
}
