//! Published ports: a number the user gave is taken if no other service has it, otherwise the next free one from 30000.

use super::AllocationError;
use crate::{
    id::ServiceId,
    model::{EndpointSpec, PortConfig, PublishMode},
    store::Draft,
};
use alloc::{collections::BTreeSet, vec::Vec};

/// First port that is given when the user names none.
pub const FIRST_DYNAMIC_PORT: u16 = 30_000;
/// Last port that is given when the user names none.
pub const LAST_DYNAMIC_PORT: u16 = 32_767;

/// Fills in the numbers of a service's ports. Ports that had a number before keep it; host-mode ports without a number
/// are chosen by the node that runs the task.
pub(super) fn assign(
    draft: &mut Draft<'_>,
    service: &ServiceId,
    spec: &EndpointSpec,
    before: &[PortConfig],
) -> Result<Vec<PortConfig>, AllocationError> {
    let mut own = BTreeSet::new();
    let mut assigned = Vec::with_capacity(spec.ports.len());
    for port in &spec.ports {
        let mut port = port.clone();
        if port.publish_mode == PublishMode::Ingress {
            if port.published_port == 0 {
                port.published_port = match kept(&port, before, &own) {
                    Some(number) => number,
                    None => dynamic(draft, service, &port, spec, &own)?,
                };
            }
            let (protocol, number) = (port.protocol, port.published_port);
            if draft.port_taken(protocol, number, service) || !own.insert((protocol, number)) {
                return Err(AllocationError::PortTaken {
                    protocol,
                    port: number,
                });
            }
        }
        assigned.push(port);
    }
    Ok(assigned)
}

type Own = BTreeSet<(crate::model::Protocol, u16)>;

/// The number an equal port of the service has already.
fn kept(port: &PortConfig, before: &[PortConfig], own: &Own) -> Option<u16> {
    let same = |old: &&PortConfig| {
        old.protocol == port.protocol
            && old.target_port == port.target_port
            && old.publish_mode == port.publish_mode
            && (FIRST_DYNAMIC_PORT..=LAST_DYNAMIC_PORT).contains(&old.published_port)
            && !own.contains(&(old.protocol, old.published_port))
    };
    before.iter().find(same).map(|old| old.published_port)
}

fn dynamic(
    draft: &mut Draft<'_>,
    service: &ServiceId,
    port: &PortConfig,
    spec: &EndpointSpec,
    own: &Own,
) -> Result<u16, AllocationError> {
    let mut cluster = draft.cluster().cloned().ok_or(AllocationError::NoPort)?;
    let span = LAST_DYNAMIC_PORT - FIRST_DYNAMIC_PORT + 1;
    let start = cluster
        .next_dynamic_port
        .clamp(FIRST_DYNAMIC_PORT, LAST_DYNAMIC_PORT)
        - FIRST_DYNAMIC_PORT;
    let wanted = |number: u16| {
        let mut fixed = spec.ports.iter();
        fixed.any(|other| other.protocol == port.protocol && other.published_port == number)
    };
    let mut candidates = (0..span).map(|step| FIRST_DYNAMIC_PORT + (start + step) % span);
    let number = candidates
        .find(|number| {
            !draft.port_taken(port.protocol, *number, service)
                && !own.contains(&(port.protocol, *number))
                && !wanted(*number)
        })
        .ok_or(AllocationError::NoPort)?;
    cluster.next_dynamic_port = if number == LAST_DYNAMIC_PORT {
        FIRST_DYNAMIC_PORT
    } else {
        number + 1
    };
    draft.put_cluster(cluster);
    Ok(number)
}
