//! Our types against what a real engine sent and received: nothing is lost, nothing is added.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests: a failure is a report"
)]

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use swarm_api::{
    container_view::ContainerSummary,
    network::{NetworkCreate, NetworkResource},
    node::Node,
    service::Service,
    service_spec::{ResolvedNetworks, ServiceSpec},
    swarm::{InitRequest, Swarm},
    task::Task,
    version::CURRENT,
};

/// An exchange.
#[derive(Clone, Debug)]
struct Exchange {
    method: String,
    path: String,
    request: Value,
    response: Value,
}

fn capture(name: &str) -> Vec<Exchange> {
    let path = format!("{}/tests/captures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let exchanges: Vec<Value> = serde_json::from_str(&text).expect(&path);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    exchanges
        .iter()
        .map(|exchange| Exchange {
            method: text(&exchange["method"]),
            path: text(&exchange["path"]),
            request: exchange["request"].clone(),
            response: exchange["response"].clone(),
        })
        .collect()
}

fn find(name: &str, method: &str, path: &str) -> Exchange {
    capture(name)
        .into_iter()
        .find(|exchange| exchange.method == method && exchange.path.starts_with(path))
        .unwrap_or_else(|| panic!("{name} has no {method} {path}"))
}

/// Takes out what we refuse: the captured service has a health check, the stack secrets and configs.
fn without_unsupported(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in [
                "Healthcheck",
                "Secrets",
                "Configs",
                "Privileges",
                "JobStatus",
            ] {
                map.remove(name);
            }
            map.values_mut().for_each(without_unsupported);
        }
        Value::Array(items) => items.iter_mut().for_each(without_unsupported),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reads with our type, writes again, and expects the same tree.
fn survives<T: DeserializeOwned + Serialize>(value: &Value, context: &str) {
    let mut expected = value.clone();
    without_unsupported(&mut expected);
    // Answers hold nulls that requests must not; only requests go through the stripping parser.
    let read: T = serde_json::from_value(expected.clone()).expect(context);
    let written = serde_json::to_value(read).unwrap();
    assert_eq!(written, expected, "{context}");
}

fn each(value: &Value) -> Vec<Value> {
    value
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![value.clone()])
}

#[test]
fn answers_survive_our_types() {
    let mut seen = 0;
    for name in [
        "swarm_init",
        "node_ls",
        "network_inspect",
        "network_ls",
        "service_create",
        "service_ls",
        "service_inspect",
        "service_update",
        "service_rollback",
        "service_scale",
        "service_ps_history",
        "container_ls_all",
        "stack_ps",
        "err_demote_last",
    ] {
        for exchange in capture(name) {
            if exchange.method != "GET" {
                continue;
            }
            for item in each(&exchange.response) {
                let context = format!("{name} {}", exchange.path);
                let kind = exchange.path.trim_start_matches('/');
                let kind = kind.split(['/', '?']).next().unwrap();
                match kind {
                    "nodes" => survives::<Node>(&item, &context),
                    "services" => survives::<Service>(&item, &context),
                    "tasks" => survives::<Task>(&item, &context),
                    "networks" => survives::<NetworkResource>(&item, &context),
                    "swarm" => survives::<Swarm>(&item, &context),
                    "containers" => survives::<ContainerSummary>(&item, &context),
                    other => panic!("{context}: {other}"),
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "only {seen} objects were compared");
}

/// The core specification of a captured request, without what we refuse.
fn read_spec(request: &Value) -> swarm_core::model::ServiceSpec {
    let mut request = request.clone();
    without_unsupported(&mut request);
    let spec = ServiceSpec::from_json(request.to_string().as_bytes(), CURRENT).unwrap();
    let id = "17l2pm6ul2p6y47l2qcnmefpa".parse().unwrap();
    let networks: ResolvedNetworks = spec
        .network_targets()
        .map(|target| (target.to_owned(), Clone::clone(&id)))
        .collect();
    spec.into_core(&networks).unwrap()
}

#[test]
fn a_created_service_reads_back_as_the_real_engine_shows_it() {
    let created = read_spec(&find("service_create", "POST", "/services/create").request);
    for (name, query, insert_defaults) in [
        (
            "service_create",
            "/services/kzdtybctfl608s05w25pul5j4",
            false,
        ),
        ("service_inspect", "/services/web?insertDefaults=true", true),
    ] {
        let mut expected = find(name, "GET", query).response["Spec"].clone();
        without_unsupported(&mut expected);
        let shown =
            serde_json::to_value(ServiceSpec::from_core(&created, insert_defaults)).unwrap();
        assert_eq!(shown, expected, "{name}");
    }
}

#[test]
fn an_update_sends_back_what_was_shown() {
    let update = find("service_update", "POST", "/services/").request;
    let mut expected = update.clone();
    without_unsupported(&mut expected);
    let shown = serde_json::to_value(ServiceSpec::from_core(&read_spec(&update), false)).unwrap();
    assert_eq!(shown, expected);
}

#[test]
fn services_of_a_stack_are_read() {
    let mut services = 0;
    for exchange in capture("stack_deploy") {
        if exchange.path != "/services/create" {
            continue;
        }
        services += 1;
        let spec = read_spec(&exchange.request);
        assert_eq!(json!(spec.annotations.name), exchange.request["Name"]);
        assert_eq!(
            spec.task.networks.len(),
            each(&exchange.request["TaskTemplate"]["Networks"]).len()
        );
    }
    assert_eq!(services, 1);
}

#[test]
fn what_the_captured_service_asks_in_vain_is_named() {
    let request = find("service_create", "POST", "/services/create").request;
    let refusal = ServiceSpec::from_json(request.to_string().as_bytes(), CURRENT).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "ContainerSpec.Healthcheck is not supported yet"
    );
}

#[test]
fn networks_and_clusters_of_the_stock_client_are_read() {
    for name in ["network_create", "stack_deploy"] {
        let request = find(name, "POST", "/networks/create").request;
        let create = NetworkCreate::from_json(request.to_string().as_bytes()).unwrap();
        let spec = create.into_core().unwrap();
        assert_eq!(json!(spec.annotations.name), request["Name"]);
        assert_eq!(spec.driver, "overlay");
    }
    let request = find("swarm_init", "POST", "/swarm/init").request;
    let init = InitRequest::from_json(request.to_string().as_bytes()).unwrap();
    assert_eq!(init.subnet_size, 24);
}

#[test]
fn foreign_clients_decode_our_answers() {
    let all = |name: &str, path: &str| each(&find(name, "GET", path).response);
    for item in all("service_create", "/services/") {
        let ours: Service = serde_json::from_value(item).unwrap();
        let theirs: bollard_stubs::models::Service =
            serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        assert_eq!(theirs.id.as_deref(), Some(ours.id.as_str()));
        assert_eq!(theirs.spec.unwrap().name, Some(ours.spec.name));
    }
    for item in all("service_create", "/tasks") {
        let ours: Task = serde_json::from_value(item).unwrap();
        let theirs: bollard_stubs::models::Task =
            serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        assert_eq!(theirs.service_id, Some(ours.service_id));
    }
    for item in all("node_ls", "/nodes") {
        let ours: Node = serde_json::from_value(item).unwrap();
        let theirs: bollard_stubs::models::Node =
            serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        assert_eq!(theirs.id, Some(ours.id));
    }
    for item in all("network_ls", "/networks") {
        let ours: NetworkResource = serde_json::from_value(item).unwrap();
        let theirs: bollard_stubs::models::NetworkInspect =
            serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        assert_eq!(theirs.id, Some(ours.id));
    }
    for item in all("container_ls_all", "/containers") {
        let ours: ContainerSummary = serde_json::from_value(item).unwrap();
        let theirs: bollard_stubs::models::ContainerSummary =
            serde_json::from_value(serde_json::to_value(&ours).unwrap()).unwrap();
        assert_eq!(theirs.id, Some(ours.id));
    }
}
