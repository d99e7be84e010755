//! Requests and their refusals, with the texts people see.

use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString as _},
    vec::Vec,
};
use core::time::Duration;

use super::{
    ClusterUpdate, Code, NodeFilter, Reason, RootChange, ServiceFilter, TaskFilter, TokenRotation,
    create_network, create_service, find_node, find_service, find_task, force_new_cluster,
    list_nodes, list_services, list_tasks, parse_desired_state, remove_network, remove_node,
    remove_service, rotate_token, set_manager, update_cluster, update_node, update_service,
};
use crate::{
    id::{NetworkId, NodeId, ServiceId},
    model::{
        EndpointMode, ManagerStatus, Mount, MountKind, NetworkSpec, NodeState, PublishMode, Role,
        ServiceMode, ServiceSpec, TaskState, Version,
    },
    store::{Object, Transaction},
    testing::{Cluster, attach, id, network_spec, port, publish, service_spec},
};

fn refusal(cluster: &mut Cluster, spec: ServiceSpec) -> (Code, String) {
    let refused = create_service(&cluster.store, spec, cluster.now, &mut cluster.rng);
    let error = refused.unwrap_err();
    (error.code, error.message)
}

fn changed(edit: impl FnOnce(&mut ServiceSpec)) -> ServiceSpec {
    let mut spec = service_spec("web", 1);
    edit(&mut spec);
    spec
}

fn mount(target: &str) -> Mount {
    Mount {
        target: target.to_string(),
        read_only: false,
        kind: MountKind::Tmpfs {
            size_bytes: 0,
            mode: 0,
        },
    }
}

#[test]
fn bad_specifications_are_refused_with_dockers_texts() {
    use Code::{InvalidArgument as Invalid, Unknown};
    let mut cluster = Cluster::new(&["n1"]);
    let name = |name: &str| changed(|spec| spec.annotations.name = name.to_string());
    let image = |image: &str| changed(|spec| spec.task.container.image = image.to_string());
    let constraint =
        |text: &str| changed(|spec| spec.task.placement.constraints = [text.to_string()].into());
    let dns = "name must be valid as a DNS name component";
    for (spec, code, text) in [
        (name("-web"), Invalid, dns),
        (name("we b"), Invalid, dns),
        (name("web.1"), Invalid, dns),
        (
            name(&"w".repeat(64)),
            Invalid,
            "name must be 63 characters or fewer",
        ),
        (
            image(""),
            Invalid,
            "ContainerSpec: image reference must be provided",
        ),
        (
            image("BAD:::"),
            Invalid,
            "ContainerSpec: \"BAD:::\" is not a valid repository/tag",
        ),
        (
            changed(|spec| spec.task.container.mounts = [mount("/x"), mount("/x/")].into()),
            Invalid,
            "ContainerSpec: duplicate mount point: /x/",
        ),
        (
            constraint("node.role=worker"),
            Unknown,
            "constraint expected one operator from ==, !=",
        ),
        (constraint("node.role=="), Unknown, "value '' is invalid"),
    ] {
        assert_eq!(refusal(&mut cluster, spec), (code, text.to_string()));
    }
}

#[test]
fn bad_ports_and_resources_are_refused_with_dockers_texts() {
    use Code::InvalidArgument as Invalid;
    let mut cluster = Cluster::new(&["n1"]);
    for (spec, code, text) in [
        (
            changed(|spec| spec.task.resources.limits.memory_bytes = 1),
            Invalid,
            "invalid memory value 1: Must be at least 4MiB",
        ),
        (
            changed(|spec| spec.task.resources.reservations.nano_cpus = 100_000),
            Invalid,
            "invalid cpu value 0.0001: Must be at least 0.001",
        ),
        (
            changed(|spec| spec.endpoint = Some(publish(&[port(80, 1), port(80, 2)]))),
            Invalid,
            "EndpointSpec: duplicate published ports provided",
        ),
        (
            changed(|spec| {
                let mut endpoint = publish(&[port(80, 1)]);
                endpoint.mode = EndpointMode::DnsRoundRobin;
                spec.endpoint = Some(endpoint);
            }),
            Invalid,
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
    ] {
        assert_eq!(refusal(&mut cluster, spec), (code, text.to_string()));
    }
}

#[test]
fn image_references_of_every_form_are_accepted() {
    let mut cluster = Cluster::new(&["n1"]);
    for image in [
        "nginx",
        "nginx:1.27-alpine",
        "library/nginx",
        "localhost/web",
        "registry.example:5000/team/web_1.2__x--y:Tag_1",
        "nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "127.0.0.1:5000/web:v1",
    ] {
        let spec = changed(|spec| spec.task.container.image = image.to_string());
        create_service(&cluster.store, spec, cluster.now, &mut cluster.rng).unwrap();
    }
    for image in [
        "Nginx",
        "a//b",
        "a:",
        "a/b:-x",
        "a@sha256:12",
        "a..b",
        "-a",
        "host:x/web",
    ] {
        let spec = changed(|spec| spec.task.container.image = image.to_string());
        assert_eq!(
            refusal(&mut cluster, spec).0,
            Code::InvalidArgument,
            "{image}"
        );
    }
}

#[test]
fn names_ports_and_networks_are_checked_against_the_cluster() {
    let mut cluster = Cluster::new(&["n1"]);
    let web = changed(|spec| spec.endpoint = Some(publish(&[port(8080, 80)])));
    let web = cluster.create(web).unwrap();
    assert_eq!(
        refusal(&mut cluster, service_spec("web", 1)),
        (
            Code::AlreadyExists,
            "name conflicts with an existing object: service web already exists".into()
        )
    );
    let mut other = service_spec("api", 1);
    other.endpoint = Some(publish(&[port(8080, 81)]));
    let taken =
        format!("port '8080' is already in use by service 'web' ({web}) as an ingress port");
    assert_eq!(
        refusal(&mut cluster, other.clone()),
        (Code::InvalidArgument, taken)
    );
    other.endpoint.as_mut().unwrap().ports[0].publish_mode = PublishMode::Host;
    assert_eq!(
        refusal(&mut cluster, other.clone()).0,
        Code::InvalidArgument
    );
    other.endpoint.as_mut().unwrap().ports[0].protocol = crate::model::Protocol::Udp;
    let api = cluster.create(other.clone()).unwrap();
    // Two services may publish the same port on their nodes, but not one of them through the mesh.
    other.annotations.name = "api2".into();
    cluster.create(other.clone()).unwrap();
    other.annotations.name = "api3".into();
    other.endpoint.as_mut().unwrap().ports[0].publish_mode = PublishMode::Ingress;
    let (_code, text) = refusal(&mut cluster, other);
    assert!(text.ends_with("as a host-published port"), "{text}");
    assert!(cluster.service(&api).endpoint.is_some());
    let missing = id::<NetworkId>("nothere");
    let spec = changed(|spec| {
        spec.annotations.name = "db".into();
        spec.task.networks = [attach(&missing)].into();
    });
    assert_eq!(
        refusal(&mut cluster, spec),
        (Code::NotFound, format!("network {missing} not found"))
    );
    let ingress = cluster.store.ingress_network().unwrap().id.clone();
    let spec = changed(|spec| {
        spec.annotations.name = "db".into();
        spec.task.networks = [attach(&ingress)].into();
    });
    let text = "Service cannot be explicitly attached to the ingress network \"ingress\"";
    assert_eq!(
        refusal(&mut cluster, spec),
        (Code::InvalidArgument, text.into())
    );
}

fn update(
    cluster: &Cluster,
    id: &ServiceId,
    version: u64,
    spec: ServiceSpec,
    rollback: bool,
) -> String {
    let outcome = update_service(
        &cluster.store,
        id,
        Version(version),
        spec,
        rollback,
        cluster.now,
    );
    outcome.unwrap_err().rpc_text()
}

#[test]
fn what_an_update_may_not_do() {
    let mut cluster = Cluster::new(&["n1"]);
    let id = cluster.create(service_spec("web", 1)).unwrap();
    let version = cluster.service(&id).meta.version.0;
    let spec = service_spec("web", 1);
    let renamed = service_spec("api", 1);
    let mut global = spec.clone();
    global.mode = ServiceMode::Global;
    for (version, spec, rollback, text) in [
        (
            version - 1,
            spec.clone(),
            false,
            "code = Unknown desc = update out of sequence".to_string(),
        ),
        (
            version,
            renamed,
            false,
            "code = Unimplemented desc = renaming services is not supported".into(),
        ),
        (
            version,
            global,
            false,
            "code = Unimplemented desc = service mode change is not allowed".into(),
        ),
        (
            version,
            spec,
            true,
            format!("code = FailedPrecondition desc = service {id} does not have a previous spec"),
        ),
    ] {
        let found = update(&cluster, &id, version, spec, rollback);
        assert_eq!(found, format!("rpc error: {text}"));
    }
}

#[test]
fn networks_in_use_stay() {
    let mut cluster = Cluster::new(&["n1"]);
    let network = cluster.create_network("app");
    let refused = create_network(
        &cluster.store,
        network_spec("app"),
        cluster.now,
        &mut cluster.rng,
    );
    assert_eq!(
        refused.unwrap_err().message,
        "network with name app already exists"
    );
    let spec = changed(|spec| spec.task.networks = [attach(&network)].into());
    let service = cluster.create(spec).unwrap();
    let refused = remove_network(&cluster.store, &network, cluster.now).unwrap_err();
    assert_eq!(
        refused.message,
        format!("network {network} is in use by service {service}")
    );
    cluster.run();
    let remove = remove_service(&cluster.store, &service, cluster.now).unwrap();
    cluster.commit(remove);
    // Its task is still stopping.
    assert_eq!(cluster.store.tasks().count(), 1);
    let remove = remove_network(&cluster.store, &network, cluster.now).unwrap();
    cluster.commit(remove);
    cluster.run();
    assert_eq!(cluster.store.tasks().count(), 0);
    let ingress = cluster.store.ingress_network().unwrap().id.clone();
    let published = changed(|spec| spec.endpoint = Some(publish(&[port(8080, 80)])));
    let service = cluster.create(published).unwrap();
    let refused = remove_network(&cluster.store, &ingress, cluster.now).unwrap_err();
    assert_eq!(
        refused.message,
        format!("ingress network cannot be removed because service {service} depends on it")
    );
}

#[test]
fn there_is_one_ingress_network_and_it_is_not_attachable() {
    let mut cluster = Cluster::new(&["n1"]);
    let present = cluster.store.ingress_network().unwrap().id.clone();
    let mut spec = network_spec("mesh");
    spec.ingress = true;
    let attachable = NetworkSpec {
        attachable: true,
        ..spec.clone()
    };
    let mut refused =
        |spec| create_network(&cluster.store, spec, cluster.now, &mut cluster.rng).unwrap_err();
    let second = refused(spec);
    let text = format!("ingress network ({present}) is already present");
    assert_eq!((second.code, second.message), (Code::AlreadyExists, text));
    assert_eq!(second.reason, Some(Reason::IngressPresent));
    // It could not be one, whether or not it is the second.
    let open = refused(attachable);
    let text = "ingress network cannot be attachable";
    assert_eq!((open.code, &*open.message), (Code::InvalidArgument, text));
}

#[test]
fn nodes_are_demoted_and_removed_with_care() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let manager = cluster.store.node(&id("n1")).unwrap().clone();
    let mut spec = manager.spec.clone();
    spec.role = Role::Worker;
    let refused = update_node(
        &cluster.store,
        &manager.id,
        manager.meta.version,
        spec,
        &BTreeSet::new(),
        cluster.now,
    );
    assert_eq!(
        refused.unwrap_err().message,
        "attempting to demote the last manager of the swarm"
    );
    let refused = remove_node(&cluster.store, &manager.id, true, cluster.now).unwrap_err();
    assert!(
        refused
            .message
            .contains("must be demoted to worker before removal")
    );
    let worker = id::<NodeId>("n2");
    let refused = remove_node(&cluster.store, &worker, false, cluster.now).unwrap_err();
    assert_eq!(
        refused.message,
        format!("node {worker} is not down and can't be removed")
    );
    let service = cluster.create(service_spec("web", 2)).unwrap();
    cluster.run();
    let remove = remove_node(&cluster.store, &worker, true, cluster.now).unwrap();
    cluster.commit(remove);
    cluster.run();
    assert_eq!(
        cluster.table(&service),
        [
            "1 n1 running/running v1",
            "2 n2 orphaned/shutdown v1",
            "2 n1 running/running v1"
        ]
    );
}

#[test]
fn lookup_takes_identifier_name_and_unique_prefix() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let web = cluster.create(service_spec("web", 1)).unwrap();
    let found = |given: &str| find_service(&cluster.store, given).map(|found| found.id.clone());
    assert_eq!(found(web.as_str()), Ok(web.clone()));
    assert_eq!(found("web"), Ok(web.clone()));
    assert_eq!(found(&web.as_str()[..5]), Ok(web.clone()));
    assert_eq!(found("we").unwrap_err().message, "service we not found");
    assert_eq!(found("").unwrap_err().code, Code::NotFound);
    let ambiguous = find_node(&cluster.store, "n").unwrap_err();
    assert_eq!(ambiguous.message, "node n is ambiguous (2 matches found)");
    assert_eq!(ambiguous.code, Code::InvalidArgument);
    assert_eq!(ambiguous.reason, Some(Reason::Ambiguous));
    assert_eq!(find_node(&cluster.store, "n2").unwrap().id, id("n2"));
    // A hostname may be there twice; then only the identifier tells which is meant.
    let mut twin = cluster.store.node(&id("n2")).unwrap().clone();
    twin.description.as_mut().unwrap().hostname = "n1".to_string();
    let version = twin.meta.version;
    let renamed = Transaction::new(cluster.now).put(Object::Node(twin), version);
    cluster.commit(renamed);
    let ambiguous = find_node(&cluster.store, "n1").unwrap_err();
    assert_eq!(ambiguous.message, "node n1 is ambiguous (2 matches found)");
    let twin: NodeId = id("n2");
    assert_eq!(find_node(&cluster.store, twin.as_str()).unwrap().id, twin);
    let task = cluster.store.tasks().next().unwrap();
    let by_name = find_task(&cluster.store, &task.container_name()).unwrap();
    assert_eq!(by_name.id, task.id);
}

#[test]
fn lists_follow_dockers_filters() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let mut spec = service_spec("web", 2);
    spec.annotations
        .labels
        .insert("tier".into(), "front".into());
    cluster.create(spec).unwrap();
    let mut agent = service_spec("agent", 1);
    agent.mode = ServiceMode::Global;
    cluster.create(agent).unwrap();
    cluster.run();
    let names = |filter: ServiceFilter| -> Vec<String> {
        let found = list_services(&cluster.store, &filter);
        found
            .iter()
            .map(|found| found.spec.annotations.name.clone())
            .collect()
    };
    let with = |edit: fn(&mut ServiceFilter)| {
        let mut filter = ServiceFilter::default();
        edit(&mut filter);
        filter
    };
    assert_eq!(
        names(with(|filter| filter.names = ["we".into()].into())),
        ["web"]
    );
    assert_eq!(
        names(with(|filter| filter.labels = ["tier=front".into()].into())),
        ["web"]
    );
    assert_eq!(
        names(with(|filter| filter.labels = ["tier=back".into()].into())).len(),
        0
    );
    assert_eq!(
        names(with(|filter| filter.modes = ["global".into()].into())),
        ["agent"]
    );
}

#[test]
fn lists_of_tasks_and_nodes_resolve_names() {
    let mut cluster = Cluster::new(&["n1", "n2"]);
    let web = cluster.create(service_spec("web", 2)).unwrap();
    cluster.create(service_spec("api", 2)).unwrap();
    cluster.run();
    let of_web = TaskFilter {
        services: ["web".into()].into(),
        nodes: ["n1".into()].into(),
        ..TaskFilter::default()
    };
    let found = list_tasks(&cluster.store, &of_web).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].service, web);
    let unknown = TaskFilter {
        nodes: ["n9".into()].into(),
        ..TaskFilter::default()
    };
    assert_eq!(
        list_tasks(&cluster.store, &unknown).unwrap_err().message,
        "node n9 not found"
    );
    let managers = NodeFilter {
        roles: [Role::Manager].into(),
        ..NodeFilter::default()
    };
    assert_eq!(list_nodes(&cluster.store, &managers).len(), 1);
    assert_eq!(parse_desired_state("Running"), Ok(TaskState::Running));
    assert_eq!(
        parse_desired_state("foo").unwrap_err().message,
        "Invalid desired-state filter: 'foo'"
    );
}

/// Progress displays count tasks that are up to date: none of the old ones may be among them.
#[test]
fn tasks_of_the_old_specification_are_not_up_to_date() {
    let mut cluster = Cluster::new(&["n1"]);
    let id = cluster.create(service_spec("web", 2)).unwrap();
    cluster.run();
    let filter = TaskFilter {
        up_to_date: Some(true),
        ..TaskFilter::default()
    };
    assert_eq!(list_tasks(&cluster.store, &filter).unwrap().len(), 2);
    let service = cluster.service(&id).clone();
    let mut spec = service.spec;
    spec.task.container.image = "nginx:2".into();
    let version = service.meta.version;
    let write = update_service(&cluster.store, &id, version, spec, false, cluster.now).unwrap();
    cluster.commit(write);
    assert_eq!(list_tasks(&cluster.store, &filter).unwrap().len(), 0);
}

#[test]
fn cluster_settings_and_tokens() {
    let mut cluster = Cluster::new(&["n1"]);
    let before = cluster.store.cluster().unwrap().clone();
    let mut spec = before.spec.clone();
    spec.node_cert_expiry = Duration::from_mins(59);
    let update = ClusterUpdate {
        version: before.meta.version,
        spec,
        rotate: TokenRotation::default(),
        root: RootChange::Keep,
    };
    let refused = update_cluster(&cluster.store, update, cluster.now, &mut cluster.rng);
    assert_eq!(
        refused.unwrap_err().message,
        "minimum certificate expiry time is: 1h0m0s"
    );
    let write = rotate_token(&cluster.store, Role::Worker, cluster.now, &mut cluster.rng).unwrap();
    cluster.commit(write);
    let after = &cluster.store.cluster().unwrap().root_ca;
    assert_ne!(after.worker_secret, before.root_ca.worker_secret);
    assert_eq!(after.manager_secret, before.root_ca.manager_secret);
    let down = cluster
        .store
        .nodes()
        .filter(|node| node.status.state == NodeState::Down);
    assert_eq!(down.count(), 0);
}

/// As Docker does it: everything stays but the other managers' part.
#[test]
fn a_cluster_of_one_keeps_all_but_the_other_managers() {
    let mut cluster = Cluster::new(&["n1", "n2", "n3"]);
    let status = |number: u64| ManagerStatus::new(number, "10.0.0.1:2377".parse().unwrap());
    let joined = set_manager(&cluster.store, &id("n2"), Some(status(2)), cluster.now).unwrap();
    cluster.commit(joined);
    let service = cluster.create(service_spec("web", 2)).unwrap();
    cluster.run();
    let before = cluster.store.cluster().cloned();
    let tasks = cluster.table(&service);
    let forced = force_new_cluster(&cluster.store, &id("n3"), status(9), cluster.now).unwrap();
    cluster.commit(forced);
    let role_of = |name: &str| {
        let node = cluster.store.node(&id(name)).unwrap();
        (node.spec.role, node.manager.as_ref().map(|m| m.raft_id))
    };
    assert_eq!(role_of("n1"), (Role::Worker, None));
    assert_eq!(role_of("n2"), (Role::Worker, None));
    assert_eq!(role_of("n3"), (Role::Manager, Some(9)));
    assert_eq!(cluster.store.cluster().cloned(), before, "tokens included");
    assert_eq!(cluster.table(&service), tasks);
    let empty = crate::store::Store::new();
    let refused = force_new_cluster(&empty, &id("n3"), status(9), cluster.now).unwrap_err();
    assert!(refused.message.contains("holds no cluster"), "{refused}");
}
