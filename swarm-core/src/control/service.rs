//! Services: create, update, roll back, remove. The specification is checked as a whole; what needs other objects
//! (names, ports, networks) is checked against the store.

use alloc::{borrow::ToOwned as _, format};

use super::{Code, ControlError, check_version, validate};
use crate::{
    id::{Random, ServiceId},
    model::{
        Meta, PublishMode, Service, ServiceMode, ServiceSpec, UpdateState, UpdateStatus, Version,
    },
    store::{Object, ObjectId, Store, Transaction},
    time::Timestamp,
};

/// Makes a service.
pub fn create_service(
    store: &Store,
    spec: ServiceSpec,
    now: Timestamp,
    rng: &mut dyn Random,
) -> Result<(ServiceId, Transaction), ControlError> {
    validate::service_spec(&spec)?;
    let name = &spec.annotations.name;
    if store.service_by_name(name).is_some() {
        return Err(ControlError::new(
            Code::AlreadyExists,
            format!("name conflicts with an existing object: service {name} already exists"),
        ));
    }
    check_references(store, &spec, None)?;
    let service = Service {
        id: ServiceId::random(rng),
        meta: Meta::default(),
        spec,
        spec_version: 1,
        previous_spec: None,
        endpoint: None,
        update_status: None,
        pending_delete: false,
    };
    let id = service.id.clone();
    Ok((id, Transaction::new(now).create(Object::Service(service))))
}

/// Changes a service that the caller saw at `version`; with `rollback` the previous specification comes back and
/// `spec` is not looked at.
pub fn update_service(
    store: &Store,
    id: &ServiceId,
    version: Version,
    spec: ServiceSpec,
    rollback: bool,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let current = find(store, id)?;
    check_version(version, current.meta)?;
    let mut service = current.clone();
    let wanted = if rollback {
        previous(&service)?
    } else {
        validate::service_spec(&spec)?;
        spec
    };
    check_update(&service.spec, &wanted)?;
    check_references(store, &wanted, Some(id))?;
    service.spec_version = service.spec_version.saturating_add(1);
    service.previous_spec = Some(core::mem::replace(&mut service.spec, wanted));
    service.update_status = rollback.then(|| UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: now,
        completed_at: None,
        message: "manually requested rollback".to_owned(),
    });
    Ok(Transaction::new(now).put(Object::Service(service), version))
}

/// Removes a service at once, as Docker does; the leader shuts its tasks down when it meets tasks without a service.
pub fn remove_service(
    store: &Store,
    id: &ServiceId,
    now: Timestamp,
) -> Result<Transaction, ControlError> {
    let version = find(store, id)?.meta.version;
    Ok(Transaction::new(now).remove(ObjectId::Service(id.clone()), version))
}

fn find<'a>(store: &'a Store, id: &ServiceId) -> Result<&'a Service, ControlError> {
    store
        .service(id)
        .ok_or_else(|| ControlError::new(Code::NotFound, format!("service {id} not found")))
}

fn previous(service: &Service) -> Result<ServiceSpec, ControlError> {
    service.previous_spec.clone().ok_or_else(|| {
        ControlError::new(
            Code::FailedPrecondition,
            format!("service {} does not have a previous spec", service.id),
        )
    })
}

/// What an update may not change.
fn check_update(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), ControlError> {
    if old.annotations.name != new.annotations.name {
        return Err(ControlError::new(
            Code::Unimplemented,
            "renaming services is not supported",
        ));
    }
    match (old.mode, new.mode) {
        (ServiceMode::Replicated { .. }, ServiceMode::Replicated { .. })
        | (ServiceMode::Global, ServiceMode::Global) => Ok(()),
        (ServiceMode::Replicated { .. }, ServiceMode::Global)
        | (ServiceMode::Global, ServiceMode::Replicated { .. }) => Err(ControlError::new(
            Code::Unimplemented,
            "service mode change is not allowed",
        )),
    }
}

/// What a specification needs of other objects; checked again when the transaction is applied.
pub(crate) fn check_references(
    store: &Store,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    check_networks(store, spec)?;
    check_ports(store, spec, own)
}

/// Every network is there and may be used by services.
fn check_networks(store: &Store, spec: &ServiceSpec) -> Result<(), ControlError> {
    for attachment in &spec.task.networks {
        let id = &attachment.network;
        let network = store
            .network(id)
            .ok_or_else(|| ControlError::new(Code::NotFound, format!("network {id} not found")))?;
        if network.spec.ingress {
            return Err(ControlError::new(
                Code::InvalidArgument,
                format!("Service cannot be explicitly attached to the ingress network {id}"),
            ));
        }
    }
    let publishes = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let mut meshed = publishes.filter(|port| port.publish_mode == PublishMode::Ingress);
    if meshed.next().is_some() && store.ingress_network().is_none() {
        return Err(ControlError::new(
            Code::FailedPrecondition,
            "service needs ingress network, but no ingress network is present",
        ));
    }
    Ok(())
}

/// A fixed port may be published once per protocol: by one service through the mesh, and a port that one service
/// publishes on its nodes cannot be published by another through the mesh.
fn check_ports(
    store: &Store,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    let wanted = spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    for port in wanted.filter(|port| port.published_port != 0) {
        for other in store.services().filter(|other| Some(&other.id) != own) {
            let specified = other.spec.endpoint.iter().flat_map(|spec| &spec.ports);
            let allocated = other.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
            let clash = specified.chain(allocated).find(|taken| {
                taken.protocol == port.protocol
                    && taken.published_port == port.published_port
                    // Two services may publish the same port on their nodes: the scheduler keeps them apart.
                    && (taken.publish_mode == PublishMode::Ingress
                        || port.publish_mode == PublishMode::Ingress)
            });
            if let Some(taken) = clash {
                return Err(port_conflict(
                    port.published_port,
                    other,
                    taken.publish_mode,
                ));
            }
        }
    }
    Ok(())
}

fn port_conflict(port: u16, other: &Service, mode: PublishMode) -> ControlError {
    let how = match mode {
        PublishMode::Ingress => "an ingress port",
        PublishMode::Host => "a host-published port",
    };
    ControlError::new(
        Code::InvalidArgument,
        format!(
            "port '{port}' is already in use by service '{}' ({}) as {how}",
            other.spec.annotations.name, other.id
        ),
    )
}
