//! Services, tasks and networks over HTTP.

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    Engine, refused, web, with_web,
    world::{INGRESS, World},
};

#[tokio::test]
async fn services_live_their_life() {
    let engine = with_web().await;
    let conflict = engine.post("/services/create", web(1)).await;
    assert_eq!(
        conflict.refusal(),
        refused(
            409,
            "rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists"
        )
    );
    let listed = engine.get("/services?status=true").await.json();
    assert_eq!(
        listed[0]["ServiceStatus"],
        json!({"RunningTasks": 2, "DesiredTasks": 2, "CompletedTasks": 0})
    );
    assert_eq!(
        engine.get("/services").await.json()[0].get("ServiceStatus"),
        None
    );
    assert_eq!(
        engine
            .get("/services?filters=%7B%22name%22%3A%7B%22we%22%3Atrue%7D%7D")
            .await
            .json()[0]["Spec"]["Name"],
        "web"
    );
    assert_eq!(
        engine
            .get("/services?filters=%7B%22name%22%3A%7B%22x%22%3Atrue%7D%7D")
            .await
            .json(),
        json!([])
    );

    let service = engine
        .get("/services/web?insertDefaults=false")
        .await
        .json();
    assert_eq!(service["Spec"].get("UpdateConfig"), None);
    assert_eq!(
        engine.get("/services/web?insertDefaults=true").await.json()["Spec"]["UpdateConfig"]["Parallelism"],
        1
    );
    let version = service["Version"]["Index"].as_u64().unwrap();
    let id = service["ID"].as_str().unwrap();
    let path = format!("/services/{id}/update?version={version}");
    let mut scaled = service["Spec"].clone();
    scaled["Mode"]["Replicated"]["Replicas"] = json!(3);
    let updated = engine.post(&path, scaled.clone()).await;
    assert_eq!(
        (updated.status, updated.json()),
        (200, json!({"Warnings": null}))
    );
    let stale = engine.post(&path, scaled).await;
    assert_eq!(
        stale.refusal(),
        refused(
            500,
            "rpc error: code = Unknown desc = update out of sequence"
        )
    );
    let service = engine.get("/services/web").await.json();
    assert_eq!(service["PreviousSpec"]["Mode"]["Replicated"]["Replicas"], 2);
    let version = service["Version"]["Index"].as_u64().unwrap();
    let path = format!("/services/web/update?version={version}&rollback=previous");
    assert_eq!(
        engine.post(&path, service["Spec"].clone()).await.status,
        200
    );
    assert_eq!(
        engine.get("/services/web").await.json()["Spec"]["Mode"]["Replicated"]["Replicas"],
        2
    );

    let removed = engine.delete("/services/web").await;
    assert_eq!((removed.status, removed.body.len()), (200, 0));
    assert_eq!(
        engine.get("/services/web").await.refusal(),
        refused(404, "service web not found")
    );
    assert_eq!(
        engine.delete("/services/web").await.refusal(),
        refused(404, "service web not found")
    );
}

#[tokio::test]
async fn bad_services_are_refused() {
    let engine = Engine::start(World::manager()).await;
    let post = |body: Value| engine.post("/services/create", body);
    let mut healthy = web(1);
    healthy["TaskTemplate"]["ContainerSpec"]["Healthcheck"] = json!({"Test": ["CMD", "true"]});
    assert_eq!(
        post(healthy).await.refusal(),
        refused(501, "ContainerSpec.Healthcheck is not supported yet")
    );
    assert_eq!(
        post(json!({})).await.refusal(),
        refused(400, "mismatched Runtime and *Spec fields")
    );
    let mut attached = web(1);
    attached["TaskTemplate"]["Networks"] = json!([{"Target": "nosuch"}]);
    assert_eq!(
        post(attached.clone()).await.refusal(),
        refused(404, "network nosuch not found")
    );
    attached["TaskTemplate"]["Networks"] = json!([{"Target": "bridge"}]);
    assert_eq!(
        post(attached).await.refusal(),
        refused(
            403,
            "The network bridge cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver."
        )
    );
    let text = [("content-type", "text/plain")];
    let body = Some("x".to_owned());
    let typed = engine
        .send(Method::POST, "/services/create", body, &text)
        .await;
    assert_eq!(
        typed.refusal(),
        refused(
            400,
            "unsupported Content-Type header (text/plain): must be 'application/json'"
        )
    );
    let json = [("content-type", "application/json")];
    let broken = engine
        .send(
            Method::POST,
            "/services/create",
            Some("{".to_owned()),
            &json,
        )
        .await
        .refusal();
    assert!(
        broken.0 == 400 && broken.1.starts_with("invalid JSON: "),
        "{broken:?}"
    );
    let empty = engine
        .send(Method::POST, "/services/create", None, &[])
        .await
        .refusal();
    assert_eq!(
        empty,
        refused(400, "invalid JSON: got EOF while reading request body")
    );
}

#[tokio::test]
async fn an_unnamed_service_gets_a_name_and_credentials_stay_hidden() {
    let engine = Engine::start(World::manager()).await;
    let mut body = web(1);
    body.as_object_mut().unwrap().remove("Name");
    let headers = [
        ("content-type", "application/json"),
        ("x-registry-auth", "c2VjcmV0"),
    ];
    let created = engine
        .send(
            Method::POST,
            "/services/create",
            Some(body.to_string()),
            &headers,
        )
        .await;
    let id = created.json()["ID"].as_str().unwrap().to_owned();
    let shown = engine.get(&format!("/services/{id}")).await;
    assert!(!String::from_utf8_lossy(&shown.body).contains("c2VjcmV0"));
    let service = shown.json();
    assert!(service["Spec"]["Name"].as_str().unwrap().contains('_'));
    let auth = |engine: &Engine| {
        let state = engine.world.lock();
        state
            .services
            .values()
            .next()
            .unwrap()
            .spec
            .task
            .container
            .registry_auth
            .clone()
    };
    assert_eq!(auth(&engine), "c2VjcmV0");
    // An update that does not bring credentials keeps them.
    let version = service["Version"]["Index"].as_u64().unwrap();
    let path = format!("/services/{id}/update?version={version}&registryAuthFrom=spec");
    assert_eq!(
        engine.post(&path, service["Spec"].clone()).await.status,
        200
    );
    assert_eq!(auth(&engine), "c2VjcmV0");
}

#[tokio::test]
async fn tasks() {
    let engine = with_web().await;
    let all = engine.get("/tasks").await.json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    assert_eq!(
        all[0]["NetworksAttachments"][0]["Network"]["Spec"]["Name"],
        "ingress"
    );
    assert_eq!(all[0]["Volumes"], Value::Null);
    let count = async |filters: Value| {
        let filters = filters
            .to_string()
            .replace('"', "%22")
            .replace('{', "%7B")
            .replace('}', "%7D");
        let answer = engine.get(&format!("/tasks?filters={filters}")).await;
        if answer.status == 200 {
            Ok(answer.json().as_array().unwrap().len())
        } else {
            Err(answer.refusal())
        }
    };
    assert_eq!(
        count(json!({"service": {"web": true}, "_up-to-date": {"true": true}})).await,
        Ok(2)
    );
    assert_eq!(count(json!({"node": {"refnode2": true}})).await, Ok(2));
    assert_eq!(count(json!({"node": {"refnode3": true}})).await, Ok(0));
    assert_eq!(
        count(json!({"desired-state": {"running": true}})).await,
        Ok(2)
    );
    assert_eq!(
        count(json!({"desired-state": {"shutdown": true}})).await,
        Ok(0)
    );
    assert_eq!(count(json!({"name": {"web.1": true}})).await, Ok(1));
    assert_eq!(
        count(json!({"service": {"nosuch": true}})).await,
        Err(refused(404, "service nosuch not found"))
    );
    assert_eq!(
        count(json!({"desired-state": {"foo": true}})).await,
        Err(refused(500, "Invalid desired-state filter: 'foo'"))
    );
    let id = all[0]["ID"].as_str().unwrap();
    assert_eq!(engine.get(&format!("/tasks/{id}")).await.json()["ID"], id);
    assert_eq!(
        engine.get("/tasks/nosuch").await.refusal(),
        refused(404, "task nosuch not found")
    );
}

/// Its name is free, so that is not what it is refused for.
#[tokio::test]
async fn a_second_ingress_network_is_not_refused_for_its_name() {
    let engine = Engine::start(World::manager()).await;
    let second = json!({"Name": "mesh", "Driver": "overlay", "Ingress": true});
    let second = engine.post("/networks/create", second).await;
    let text = format!(
        "rpc error: code = AlreadyExists desc = ingress network ({INGRESS}) is already present"
    );
    assert_eq!(second.refusal(), refused(409, &text));
}

#[tokio::test]
async fn networks() {
    let engine = Engine::start(World::manager()).await;
    let request = json!({"Name": "app", "Driver": "overlay", "IPAM": {"Driver": "default", "Options": {}, "Config": []}, "Options": {}, "Labels": {"a": "b"}});
    let created = engine.post("/networks/create", request.clone()).await;
    assert_eq!(
        (created.status, &created.json()["Warning"]),
        (201, &json!(""))
    );
    let taken = engine.post("/networks/create", request).await;
    assert_eq!(
        taken.refusal(),
        refused(409, "network with name app already exists")
    );
    for (name, status, text) in [
        ("", 400, "invalid name: name is empty"),
        ("host", 409, "network with name host already exists"),
        (
            "default",
            403,
            "operation is not permitted on predefined default network",
        ),
    ] {
        let request = json!({"Name": name, "Driver": "overlay"});
        let answer = engine.post("/networks/create", request).await;
        assert_eq!(answer.refusal(), refused(status, text));
    }
    let encrypted = engine
        .post(
            "/networks/create",
            json!({"Name": "x", "Driver": "overlay", "Options": {"encrypted": ""}}),
        )
        .await;
    assert_eq!(
        encrypted.refusal(),
        refused(501, "Options.encrypted is not supported yet")
    );
    let names = async |path: &str| {
        let listed = engine.get(path).await.json();
        let mut names: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|network| network["Name"].as_str().unwrap().to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(
        names("/networks").await,
        ["app", "bridge", "host", "ingress", "none"]
    );
    assert_eq!(
        names("/networks?filters=%7B%22scope%22%3A%5B%22swarm%22%5D%7D").await,
        ["app", "ingress"]
    );
    assert_eq!(
        names("/networks?filters=%7B%22type%22%3A%5B%22custom%22%5D%7D").await,
        ["app", "ingress"]
    );
    assert_eq!(
        names("/networks?filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D").await,
        ["app"]
    );
    assert_eq!(
        names("/networks?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D").await,
        ["app"]
    );

    let app = engine.get("/networks/app?scope=swarm").await.json();
    assert_eq!(
        app["Options"],
        json!({"com.docker.network.driver.overlay.vxlanid_list": "4097"})
    );
    assert_eq!(
        app["IPAM"]["Config"],
        json!([{"Subnet": "10.0.1.0/24", "Gateway": "10.0.1.1"}])
    );
    assert_eq!(app["Containers"], Value::Null);
    assert_eq!(
        engine.get("/networks/bridge").await.json()["Scope"],
        "local"
    );
    assert_eq!(
        engine.get("/networks/bridge?scope=swarm").await.refusal(),
        refused(404, "network bridge not found")
    );
    assert_eq!(engine.get("/networks/b0").await.json()["Name"], "none");

    let mut attached = web(2);
    attached["TaskTemplate"]["Networks"] = json!([{"Target": "app", "Aliases": ["w"]}]);
    let id = engine.post("/services/create", attached).await.json()["ID"].clone();
    let shown = engine.get("/services/web").await.json();
    assert_eq!(
        shown["Spec"]["TaskTemplate"]["Networks"][0]["Target"],
        app["Id"]
    );
    let used = format!(
        "rpc error: code = FailedPrecondition desc = network {} is in use by service {}",
        app["Id"].as_str().unwrap(),
        id.as_str().unwrap()
    );
    assert_eq!(engine.delete("/networks/app").await.refusal(), (400, used));
    let verbose = engine
        .get(&format!("/networks/{INGRESS}?verbose=true"))
        .await
        .json();
    assert_eq!(
        verbose["Services"]["web"]["Tasks"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(verbose["Containers"].as_object().unwrap().len(), 2);
    assert_eq!(engine.delete("/services/web").await.status, 200);
    assert_eq!(engine.delete("/networks/app").await.status, 204);
    assert_eq!(
        engine.delete("/networks/app").await.refusal(),
        refused(404, "network app not found")
    );
    assert_eq!(
        engine.delete("/networks/bridge").await.refusal(),
        refused(403, "bridge is a pre-defined network and cannot be removed")
    );
}
