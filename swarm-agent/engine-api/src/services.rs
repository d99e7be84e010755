//! `/services`.

use axum::{
    Extension,
    extract::{Path, Request, State},
    http::StatusCode,
};
use swarm_api::{
    filters::{self, Filters},
    logs::{LogOptions, flag},
    names,
    service::{Service, ServiceCreated, ServiceUpdated},
    service_spec::ServiceSpec,
};

use crate::{
    Api, HostError, LogSelector,
    error::ApiError,
    logs::stream,
    references::{manager, service_networks},
    request::{Answer, Query, created, done, json_request, object_version, ok, registry_auth},
    server::Spoken,
};

pub(crate) async fn list(State(api): State<Api>, query: Query) -> Answer {
    let text = query.get("filters").map(String::as_str);
    let filters = Filters::parse(text, filters::SERVICES)?;
    manager(&api).await?;
    let services = api.control.services().await?;
    let counts = if flag(&query, "status") {
        Some(api.control.service_counts().await?)
    } else {
        None
    };
    let listed: Vec<Service> = services
        .iter()
        .filter(|service| filters::service(&filters, service))
        .map(|service| Service {
            service_status: counts
                .as_ref()
                .map(|counts| counts.get(&service.id).copied().unwrap_or_default()),
            ..Service::from_core(service, flag(&query, "insertDefaults"))
        })
        .collect();
    ok(&listed)
}

pub(crate) async fn inspect(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Answer {
    manager(&api).await?;
    let service = api.control.service(&id).await?;
    ok(&Service::from_core(
        &service,
        flag(&query, "insertDefaults"),
    ))
}

pub(crate) async fn create(
    State(api): State<Api>,
    Extension(Spoken(version)): Extension<Spoken>,
    request: Request,
) -> Answer {
    let (headers, body) = json_request(request).await?;
    manager(&api).await?;
    let mut spec = ServiceSpec::from_json(&body, version)?;
    if spec.name.is_empty() {
        spec.name = names::random_name(random()?);
    }
    let networks = service_networks(&api, &spec).await?;
    let mut spec = spec.into_core(&networks)?;
    spec.task.container.registry_auth = registry_auth(&headers);
    let id = api.control.create_service(spec).await?;
    created(&ServiceCreated {
        id: id.to_string(),
        warnings: None,
    })
}

fn random() -> Result<u64, ApiError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| HostError::Failed {
        what: String::from("cannot draw a name"),
        reason: error.to_string(),
    })?;
    Ok(u64::from_le_bytes(bytes))
}

pub(crate) async fn update(
    State(api): State<Api>,
    Extension(Spoken(api_version)): Extension<Spoken>,
    Path(id): Path<String>,
    query: Query,
    request: Request,
) -> Answer {
    let (headers, body) = json_request(request).await?;
    let version = object_version(&query, "service")?;
    manager(&api).await?;
    let current = api.control.service(&id).await?;
    let rollback = query.get("rollback").map(String::as_str) == Some("previous");
    if rollback {
        // Clients send the current specification along; the previous one is what they ask for.
        let spec = current.spec;
        api.control
            .update_service(&current.id, version, spec, true)
            .await?;
        return ok(&ServiceUpdated::default());
    }
    let spec = ServiceSpec::from_json(&body, api_version)?;
    let networks = service_networks(&api, &spec).await?;
    let mut spec = spec.into_core(&networks)?;
    // Credentials are never shown, so a client that changes something else cannot send them back.
    let kept = match query.get("registryAuthFrom").map(String::as_str) {
        Some("previous-spec") => current.previous_spec.as_ref().unwrap_or(&current.spec),
        Some(_) | None => &current.spec,
    };
    spec.task.container.registry_auth = match registry_auth(&headers) {
        given if given.is_empty() => kept.task.container.registry_auth.clone(),
        given => given,
    };
    api.control
        .update_service(&current.id, version, spec, false)
        .await?;
    ok(&ServiceUpdated::default())
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    manager(&api).await?;
    let service = api.control.service(&id).await?;
    api.control.remove_service(&service.id).await?;
    done(StatusCode::OK)
}

pub(crate) async fn logs(State(api): State<Api>, Path(id): Path<String>, query: Query) -> Answer {
    let options = LogOptions::from_query(&query, true)?;
    manager(&api).await?;
    let service = api.control.service(&id).await?;
    let lines = api
        .control
        .logs(LogSelector::Service(service.id), options.clone())
        .await?;
    Ok(stream(lines, options, service.spec.task.container.tty))
}
