//! `swarm init`: this host's manager makes a cluster of one, new or, with `--force-new-cluster`, from the state it has.

use std::net::IpAddr;

use swarm_agent_engine_api::{HostError, HostInit};
use swarm_core::{id::NodeId, model::Role};
use swarm_proto::{
    client::InitRequest,
    tls::{self, Credentials, Csr, new_csr},
};

use crate::{
    membership::{Member, Phase, failed, failed_text},
    node::Node,
    state::{KnownManager, NodeState, make_dir, write_atomic},
};

impl Member {
    /// Has this host's manager make a cluster of one from its state. Tasks and packets go on meanwhile; the node keeps its identity.
    pub(crate) async fn force_new_cluster(
        &self,
        phase: &mut Phase,
        request: &HostInit,
    ) -> Result<NodeId, HostError> {
        match phase {
            Phase::Active(node) if node.role == Role::Manager => {
                node.state = self.rebuild(node.state.clone(), request).await?;
                Ok(node.state.node_id.clone())
            }
            Phase::Error { .. } => {
                let state = self.parts().state.node();
                let state = state.map_err(|error| failed("reading the node's state", &error))?;
                let state = state.ok_or(HostError::NotMember)?;
                let supervisor = self.start_manager()?;
                let state = self.rebuild(state, request).await?;
                let node = self.activate(state, Some(supervisor)).await?;
                let id = node.state.node_id.clone();
                *phase = Phase::Active(Box::new(node));
                Ok(id)
            }
            Phase::Inactive | Phase::Pending(_) | Phase::Active(_) => Err(HostError::AlreadyMember),
        }
    }

    async fn rebuild(
        &self,
        mut state: NodeState,
        request: &HostInit,
    ) -> Result<NodeState, HostError> {
        self.await_manager().await?;
        let data_path = state.data_path_addr;
        let init = init_request(
            request,
            String::new(),
            data_path,
            &self.parts().facts.hostname,
        );
        let made = self.local().init(&init).await?;
        state.listen_addr = request.listen;
        state.advertise_addr = request.advertise;
        state.managers = vec![KnownManager {
            node_id: made.node_id,
            addr: request.advertise,
        }];
        let saved = self.parts().state.save_node(&state);
        saved.map_err(|error| failed("remembering the node", &error))?;
        Ok(state)
    }

    /// A state without a node is not rebuilt, and not removed by who asked for that.
    pub(crate) fn check_nothing_to_rebuild(&self, request: &HostInit) -> Result<(), HostError> {
        let leftover = self.parts().options.manager_state_dir().join("raft.redb");
        if !request.force_new_cluster || !leftover.exists() {
            return Ok(());
        }
        let reason = format!(
            "{} is there, but not which node this is; see swarm-manager recover",
            leftover.display()
        );
        Err(failed_text("rebuilding the cluster", &reason))
    }

    pub(crate) async fn initialize(&self, request: &HostInit) -> Result<Node, HostError> {
        // An agent that died while it made or joined a swarm left a manager whose cluster nobody was told of.
        self.clear().await;
        let csr = self.write_key()?;
        let supervisor = self.start_manager()?;
        match self.bootstrap(request, csr).await {
            Ok(state) => self.activate(state, Some(supervisor)).await,
            Err(error) => {
                supervisor.stop().await;
                Err(error)
            }
        }
    }

    /// Has the started manager make the cluster, and keeps the certificate it gives.
    async fn bootstrap(&self, request: &HostInit, csr: Csr) -> Result<NodeState, HostError> {
        self.await_manager().await?;
        let data_path = request.data_path.unwrap_or_else(|| request.advertise.ip());
        let made = self
            .local()
            .init(&init_request(
                request,
                csr.csr_pem,
                data_path,
                &self.parts().facts.hostname,
            ))
            .await?;
        let credentials = Credentials {
            key_pem: csr.key_pem,
            cert_chain_pem: made.cert_chain_pem,
            ca_pem: made.ca_pem,
        };
        self.save_credentials(&credentials, Role::Manager)?;
        let own = KnownManager {
            node_id: made.node_id.clone(),
            addr: request.advertise,
        };
        Ok(NodeState {
            node_id: made.node_id,
            listen_addr: request.listen,
            advertise_addr: request.advertise,
            data_path_addr: data_path,
            data_path_port: request.data_path_port,
            managers: vec![own],
        })
    }

    /// Makes the node's key where the manager finds it.
    fn write_key(&self) -> Result<Csr, HostError> {
        let directory = self.parts().options.certificates_dir();
        let csr = new_csr().map_err(|error| failed("making a key", &error))?;
        let path = directory.join(tls::KEY_FILE);
        make_dir(&directory, 0o750)
            .and_then(|()| write_atomic(&path, csr.key_pem.as_bytes(), 0o640))
            .map_err(|error| failed("keeping the key", &error))?;
        Ok(csr)
    }
}

fn init_request(
    request: &HostInit,
    csr_pem: String,
    data_path: IpAddr,
    hostname: &str,
) -> InitRequest {
    InitRequest {
        csr_pem,
        listen_addr: request.listen,
        advertise_addr: request.advertise,
        data_path_addr: Some(data_path),
        hostname: hostname.to_owned(),
        spec: request.spec.clone(),
        force_new_cluster: request.force_new_cluster,
        default_address_pools: request.address_pools.clone(),
        subnet_size: request.subnet_size,
        data_path_port: request.data_path_port,
        availability: request.availability,
    }
}
