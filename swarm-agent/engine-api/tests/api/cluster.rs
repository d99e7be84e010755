//! Negotiation, the cluster, nodes, and who may ask for them.

use hyper::Method;
use serde_json::{Value, json};
use swarm_core::lock::SecretKey;

use crate::support::{
    Engine, NO_SWARM, WORKER_TEXT, refused, web, with_web,
    world::{MANAGER, WORKER, WORKER_TOKEN, World},
};

#[tokio::test]
async fn pings_negotiate_version_and_role() {
    for (world, role) in [
        (World::fresh(), "inactive"),
        (World::manager(), "active/manager"),
        (World::worker(), "active/worker"),
    ] {
        let engine = Engine::start(world).await;
        let get = engine.get("/_ping").await;
        assert_eq!((get.status, get.body.as_slice()), (200, &b"OK"[..]));
        let head = engine.send(Method::HEAD, "/_ping", None, &[]).await;
        for ping in [&get, &head] {
            for (name, value) in [
                ("api-version", "1.51"),
                ("ostype", "linux"),
                ("docker-experimental", "false"),
                ("swarm", role),
                ("cache-control", "no-cache, no-store, must-revalidate"),
                ("pragma", "no-cache"),
            ] {
                assert_eq!(ping.header(name), value, "{name}");
            }
        }
        assert_eq!(head.header("content-length"), "0");
    }
}

#[tokio::test]
async fn paths_and_versions_that_do_not_exist() {
    let engine = Engine::start(World::manager()).await;
    for path in [
        "/nosuch",
        "/v1.50/nosuch",
        "/containers/x/attach",
        "/distribution/x",
    ] {
        assert_eq!(
            engine.get(path).await.refusal(),
            refused(404, "page not found"),
            "{path}"
        );
    }
    let wrong_method = engine.delete("/info").await;
    assert_eq!(wrong_method.refusal(), refused(404, "page not found"));
    assert_eq!(
        engine.get("/v1.99/info").await.refusal(),
        refused(
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        )
    );
    let old = engine.get("/v1.10/info").await;
    assert_eq!(
        (old.status, old.header("content-type")),
        (400, "text/plain; charset=utf-8")
    );
    assert!(old.body.starts_with(b"client version 1.10 is too old."));
    for path in ["/nodes", "/v1.24/nodes", "/v1.51/nodes"] {
        assert_eq!(engine.get(path).await.status, 200, "{path}");
    }
    assert_eq!(engine.get("/nodes").await.header("api-version"), "1.51");
}

async fn a_worker_shows_networks_that_reach_it() {
    let world = World::worker();
    world.lock().add_ingress();
    let engine = Engine::start(world).await;
    let listed = engine.get("/networks").await.json();
    assert_eq!(listed[0]["Name"], "ingress");
    let id = listed[0]["Id"].as_str().unwrap();
    for reference in ["ingress", id, &id[..12]] {
        let path = format!("/networks/{reference}");
        assert_eq!(engine.get(&path).await.json()["Id"], id);
        assert_eq!(
            engine.delete(&path).await.refusal(),
            refused(503, WORKER_TEXT)
        );
    }
    // A manager that is not ready shows none rather than a part.
    engine.world.lock().membership.manager = true;
    let listed = engine.get("/networks").await.json();
    assert_ne!(listed[0]["Name"], "ingress");
    assert_eq!(engine.get("/networks/ingress").await.status, 404);
}

#[tokio::test]
async fn nodes_outside_a_swarm_and_workers_refuse_cluster_calls() {
    for (world, text) in [(World::fresh(), NO_SWARM), (World::worker(), WORKER_TEXT)] {
        let engine = Engine::start(world).await;
        for path in [
            "/swarm",
            "/swarm/unlockkey",
            "/nodes",
            "/nodes/x",
            "/services",
            "/services/x",
            "/tasks",
            "/tasks/x",
            "/services/x/logs?stdout=1",
        ] {
            assert_eq!(
                engine.get(path).await.refusal(),
                refused(503, text),
                "{path}"
            );
        }
        assert_eq!(
            engine.post("/services/create", web(1)).await.refusal(),
            refused(503, text)
        );
        assert_eq!(
            engine.delete("/services/x").await.refusal(),
            refused(503, text)
        );
        // Networks of the node itself are shown everywhere.
        let networks = engine.get("/networks").await.json();
        let names: Vec<_> = networks
            .as_array()
            .unwrap()
            .iter()
            .map(|network| &network["Name"])
            .collect();
        assert_eq!(names, ["bridge", "host", "none"]);
        assert_eq!(
            engine.get("/networks/x").await.refusal(),
            refused(404, "network x not found")
        );
    }
    a_worker_shows_networks_that_reach_it().await;
    let create = json!({"Name": "n", "Driver": "overlay"});
    let fresh = Engine::start(World::fresh()).await;
    assert_eq!(
        fresh
            .post("/networks/create", create.clone())
            .await
            .refusal(),
        refused(403, NO_SWARM)
    );
    let worker = Engine::start(World::worker()).await;
    assert_eq!(
        worker.post("/networks/create", create).await.refusal(),
        refused(
            403,
            "Cannot create a multi-host network from a worker node. Please create the network from a manager node."
        )
    );
}

#[tokio::test]
async fn a_swarm_is_made_joined_and_left() {
    let engine = Engine::start(World::fresh()).await;
    let left = engine.post("/swarm/leave", json!({})).await;
    assert_eq!(
        left.refusal(),
        refused(503, "This node is not part of a swarm")
    );
    let bad = engine
        .post(
            "/swarm/init",
            json!({"ListenAddr": "0.0.0.0:2377", "AdvertiseAddr": "0.0.0.0"}),
        )
        .await;
    assert_eq!(
        bad.refusal(),
        refused(
            400,
            "advertise address must be a non-zero IP address or network interface (with optional port number)"
        )
    );
    let port = engine
        .post("/swarm/init", json!({"DataPathPort": 80}))
        .await;
    assert_eq!(
        port.refusal(),
        refused(
            400,
            "Datapath port number is not in valid range (1024-49151) : 80"
        )
    );
    let made = engine
        .post("/swarm/init", json!({"ListenAddr": "0.0.0.0:2377"}))
        .await;
    assert_eq!((made.status, made.json()), (200, json!(MANAGER)));
    assert_eq!(
        engine.world.lock().asked,
        ["init 10.99.0.12:2377 on 0.0.0.0:2377"]
    );
    let again = engine.post("/swarm/init", json!({})).await;
    let member = "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm and join another one.";
    assert_eq!(again.refusal(), refused(503, member));
    let (status, text) = engine.post("/swarm/leave", json!({})).await.refusal();
    assert_eq!(status, 503);
    assert!(
        text.contains("Removing the last manager erases all current state"),
        "{text}"
    );
    assert_eq!(
        engine.post("/swarm/leave?force=1", json!({})).await.status,
        200
    );

    let join = |token: &str| json!({"RemoteAddrs": ["10.99.0.12"], "JoinToken": token, "ListenAddr": "0.0.0.0:2377"});
    assert_eq!(
        engine.post("/swarm/join", join("x")).await.refusal(),
        refused(500, "invalid join token")
    );
    assert_eq!(
        engine.post("/swarm/join", join(WORKER_TOKEN)).await.status,
        200
    );
    assert_eq!(
        engine.world.lock().asked.last().unwrap(),
        "join [\"10.99.0.12:2377\"]"
    );
    assert_eq!(
        engine.get("/info").await.json()["Swarm"]["ControlAvailable"],
        json!(false)
    );
    // A worker leaves without force.
    assert_eq!(engine.post("/swarm/leave", json!({})).await.status, 200);
}

#[tokio::test]
async fn the_cluster_is_shown_and_changed() {
    let engine = Engine::start(World::manager()).await;
    let swarm = engine.get("/swarm").await.json();
    assert_eq!(swarm["JoinTokens"]["Worker"], WORKER_TOKEN);
    assert_eq!(swarm["DefaultAddrPool"], Value::Null);
    let version = swarm["Version"]["Index"].as_u64().unwrap();
    let mut spec = swarm["Spec"].clone();
    spec["Orchestration"]["TaskHistoryRetentionLimit"] = json!(2);
    let path = format!(
        "/swarm/update?version={version}&rotateWorkerToken=true&rotateManagerToken=false&rotateManagerUnlockKey=false"
    );
    let updated = engine.post(&path, spec.clone()).await;
    assert_eq!((updated.status, updated.body.len()), (200, 0));
    assert_eq!(
        engine.world.lock().asked,
        ["update cluster TokenRotation { worker: true, manager: false, unlock_key: false }"]
    );
    let stale = engine.post(&path, spec).await;
    assert_eq!(
        stale.refusal(),
        refused(
            500,
            "rpc error: code = Unknown desc = update out of sequence"
        )
    );
    let swarm = engine.get("/swarm").await.json();
    assert_eq!(
        swarm["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"],
        json!(2)
    );
    assert_eq!(
        engine.get("/swarm/unlockkey").await.json(),
        json!({"UnlockKey": ""})
    );
    let unlock = engine
        .post("/swarm/unlock", json!({"UnlockKey": "x"}))
        .await;
    assert_eq!(unlock.refusal(), refused(409, "swarm is not locked"));
}

/// The key is shown on request only; a locked manager answers nothing but the way to unlock it, and says what is wrong with
/// a key that does not.
#[tokio::test]
async fn managers_are_unlocked_with_the_key_and_nothing_else() {
    let engine = Engine::start(World::manager()).await;
    let key = SecretKey::from_slice(&[7; 32]).unwrap();
    engine.world.lock().unlock_key = Some(key.clone());
    assert_eq!(
        engine.get("/swarm/unlockkey").await.json(),
        json!({"UnlockKey": key.to_human()})
    );
    let swarm = engine.get("/swarm").await.json();
    let version = swarm["Version"]["Index"].as_u64().unwrap();
    let path = format!("/swarm/update?version={version}&rotateManagerUnlockKey=true");
    let mut spec = swarm["Spec"].clone();
    spec["EncryptionConfig"]["AutoLockManagers"] = json!(true);
    assert_eq!(engine.post(&path, spec).await.status, 200);
    let rotated =
        "update cluster TokenRotation { worker: false, manager: false, unlock_key: true }";
    assert_eq!(engine.world.lock().asked, [rotated]);
    let swarm = engine.get("/swarm").await;
    assert_eq!(
        swarm.json()["Spec"]["EncryptionConfig"],
        json!({"AutoLockManagers": true})
    );
    for path in ["/swarm", "/info", "/nodes"] {
        let answer = engine.get(path).await;
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("SWMKEY"),
            "{path}"
        );
    }
    {
        let membership = &mut engine.world.lock().membership;
        membership.state = swarm_api::info::MembershipState::Locked;
        membership.control_available = false;
    }
    let locked = "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker swarm unlock\" to unlock it.";
    for path in [
        "/swarm",
        "/nodes",
        "/services",
        "/tasks",
        "/swarm/unlockkey",
    ] {
        assert_eq!(
            engine.get(path).await.refusal(),
            refused(503, locked),
            "{path}"
        );
    }
    let info = &engine.get("/info").await.json()["Swarm"];
    assert_eq!(
        (&info["LocalNodeState"], &info["Error"]),
        (&json!("locked"), &json!(locked))
    );
    let unlock = |key: &str| engine.post("/swarm/unlock", json!({"UnlockKey": key}));
    let wrong = "swarm could not be unlocked: invalid key provided";
    let other = SecretKey::from_slice(&[8; 32]).unwrap().to_human();
    for (given, status, text) in [
        ("", 400, "invalid key string"),
        ("x", 400, "invalid key string"),
        ("SWMKEY-1-abcd", 401, wrong),
        (other.as_str(), 401, wrong),
    ] {
        assert_eq!(
            unlock(given).await.refusal(),
            refused(status, text),
            "{given}"
        );
    }
    assert_eq!(engine.world.lock().asked[1..], ["unlock"]);
    assert_eq!(unlock(&key.to_human()).await.status, 200);
    assert_eq!(engine.get("/nodes").await.status, 200);
    let again = unlock(&key.to_human()).await;
    assert_eq!(again.refusal(), refused(409, "swarm is not locked"));
}

#[tokio::test]
async fn nodes() {
    let engine = Engine::start(World::manager()).await;
    let listed = engine.get("/nodes").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let filtered = engine
        .get("/nodes?filters=%7B%22role%22%3A%5B%22manager%22%5D%7D")
        .await
        .json();
    assert_eq!(filtered.as_array().unwrap().len(), 1);
    assert_eq!(
        engine
            .get("/nodes?filters=%7B%22foo%22%3A%7B%22bar%22%3Atrue%7D%7D")
            .await
            .refusal(),
        refused(400, "invalid filter 'foo'")
    );
    for reference in ["refnode2", MANAGER, "mkof", "self"] {
        assert_eq!(
            engine.get(&format!("/nodes/{reference}")).await.json()["ID"],
            MANAGER
        );
    }
    let worker = engine.get("/nodes/refnode3").await.json();
    assert_eq!(worker.get("ManagerStatus"), None);
    assert_eq!(
        engine.get("/nodes/nosuch").await.refusal(),
        refused(404, "node nosuch not found")
    );

    let version = worker["Version"]["Index"].as_u64().unwrap();
    let drain = json!({"Labels": {"zone": "a"}, "Role": "worker", "Availability": "drain"});
    let path = format!("/nodes/{WORKER}/update?version={version}");
    assert_eq!(engine.post(&path, drain.clone()).await.status, 200);
    let worker = engine.get("/nodes/refnode3").await.json();
    assert_eq!(
        worker["Spec"],
        json!({"Labels": {"zone": "a"}, "Role": "worker", "Availability": "drain"})
    );
    assert_eq!(engine.post(&path, drain.clone()).await.status, 500);
    let missing = engine.post(&format!("/nodes/{WORKER}/update"), drain).await;
    assert_eq!(
        missing.refusal(),
        refused(
            400,
            "invalid node version '': strconv.ParseUint: parsing \"\": invalid syntax"
        )
    );
    let role = engine
        .post(&path, json!({"Role": "foo", "Availability": "active"}))
        .await;
    assert_eq!(role.refusal(), refused(400, "invalid Role: \"foo\""));
    let manager = engine.get("/nodes/self").await.json()["Version"]["Index"]
        .as_u64()
        .unwrap();
    let demote = engine
        .post(
            &format!("/nodes/{MANAGER}/update?version={manager}"),
            json!({"Role": "worker", "Availability": "active"}),
        )
        .await;
    assert_eq!(
        demote.refusal(),
        refused(
            400,
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"
        )
    );
    assert_eq!(engine.delete("/nodes/refnode3").await.status, 400);
    assert_eq!(engine.delete("/nodes/refnode3?force=1").await.status, 200);
}

#[tokio::test]
async fn info_and_version() {
    let engine = Engine::start(World::fresh()).await;
    let info = engine.get("/info").await.json();
    assert_eq!(
        info["Swarm"],
        json!({"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "", "RemoteManagers": null})
    );
    let engine = with_web().await;
    let info = engine.get("/info").await.json();
    assert_eq!(info["Swarm"]["Nodes"], 2);
    assert_eq!(info["Swarm"]["Managers"], 1);
    assert_eq!(info["Swarm"]["Cluster"]["ID"], "29bduu0g0mbf6xtrwr1kqvpla");
    assert_eq!(info["ContainersRunning"], 2);
    assert_eq!(info["Warnings"], Value::Null);
    engine.world.lock().containers_fail = true;
    let info = engine.get("/info").await.json();
    assert_eq!(
        info["Warnings"],
        json!([
            "WARNING: containers cannot be counted: cannot list containers: connection refused"
        ])
    );
    assert_eq!(
        engine.get("/containers/json").await.refusal(),
        refused(500, "cannot list containers: connection refused")
    );
    let version = engine.get("/version").await.json();
    assert_eq!(
        (&version["ApiVersion"], &version["MinAPIVersion"]),
        (&json!("1.51"), &json!("1.24"))
    );
    assert_eq!(version["Arch"], "amd64");
    assert_eq!(
        engine.get("/events").await.refusal(),
        refused(501, "the event stream is not supported yet")
    );
}

#[tokio::test]
async fn the_socket_is_private_and_a_dead_one_is_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let engine = Engine::start(World::fresh()).await;
    let mode = std::fs::metadata(&engine.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    let second = swarm_agent_engine_api::bind(&engine.socket)
        .await
        .unwrap_err();
    assert!(
        second.to_string().starts_with("another engine answers on "),
        "{second}"
    );
    let directory = tempfile::tempdir().unwrap();
    let stale = directory.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(swarm_agent_engine_api::bind(&stale).await.is_ok());
}
