//! Runs the agent: checks that this host can carry it, picks up what an earlier agent left, serves the Engine API until it is told
//! to stop. Tasks, packets and the manager go on without it.

use std::sync::Arc;

use anyhow::{Context, bail};
use nix::unistd::Uid;
use swarm_agent_executor::{ContainerdConfig, ContainerdExecutor};
use swarm_agent_net::Netlink;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    config::Options,
    host_facts::HostFacts,
    membership::Member,
    node::Parts,
    node_key::NodeKey,
    state::{StateDir, make_dir},
};

/// Serves until SIGTERM or SIGINT.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    if !Uid::effective().is_root() {
        bail!(
            "swarm-agent must be run as root: it loads eBPF programs and makes network namespaces"
        );
    }
    // Fails only when a provider is there already, which serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    swarm_agent_datapath::probe(&options.bpffs).require()?;
    // First, so that a host without it is left as it was.
    let executor = connect_containerd(&options).await?;
    let state = StateDir::open(&options.state_dir)?;
    make_dir(&options.run_dir, 0o711)?;
    let parts = Parts {
        facts: HostFacts::read(&options).context("reading this host's facts")?,
        netlink: Netlink::open()?,
        executor: Arc::new(executor),
        key: NodeKey::new(options.certificates_dir()),
        state,
        options,
    };
    let socket = parts.options.api_socket();
    let maintenance = parts.options.run_dir.join(crate::maintenance::SOCKET);
    let member = Member::resume(parts).await;
    info!(socket = %socket.display(), "serving the Engine API");
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        ended = crate::engine::serve(Arc::clone(&member), &socket, shutdown.clone()) => ended?,
        ended = crate::maintenance::serve(member, &maintenance) => ended?,
        _ = terminate.recv() => info!("SIGTERM: leaving tasks and packets running"),
        _ = interrupt.recv() => info!("interrupted: leaving tasks and packets running"),
    }
    Ok(())
}

async fn connect_containerd(options: &Options) -> anyhow::Result<ContainerdExecutor> {
    let mut config = ContainerdConfig::new(
        &options.containerd,
        &options.containerd_namespace,
        options.state_dir.join("containers"),
        options.run_dir.join("containers"),
    );
    config
        .insecure_registries
        .clone_from(&options.insecure_registries);
    ContainerdExecutor::connect(config).await.with_context(|| {
        format!(
            "is containerd running? Its socket is named with --containerd (now {})",
            options.containerd.display()
        )
    })
}
