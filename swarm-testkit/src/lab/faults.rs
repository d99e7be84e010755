//! Faults of the network between hosts: the switch drops what one host sends to another. The hosts themselves notice nothing
//! but silence, as with a broken switch.

use std::process::Command;

use super::Lab;
use crate::netns::{Netns, run};

/// nftables' table in the switch's namespace.
const TABLE: &str = "faults";

impl Lab {
    /// From now on nothing that host `from` sends reaches host `to`; the other direction stays.
    pub fn drop_packets(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let (from, to) = (self.host(from).ip(), self.host(to).ip());
        self.nft(&format!(
            "add table bridge {TABLE}; \
             add chain bridge {TABLE} between {{ type filter hook forward priority 0; }}; \
             add rule bridge {TABLE} between ip saddr {from} ip daddr {to} drop"
        ))
    }

    /// Nothing passes between these hosts and those, in either direction.
    pub fn part(&self, these: &[usize], those: &[usize]) -> anyhow::Result<()> {
        for one in these {
            for other in those {
                self.drop_packets(*one, *other)?;
                self.drop_packets(*other, *one)?;
            }
        }
        Ok(())
    }

    /// Everything passes again.
    pub fn mend(&self) -> anyhow::Result<()> {
        self.nft(&format!("delete table bridge {TABLE}"))
    }

    fn nft(&self, rules: &str) -> anyhow::Result<()> {
        let switch = Netns::named(&self.claim.site.namespace("net"));
        let mut nft: Command = switch.command("nft");
        run(nft.arg(rules)).map(drop)
    }
}
