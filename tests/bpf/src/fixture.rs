//! The programs, loaded without being attached, and what one packet does to them.

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{CgroupSockAddr, SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, Pod};
use swarm_common::config::{CONFIG_GLOBAL, Config};
use swarm_common::maps::{Counter, DropCount, Meta, VipClient, names, vip_client};
use swarm_common::verdict::{COUNTERS, DropReason, Program, Verdict};

/// The object under test.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SWARM_EBPF_OBJECT_PATH"));

/// Programs at traffic control hooks.
pub const CLASSIFIERS: [&str; 2] = ["tc_task_ingress", "tc_underlay_ingress"];
/// Programs at the root cgroup.
pub const CGROUP: [&str; 4] = ["connect4", "sendmsg4", "recvmsg4", "getpeername4"];

/// Loaded programs with their own maps.
#[derive(Debug)]
pub struct Fixture {
    /// For maps this type has no method for.
    pub ebpf: Ebpf,
}

/// What a packet led to, completely.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// -1 next, 2 drop, 7 redirect.
    pub action: i32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Verdicts that were counted.
    pub verdicts: Vec<(Program, Verdict)>,
    /// Drops that were counted.
    pub drops: Vec<DropReason>,
}

impl Fixture {
    /// Loads every program with this configuration.
    pub fn load(config: &Config) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .override_global(CONFIG_GLOBAL, config, true)
            .load(OBJECT)?;
        for name in CLASSIFIERS {
            let program: &mut SchedClassifier = program(&mut ebpf, name)?.try_into()?;
            program.load().with_context(|| format!("program {name}"))?;
        }
        for name in CGROUP {
            let program: &mut CgroupSockAddr = program(&mut ebpf, name)?.try_into()?;
            program.load().with_context(|| format!("program {name}"))?;
        }
        Ok(Self { ebpf })
    }

    /// Makes what programs remember of the tables void, as the agent does after every change.
    pub fn raise_generation(&mut self) -> Result<()> {
        let map = self.ebpf.map_mut(names::META).context("no meta")?;
        let mut array: Array<_, Meta> = Array::try_from(map)?;
        let meta = array.get(&0, 0)?;
        let generation = meta.generation + 1;
        Ok(array.set(0, Meta { generation, ..meta }, 0)?)
    }

    /// A hash map of the object, to be changed.
    pub fn map<K: Pod, V: Pod>(&mut self, name: &str) -> Result<HashMap<&mut MapData, K, V>> {
        self.raise_generation()?;
        self.map_quietly(name)
    }

    /// A hash map of the object, to be changed by somebody who does not raise the generation.
    pub fn map_quietly<K: Pod, V: Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self
            .ebpf
            .map_mut(name)
            .ok_or_else(|| anyhow!("no map {name}"))?;
        Ok(HashMap::try_from(map)?)
    }

    /// Writes one entry.
    pub fn put<K: Pod, V: Pod>(&mut self, name: &str, key: K, value: V) -> Result<()> {
        self.map(name)?
            .insert(key, value, 0)
            .with_context(|| format!("map {name}"))
    }

    /// One entry of a per-CPU array, as each CPU has it.
    pub fn on_each_cpu<V: Pod>(&self, name: &str, index: u32) -> Result<Vec<V>> {
        let map = self
            .ebpf
            .map(name)
            .with_context(|| format!("no map {name}"))?;
        let array: PerCpuArray<_, V> = PerCpuArray::try_from(map)?;
        Ok(array.get(&index, 0)?.iter().copied().collect())
    }

    /// Gives every CPU the same value in one entry of a per-CPU array.
    pub fn set_on_each_cpu<V: Pod>(&mut self, name: &str, index: u32, value: V) -> Result<()> {
        let values = PerCpuValues::try_from(vec![
            value;
            aya::util::nr_cpus()
                .map_err(|(_, error)| error)?
        ])?;
        let map = self
            .ebpf
            .map_mut(name)
            .with_context(|| format!("no map {name}"))?;
        let mut array: PerCpuArray<_, V> = PerCpuArray::try_from(map)?;
        Ok(array.set(index, values, 0)?)
    }

    /// Notes that what is behind an interface has sent to a virtual address.
    pub fn uses_virtual_addresses(&mut self, ifindex: u32) -> Result<()> {
        let map = self
            .ebpf
            .map_mut(names::VIP_CLIENTS)
            .context("no vip_clients")?;
        let mut clients: Array<_, VipClient> = Array::try_from(map)?;
        Ok(clients.set(vip_client(ifindex), VipClient { used: 1 }, 0)?)
    }

    /// Sends a packet through a classifier.
    pub fn run(&mut self, name: &str, packet: &[u8]) -> Result<Outcome> {
        let before = (self.verdicts()?, self.drops()?);
        let mut out = vec![0_u8; packet.len() + 256];
        let program: &mut SchedClassifier = program(&mut self.ebpf, name)?.try_into()?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        })?;
        out.truncate(usize::try_from(result.data_size_out)?);
        let after = (self.verdicts()?, self.drops()?);
        Ok(Outcome {
            action: result.return_value.cast_signed(),
            packet: out,
            verdicts: moved(&before.0, &after.0),
            drops: moved(&before.1, &after.1),
        })
    }

    /// Packets per (program, verdict), all CPUs together.
    pub fn verdicts(&self) -> Result<Vec<((Program, Verdict), u64)>> {
        let map = self.ebpf.map(names::COUNTERS).context("no counters")?;
        let counters: PerCpuArray<_, Counter> = PerCpuArray::try_from(map)?;
        let mut rows = Vec::new();
        for index in 0..COUNTERS {
            let packets = counters.get(&index, 0)?.iter().map(|cpu| cpu.packets).sum();
            let program = Program::from_index(index / Verdict::COUNT).context("program")?;
            let verdict = Verdict::from_index(index % Verdict::COUNT).context("verdict")?;
            rows.push(((program, verdict), packets));
        }
        Ok(rows)
    }

    /// Packets per reason, all CPUs together.
    pub fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        let map = self.ebpf.map(names::DROPS).context("no drops")?;
        let drops: PerCpuArray<_, DropCount> = PerCpuArray::try_from(map)?;
        let mut rows = Vec::new();
        for reason in DropReason::ALL {
            let packets = drops
                .get(&reason.index(), 0)?
                .iter()
                .map(|cpu| cpu.packets)
                .sum();
            rows.push((*reason, packets));
        }
        Ok(rows)
    }

    /// The size of a map's entries, as the kernel has it.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "aya's enum; the rest is an error"
    )]
    pub fn entry_sizes(&self, name: &str) -> Result<(u32, u32)> {
        use aya::maps::Map;
        let map = self
            .ebpf
            .map(name)
            .ok_or_else(|| anyhow!("no map {name}"))?;
        let data = match map {
            Map::HashMap(data)
            | Map::LruHashMap(data)
            | Map::PerCpuHashMap(data)
            | Map::Array(data)
            | Map::PerCpuArray(data)
            | Map::RingBuf(data) => data,
            other => return Err(anyhow!("unexpected kind of map {name}: {other:?}")),
        };
        let info = data.info()?;
        Ok((info.key_size(), info.value_size()))
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name)
        .ok_or_else(|| anyhow!("no program {name}"))
}

/// The keys whose count has grown, once per packet.
fn moved<T: Copy + PartialEq>(before: &[(T, u64)], after: &[(T, u64)]) -> Vec<T> {
    let mut keys = Vec::new();
    for ((key, old), (_, new)) in before.iter().zip(after) {
        for _ in *old..*new {
            keys.push(*key);
        }
    }
    keys
}
