//! What the Engine API asks of the cluster, passed on to this host's manager.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use swarm_agent_engine_api::{ControlPlane, LogSelector, LogStream, TaskScope, TokenRotation};
use swarm_api::{
    logs::{LogLine, LogOptions, LogOrigin, LogSource},
    service::ServiceStatus,
    swarm::{ClusterView, JoinTokens, SigningRoot},
};
use swarm_core::{
    ca::join_token,
    control::{Code, ControlError},
    id::{NetworkId, NodeId, ServiceId},
    lock::SecretKey,
    model::{
        CertificateIssuer, ClusterSpec, Network, NetworkSpec, Node, NodeSpec, NodeTls, Role,
        Service, ServiceSpec, Task, Version,
    },
};
use swarm_proto::{
    client::{self, LogMessage, LogReader},
    tls::{TlsError, root_issuer},
};

use crate::membership::Member;

/// The cluster behind this host's manager.
pub(super) struct Cluster {
    member: Arc<Member>,
}

impl Cluster {
    pub(super) fn new(member: Arc<Member>) -> Self {
        Self { member }
    }
}

#[async_trait]
impl ControlPlane for Cluster {
    async fn cluster(&self) -> Result<ClusterView, ControlError> {
        let cluster = self.member.control().cluster().await?;
        let token = |role| join_token(&cluster.root_ca, role).map(|token| token.to_string());
        let join_tokens = JoinTokens {
            worker: token(Role::Worker).unwrap_or_default(),
            manager: token(Role::Manager).unwrap_or_default(),
        };
        // During a rotation the trusted root is the old one and the issuer already the new one (SwarmKit's view).
        let mut issuer = swarm_core::ca::issuer(&cluster.root_ca).clone();
        if issuer == CertificateIssuer::default() {
            // A state from before it was written down.
            let unreadable = |error: TlsError| ControlError::new(Code::Unknown, error.to_string());
            issuer = root_issuer(&cluster.root_ca.cert_pem).map_err(unreadable)?;
        }
        let tls = NodeTls {
            trust_root: cluster.root_ca.cert_pem.clone(),
            issuer_subject: issuer.subject,
            issuer_public_key: issuer.public_key,
        };
        Ok(ClusterView {
            cluster,
            join_tokens,
            tls,
        })
    }

    async fn update_cluster(
        &self,
        version: Version,
        spec: ClusterSpec,
        rotation: TokenRotation,
        root: Option<SigningRoot>,
    ) -> Result<(), ControlError> {
        self.member
            .control()
            .update_cluster(version, &spec, rotation, root)
            .await
            .map(drop)
    }

    async fn unlock_key(&self) -> Result<Option<SecretKey>, ControlError> {
        self.member.control().unlock_key().await
    }

    async fn nodes(&self) -> Result<Vec<Node>, ControlError> {
        self.member.control().nodes().await
    }

    async fn node(&self, reference: &str) -> Result<Node, ControlError> {
        self.member.control().node(reference).await
    }

    async fn update_node(
        &self,
        id: &NodeId,
        version: Version,
        spec: NodeSpec,
    ) -> Result<(), ControlError> {
        self.member
            .control()
            .update_node(id, version, &spec)
            .await
            .map(drop)
    }

    async fn remove_node(&self, id: &NodeId, force: bool) -> Result<(), ControlError> {
        self.member.control().remove_node(id.as_str(), force).await
    }

    async fn services(&self) -> Result<Vec<Service>, ControlError> {
        self.member.control().services().await
    }

    async fn service_counts(&self) -> Result<BTreeMap<ServiceId, ServiceStatus>, ControlError> {
        let counts = self.member.control().service_counts().await?.into_iter();
        Ok(counts
            .map(|counts| {
                let status = ServiceStatus {
                    running_tasks: counts.running,
                    desired_tasks: counts.desired,
                    completed_tasks: counts.completed,
                };
                (counts.service, status)
            })
            .collect())
    }

    async fn service(&self, reference: &str) -> Result<Service, ControlError> {
        self.member.control().service(reference).await
    }

    async fn create_service(&self, spec: ServiceSpec) -> Result<ServiceId, ControlError> {
        Ok(self.member.control().create_service(&spec).await?.id)
    }

    async fn update_service(
        &self,
        id: &ServiceId,
        version: Version,
        spec: ServiceSpec,
        rollback: bool,
    ) -> Result<(), ControlError> {
        self.member
            .control()
            .update_service(id, version, &spec, rollback)
            .await
            .map(drop)
    }

    async fn remove_service(&self, id: &ServiceId) -> Result<(), ControlError> {
        self.member.control().remove_service(id.as_str()).await
    }

    async fn tasks(&self, scope: TaskScope) -> Result<Vec<Task>, ControlError> {
        let control = self.member.control();
        match scope {
            TaskScope::All => control.tasks().await,
            TaskScope::Service(service) => control.tasks_of_service(&service).await,
            TaskScope::Node(node) => control.tasks_of_node(&node).await,
        }
    }

    async fn task(&self, reference: &str) -> Result<Task, ControlError> {
        self.member.control().task(reference).await
    }

    async fn networks(&self) -> Result<Vec<Network>, ControlError> {
        self.member.control().networks().await
    }

    async fn network(&self, reference: &str) -> Result<Network, ControlError> {
        self.member.control().network(reference).await
    }

    async fn create_network(&self, spec: NetworkSpec) -> Result<NetworkId, ControlError> {
        Ok(self.member.control().create_network(&spec).await?.id)
    }

    async fn remove_network(&self, id: &NetworkId) -> Result<(), ControlError> {
        self.member.control().remove_network(id).await
    }

    async fn logs(
        &self,
        selector: LogSelector,
        options: LogOptions,
    ) -> Result<LogStream, ControlError> {
        let selector = match selector {
            LogSelector::Service(service) => client::LogSelector {
                services: vec![service],
                ..client::LogSelector::default()
            },
            LogSelector::Task(task) => client::LogSelector {
                tasks: vec![task],
                ..client::LogSelector::default()
            },
        };
        let options = client::LogOptions {
            stdout: options.stdout,
            stderr: options.stderr,
            follow: options.follow,
            tail: options.tail,
            since: options.since,
            until: options.until,
        };
        Ok(lines(
            self.member.logs().subscribe(&selector, &options).await?,
        ))
    }
}

/// The lines of a subscription as they come. A batch's warning ends the stream with an error, so that a gap is never silent.
fn lines(reader: LogReader<client::LogBatch>) -> LogStream {
    let batches = stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok(Some(batch)) => {
                let mut items: Vec<_> = batch.messages.into_iter().map(line).map(Ok).collect();
                items.extend(
                    batch
                        .warning
                        .map(|text| Err(ControlError::new(Code::Unavailable, text))),
                );
                Some((items, Some(reader)))
            }
            Ok(None) => None,
            Err(error) => Some((vec![Err(error)], None)),
        }
    });
    batches.flat_map(stream::iter).boxed()
}

fn line(message: LogMessage) -> LogLine {
    LogLine {
        timestamp: message.timestamp,
        source: match message.stream {
            client::LogStream::Stdout => LogSource::Stdout,
            client::LogStream::Stderr => LogSource::Stderr,
        },
        data: message.data,
        origin: Some(LogOrigin {
            node: message.node,
            service: message.service,
            task: message.task,
        }),
        attributes: BTreeMap::new(),
    }
}
