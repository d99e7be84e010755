//! What stands in front of a service: ports and one virtual address per network, the ingress network's first. Nodes get
//! one address on the ingress network, from which their own processes reach published ports.

use alloc::vec::Vec;

use super::{AllocationError, ipam, ports};
use crate::{
    id::{NetworkId, NodeId, ServiceId},
    model::{Attachment, Endpoint, EndpointMode, NetworkAttachmentConfig, PublishMode, Service},
    store::Draft,
};

/// Whether the service's endpoint is what its current specification asks for.
pub(crate) fn is_allocated(service: &Service) -> bool {
    let Some(endpoint) = &service.endpoint else {
        return false;
    };
    let wanted = service.spec.endpoint.clone().unwrap_or_default();
    let networks = service.spec.task.networks.iter();
    let attached = |config: &NetworkAttachmentConfig| {
        let mut vips = endpoint.virtual_ips.iter();
        vips.any(|vip| vip.network == config.network && vip.aliases == config.aliases)
    };
    let own = endpoint
        .virtual_ips
        .len()
        .saturating_sub(usize::from(meshed(&wanted.ports)));
    let vips_fit = match wanted.mode {
        EndpointMode::Vip => {
            networks.clone().all(attached) && own == service.spec.task.networks.len()
        }
        EndpointMode::DnsRoundRobin => endpoint.virtual_ips.is_empty(),
    };
    endpoint.spec == wanted && vips_fit
}

/// Whether any of the ports is published through the mesh.
pub(super) fn meshed(ports: &[crate::model::PortConfig]) -> bool {
    let mut modes = ports.iter().map(|port| port.publish_mode);
    modes.any(|mode| mode == PublishMode::Ingress)
}

/// Gives a service its ports and virtual addresses; what it has and still needs stays.
pub(crate) fn allocate_service(
    draft: &mut Draft<'_>,
    id: &ServiceId,
) -> Result<(), AllocationError> {
    let Some(mut service) = draft.service(id).cloned() else {
        return Ok(());
    };
    if is_allocated(&service) {
        return Ok(());
    }
    let spec = service.spec.endpoint.clone().unwrap_or_default();
    let before = service.endpoint.take().unwrap_or_default();
    let ports = ports::assign(draft, id, &spec, &before.ports)?;
    let mut wanted: Vec<NetworkAttachmentConfig> = Vec::new();
    if spec.mode == EndpointMode::Vip {
        if meshed(&ports) {
            wanted.push(ingress(draft)?);
        }
        wanted.extend(service.spec.task.networks.iter().cloned());
    }
    let virtual_ips = attach(draft, &wanted, &before.virtual_ips)?;
    service.endpoint = Some(Endpoint {
        spec,
        ports,
        virtual_ips,
    });
    draft.put_service(service);
    Ok(())
}

pub(super) fn ingress(draft: &Draft<'_>) -> Result<NetworkAttachmentConfig, AllocationError> {
    let network = draft.ingress_network().ok_or(AllocationError::NoIngress)?;
    Ok(NetworkAttachmentConfig {
        network: network.id.clone(),
        aliases: Vec::new(),
    })
}

/// One address on each network, in order; addresses in `before` are kept.
pub(super) fn attach(
    draft: &mut Draft<'_>,
    wanted: &[NetworkAttachmentConfig],
    before: &[Attachment],
) -> Result<Vec<Attachment>, AllocationError> {
    let mut attachments: Vec<Attachment> = Vec::with_capacity(wanted.len());
    for config in wanted {
        let kept = before.iter().find(|old| old.network == config.network);
        let (address, prefix_len) = match kept {
            Some(old) => (old.address, old.prefix_len),
            None => ipam::take_address(draft, &config.network)?,
        };
        attachments.push(Attachment {
            network: config.network.clone(),
            address,
            prefix_len,
            aliases: config.aliases.clone(),
        });
    }
    Ok(attachments)
}

/// Gives a node its address on the ingress network `ingress`.
pub(crate) fn allocate_node(
    draft: &mut Draft<'_>,
    id: &NodeId,
    ingress: &NetworkId,
) -> Result<(), AllocationError> {
    let Some(mut node) = draft.node(id).cloned() else {
        return Ok(());
    };
    let held = node.attachment.as_ref();
    if held.is_some_and(|attachment| attachment.network == *ingress) {
        return Ok(());
    }
    let (address, prefix_len) = ipam::take_address(draft, ingress)?;
    node.attachment = Some(Attachment {
        network: ingress.clone(),
        address,
        prefix_len,
        aliases: Vec::new(),
    });
    draft.put_node(node);
    Ok(())
}
