//! `/swarm` and below: making, joining, leaving and changing the cluster.

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use swarm_api::{
    address, json,
    logs::flag,
    node::availability_from_name,
    swarm::{ClusterSpec, InitRequest, JoinRequest, Swarm, UnlockKey},
};
use swarm_core::{
    control::{Code, ControlError},
    lock::{InvalidUnlockKey, SecretKey},
    model::{self, Availability},
};

use crate::{
    Api, HostError, HostInit, HostJoin, TokenRotation,
    error::ApiError,
    gate,
    references::manager,
    request::{Answer, Query, done, json_request, object_version, ok},
};

pub(crate) async fn inspect(State(api): State<Api>) -> Answer {
    manager(&api).await?;
    ok(&Swarm::from_core(&api.control.cluster().await?))
}

/// An availability that may be left out.
fn availability(text: &str) -> Result<Availability, ApiError> {
    match text {
        "" => Ok(Availability::Active),
        text => Ok(availability_from_name(text)?),
    }
}

pub(crate) async fn init(State(api): State<Api>, request: Request) -> Answer {
    let (_, body) = json_request(request).await?;
    let request = InitRequest::from_json(&body)?;
    gate::check_init(&api.host.membership().await, request.force_new_cluster)?;
    let addresses = api.host.addresses().await?;
    let listen = address::listen_address(&request.listen_addr, &addresses)?;
    let init = HostInit {
        listen,
        advertise: address::advertise_address(&request.advertise_addr, listen, &addresses)?,
        data_path: address::data_path_address(&request.data_path_addr, &addresses)?,
        data_path_port: request.port()?,
        availability: availability(&request.availability)?,
        address_pools: request.pools()?,
        subnet_size: request.subnet_size(),
        spec: request.spec.into_core(&model::ClusterSpec::default())?,
        force_new_cluster: request.force_new_cluster,
    };
    ok(&api.host.init(init).await?)
}

/// A manager's words for a token without its secret.
const NO_TOKEN: &str = "A valid join token is necessary to join this cluster";

pub(crate) async fn join(State(api): State<Api>, request: Request) -> Answer {
    let (_, body) = json_request(request).await?;
    gate::check_outside(&api.host.membership().await)?;
    let request: JoinRequest = json::parse(&body)?;
    if request.join_token.is_empty() {
        // What a manager answers, which then need not be asked.
        return Err(ControlError::new(Code::InvalidArgument, NO_TOKEN).into());
    }
    let addresses = api.host.addresses().await?;
    let listen = address::listen_address(&request.listen_addr, &addresses)?;
    // The remote side sees where we come from, so only an address that was asked for has to be right.
    let advertise = match address::advertise_address(&request.advertise_addr, listen, &addresses) {
        Ok(address) => Some(address),
        Err(_) if request.advertise_addr.is_empty() => None,
        Err(refusal) => return Err(refusal.into()),
    };
    let join = HostJoin {
        listen,
        advertise,
        data_path: address::data_path_address(&request.data_path_addr, &addresses)?,
        remotes: request
            .remote_addrs
            .iter()
            .map(|remote| address::remote_address(remote))
            .collect::<Result<_, _>>()?,
        token: request.join_token,
        availability: availability(&request.availability)?,
    };
    api.host.join(join).await?;
    done(StatusCode::OK)
}

pub(crate) async fn leave(State(api): State<Api>, query: Query) -> Answer {
    let membership = api.host.membership().await;
    let force = flag(&query, "force");
    let nodes = if membership.manager && !force {
        api.control.nodes().await.ok()
    } else {
        None
    };
    gate::check_leave(&membership, nodes.as_deref(), force).map_err(|refusal| ApiError::With {
        status: 503,
        text: refusal.to_string(),
    })?;
    api.host.leave().await?;
    done(StatusCode::OK)
}

pub(crate) async fn update(State(api): State<Api>, query: Query, request: Request) -> Answer {
    let (_, body) = json_request(request).await?;
    let version = object_version(&query, "swarm")?;
    let spec = ClusterSpec::from_json(&body)?;
    manager(&api).await?;
    let current = api.control.cluster().await?.cluster;
    let rotation = TokenRotation {
        worker: flag(&query, "rotateWorkerToken"),
        manager: flag(&query, "rotateManagerToken"),
        unlock_key: flag(&query, "rotateManagerUnlockKey"),
    };
    let root = spec.signing_root();
    let spec = spec.into_core(&current.spec)?;
    api.control
        .update_cluster(version, spec, rotation, root)
        .await?;
    done(StatusCode::OK)
}

/// The key that unlocks a restarted manager; empty while managers are not locked.
pub(crate) async fn unlock_key(State(api): State<Api>) -> Answer {
    manager(&api).await?;
    let key = api.control.unlock_key().await?;
    ok(&UnlockKey {
        unlock_key: key.map(|key| key.to_human()).unwrap_or_default(),
    })
}

/// Gives a locked manager its key. Docker looks whether anything is locked before it looks at the key.
pub(crate) async fn unlock(State(api): State<Api>, request: Request) -> Answer {
    let (_, body) = json_request(request).await?;
    let given: UnlockKey = json::parse(&body)?;
    match gate::check_manager(&api.host.membership().await) {
        Err(gate::NotManager::Locked) => {}
        Err(refusal) => return Err(refusal.into()),
        Ok(()) => return Err(HostError::NotLocked.into()),
    }
    let key: SecretKey = given.unlock_key.parse().map_err(|invalid| match invalid {
        InvalidUnlockKey::Form => HostError::UnlockKeyForm,
        InvalidUnlockKey::Length => HostError::UnlockKeyWrong,
    })?;
    api.host.unlock(&key).await?;
    done(StatusCode::OK)
}
