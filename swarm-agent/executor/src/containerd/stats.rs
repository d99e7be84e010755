//! What a running container uses, from the metrics of its cgroup as containerd reports them.

use containerd_client::services::v1::MetricsRequest;
use prost::Message;

use super::Engine;
use super::client::unless_missing;
use super::run::timestamp;
use crate::Error;
use crate::executor::Stats;
use crate::spec::ContainerId;

/// The fields we show of `io.containerd.cgroups.v1.Metrics` (containerd/cgroups, stats/v1).
mod v1 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metrics {
        #[prost(message, optional, tag = "2")]
        pub(super) pids: Option<Pids>,
        #[prost(message, optional, tag = "3")]
        pub(super) cpu: Option<Cpu>,
        #[prost(message, optional, tag = "4")]
        pub(super) memory: Option<Memory>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Pids {
        #[prost(uint64, tag = "1")]
        pub(super) current: u64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Cpu {
        #[prost(message, optional, tag = "1")]
        pub(super) usage: Option<CpuUsage>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct CpuUsage {
        #[prost(uint64, tag = "1")]
        pub(super) total_nanos: u64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Memory {
        #[prost(uint64, tag = "19")]
        pub(super) total_inactive_file: u64,
        #[prost(message, optional, tag = "33")]
        pub(super) usage: Option<MemoryUsage>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct MemoryUsage {
        #[prost(uint64, tag = "1")]
        pub(super) limit: u64,
        #[prost(uint64, tag = "2")]
        pub(super) usage: u64,
    }
}

/// The same of `io.containerd.cgroups.v2.Metrics`.
mod v2 {
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Metrics {
        #[prost(message, optional, tag = "1")]
        pub(super) pids: Option<super::v1::Pids>,
        #[prost(message, optional, tag = "2")]
        pub(super) cpu: Option<Cpu>,
        #[prost(message, optional, tag = "4")]
        pub(super) memory: Option<Memory>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Cpu {
        #[prost(uint64, tag = "1")]
        pub(super) usage_microseconds: u64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Memory {
        #[prost(uint64, tag = "14")]
        pub(super) inactive_file: u64,
        #[prost(uint64, tag = "32")]
        pub(super) usage: u64,
        #[prost(uint64, tag = "33")]
        pub(super) usage_limit: u64,
    }
}

impl Engine {
    pub(crate) async fn stats(&self, id: &ContainerId) -> Result<Stats, Error> {
        let request = MetricsRequest {
            filters: vec![format!("id=={id}")],
        };
        let metrics = unless_missing(self.api.tasks().metrics(self.api.request(request)).await)
            .map_err(self.api.failed("metrics"))?
            .and_then(|response| response.into_inner().metrics.into_iter().next());
        let Some(metric) = metrics else {
            self.record(id).await?;
            return Err(Error::NotRunning { id: id.clone() });
        };
        let data = metric.data.unwrap_or_default();
        let stats = decode(&data.type_url, &data.value).map_err(|reason| Error::Answer {
            call: "metrics",
            reason,
        })?;
        Ok(Stats {
            at: timestamp(metric.timestamp),
            ..stats
        })
    }
}

fn decode(type_url: &str, bytes: &[u8]) -> Result<Stats, String> {
    if type_url.ends_with("cgroups.v1.Metrics") {
        let metrics = v1::Metrics::decode(bytes).map_err(|error| error.to_string())?;
        let memory = metrics.memory.unwrap_or_default();
        let usage = memory.usage.unwrap_or_default();
        let cpu = metrics.cpu.and_then(|cpu| cpu.usage).unwrap_or_default();
        return Ok(Stats {
            cpu_total_nanos: cpu.total_nanos,
            // As Docker: without cache that the kernel would give up at once.
            memory_bytes: usage.usage.saturating_sub(memory.total_inactive_file),
            memory_limit_bytes: usage.limit,
            pids: metrics.pids.unwrap_or_default().current,
            ..Stats::default()
        });
    }
    if type_url.ends_with("cgroups.v2.Metrics") {
        let metrics = v2::Metrics::decode(bytes).map_err(|error| error.to_string())?;
        let memory = metrics.memory.unwrap_or_default();
        return Ok(Stats {
            cpu_total_nanos: metrics.cpu.unwrap_or_default().usage_microseconds * 1000,
            memory_bytes: memory.usage.saturating_sub(memory.inactive_file),
            memory_limit_bytes: memory.usage_limit,
            pids: metrics.pids.unwrap_or_default().current,
            ..Stats::default()
        });
    }
    Err(format!("metrics of unknown type \"{type_url}\""))
}
