//! Containers, logs and images over HTTP.

use serde_json::json;
use swarm_api::logs::{FrameDecoder, LogLine, LogOrigin, LogSource};
use swarm_core::time::Timestamp;

use crate::support::{
    Engine, refused, with_web,
    world::{MANAGER, World},
};

#[tokio::test]
async fn containers() {
    let engine = with_web().await;
    let listed = engine.get("/containers/json").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["Status"], "Up 11 seconds");
    assert_eq!(
        engine
            .get("/containers/json?limit=1")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let id = listed[0]["Id"].as_str().unwrap().to_owned();
    let name = listed[0]["Names"][0]
        .as_str()
        .unwrap()
        .trim_start_matches('/')
        .to_owned();
    let inspected = engine.get(&format!("/containers/{name}/json")).await.json();
    assert_eq!(inspected["Id"], json!(id));
    assert_eq!(inspected["State"]["Status"], "running");
    assert_eq!(
        engine.get("/containers/nosuch/json").await.refusal(),
        refused(404, "No such container: nosuch")
    );
    for reference in [&name, &id] {
        let runs = format!(
            "cannot remove container \"{reference}\": container is running: stop the container before removing or force remove"
        );
        let removed = engine.delete(&format!("/containers/{reference}")).await;
        assert_eq!(removed.refusal(), (409, runs));
    }
    let bad = engine
        .get("/containers/json?filters=%7B%22status%22%3A%5B%22foo%22%5D%7D")
        .await;
    assert_eq!(bad.status, 400);
    let unknown = engine
        .get("/containers/json?filters=%7B%22since%22%3A%5B%22foo%22%5D%7D")
        .await;
    assert_eq!(unknown.refusal(), refused(404, "No such container: foo"));
    assert_eq!(
        engine
            .post(&format!("/containers/{id}/stop?t=3"), json!({}))
            .await
            .status,
        204
    );
    assert_eq!(
        engine
            .post(&format!("/containers/{id}/kill?signal=TERM"), json!({}))
            .await
            .status,
        204
    );
    let short = &id[..12];
    assert_eq!(
        engine.world.lock().asked,
        [
            format!("stop {short} Some(3)"),
            format!("kill {short} TERM")
        ]
    );
    assert_eq!(
        engine
            .delete(&format!("/containers/{id}?force=1&v=1"))
            .await
            .status,
        204
    );
    assert_eq!(
        engine
            .get("/containers/json")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn logs_are_framed_and_described() {
    let engine = with_web().await;
    let (service, task) = {
        let mut state = engine.world.lock();
        let task = state.tasks.values().next().unwrap().clone();
        for (number, source) in [
            (1, LogSource::Stdout),
            (2, LogSource::Stderr),
            (3, LogSource::Stdout),
        ] {
            state.log.push(LogLine {
                timestamp: Timestamp(1_795_359_157_000_000_000 + number),
                source,
                data: format!("line {number}\n").into_bytes(),
                origin: Some(LogOrigin {
                    node: task.node.clone(),
                    service: task.service.clone(),
                    task: task.id.clone(),
                }),
                attributes: std::collections::BTreeMap::new(),
            });
        }
        (task.service, task.id)
    };
    assert_eq!(
        engine.get("/services/web/logs").await.refusal(),
        refused(500, "Bad parameters: you must choose at least one stream")
    );
    assert_eq!(
        engine.get("/services/nosuch/logs?stdout=1").await.refusal(),
        refused(404, "service nosuch not found")
    );
    let answer = engine
        .get("/services/web/logs?stdout=1&stderr=1&details=1&tail=2")
        .await;
    assert_eq!(
        answer.header("content-type"),
        "application/vnd.docker.multiplexed-stream"
    );
    let mut decoder = FrameDecoder::default();
    decoder.push(&answer.body);
    let details = format!(
        "com.docker.swarm.node.id={MANAGER},com.docker.swarm.service.id={service},com.docker.swarm.task.id={task}"
    );
    for (source, number) in [(LogSource::Stderr, 2), (LogSource::Stdout, 3)] {
        let (found, text) = decoder.next_frame().unwrap().unwrap();
        assert_eq!(found, source);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("{details} line {number}\n")
        );
    }
    assert_eq!(decoder.next_frame(), Ok(None));
    let of_task = engine
        .get(&format!("/tasks/{task}/logs?stderr=1&timestamps=1"))
        .await;
    assert!(
        of_task
            .body
            .ends_with(b"2026-11-22T14:52:37.000000002Z line 2\n")
    );
    let id = engine.world.lock().containers()[0].id.clone();
    let of_container = engine
        .get(&format!("/containers/{id}/logs?stdout=1&stderr=0"))
        .await;
    assert_eq!(
        of_container.body,
        b"\x01\0\0\0\0\0\0\x07line 1\n\x01\0\0\0\0\0\0\x07line 3\n"
    );
    assert_eq!(
        engine.get(&format!("/containers/{id}/logs")).await.status,
        400
    );
}

#[tokio::test]
async fn images_and_digests() {
    let engine = Engine::start(World::manager()).await;
    assert_eq!(
        engine.get("/images/json").await.json()[0]["RepoTags"],
        json!(["busybox:latest"])
    );
    let found = engine
        .get("/distribution/127.0.0.1:5000/team/web:1/json")
        .await
        .json();
    assert_eq!(
        found["Platforms"],
        json!([{"architecture": "amd64", "os": "linux"}])
    );
    assert!(
        found["Descriptor"]["digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:abab")
    );
    assert_eq!(
        engine.world.lock().asked,
        ["digest of 127.0.0.1:5000/team/web:1 auth="]
    );
    assert_eq!(
        engine.get("/distribution/nosuch/json").await.refusal(),
        refused(404, "No such image: nosuch")
    );
    assert_eq!(
        engine
            .get("/distribution/unreachable:1/json")
            .await
            .refusal(),
        refused(500, "cannot ask the registry: connection refused")
    );
}
