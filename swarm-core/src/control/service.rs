//! Services: create, update, roll back, remove. The specification is checked as a whole; what needs other objects
//! (names, ports, networks) is checked against the store.

use alloc::{borrow::ToOwned as _, format};

use super::{Code, ControlError, check_version, validate};
use crate::{
    id::{Random, ServiceId},
    model::{Meta, Service, ServiceMode, ServiceSpec, UpdateState, UpdateStatus, Version},
    store::{Object, ObjectId, Store, Transaction, check_references},
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
    check_needs(store, &spec, None)?;
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
    check_needs(store, &wanted, Some(id))?;
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

/// What a specification needs of other objects; all but the kind of the networks is checked again when it is applied.
fn check_needs(
    store: &Store,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), ControlError> {
    check_references(store, spec, own)?;
    let attached = spec.task.networks.iter();
    let mut networks = attached.filter_map(|attachment| store.network(&attachment.network));
    match networks.find(|network| network.spec.ingress) {
        Some(ingress) => Err(ControlError::new(
            Code::InvalidArgument,
            format!(
                "Service cannot be explicitly attached to the ingress network \"{}\"",
                ingress.spec.annotations.name
            ),
        )),
        None => Ok(()),
    }
}
