//! Pulling from a real registry, and from registries that refuse, lie or are not there.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking and tells its story in one piece"
)]

mod support;

use oci_client::manifest::{ImageIndexEntry, OciImageIndex, Platform};
use oci_client::secrets::RegistryAuth;
use support::{World, id, run_script, within};
use swarm_agent_executor::{
    ContainerSpec, Error, Executor, PullFailure, PullOutcome, PullRequest, RegistryCredentials,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn request(image: String) -> PullRequest {
    PullRequest { image, auth: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_digests_and_a_registry_that_went_away() {
    let mut world = World::new().await;
    let executor = world.connect().await;
    let by_tag = request(world.image("app:exit7"));
    let (one, two) =
        within(async { tokio::join!(executor.pull(&by_tag), executor.pull(&by_tag)) }).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.image(), two.image(), "two pulls at once are one");
    let digest = one.image().manifest_digest.clone();
    let by_digest = request(world.image(&format!("app:exit7@{digest}")));
    let outcome = within(executor.pull(&by_digest)).await.unwrap();
    assert!(matches!(outcome, PullOutcome::Present(_)), "{outcome:?}");
    let wrong = request(world.image(&format!("app@sha256:{}", "0".repeat(64))));
    let error = within(executor.pull(&wrong)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuchImage {
                failure: Some(PullFailure::NotFound),
                ..
            }
        ),
        "{error:?}"
    );
    world.stop_registry();
    let outcome = within(executor.pull(&by_tag)).await.unwrap();
    let PullOutcome::Kept {
        image,
        failure: PullFailure::Unreachable { registry, .. },
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (image.manifest_digest, &registry),
        (digest, &world.registry)
    );
    let error = within(executor.pull(&request(world.image("app:server"))))
        .await
        .unwrap_err();
    let text = error.to_string();
    let start = format!(
        "No such image: {0}/app:server (registry {0} is unreachable: ",
        world.registry
    );
    assert!(
        text.starts_with(&start) && text.contains("refused"),
        "{text}"
    );
    executor.remove_image(&by_tag.image).await.unwrap();
    let error = executor.remove_image(&by_tag.image).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("No such image: {}", by_tag.image)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_this_machines_image() {
    let world = World::new().await;
    let executor = world.connect().await;
    let ours = world
        .push("multi:ours", &serde_json::json!({ "Cmd": ["/bin/true"] }))
        .await;
    let client = World::registry_client();
    let entry = |architecture: &str, digest: &str| {
        let platform = serde_json::json!({ "os": "linux", "architecture": architecture });
        let platform: Platform = serde_json::from_value(platform).unwrap();
        serde_json::from_value::<ImageIndexEntry>(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": 1, "platform": platform,
        }))
        .unwrap()
    };
    let foreign = world
        .push("multi:foreign", &serde_json::json!({ "Cmd": ["/foreign"] }))
        .await;
    for (tag, entries) in [
        ("index", vec![entry("arm", &foreign), entry("amd64", &ours)]),
        ("arm", vec![entry("arm", &foreign)]),
    ] {
        let index: OciImageIndex = serde_json::from_value(serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        }))
        .unwrap();
        let reference = world.image(&format!("multi:{tag}")).parse().unwrap();
        client
            .push_manifest_list(&reference, &RegistryAuth::Anonymous, index)
            .await
            .unwrap();
    }
    let outcome = within(executor.pull(&request(world.image("multi:index"))))
        .await
        .unwrap();
    assert_eq!(outcome.image().manifest_digest, ours);
    let index = client
        .fetch_manifest_digest(
            &world.image("multi:index").parse().unwrap(),
            &RegistryAuth::Anonymous,
        )
        .await
        .unwrap();
    let by_index = request(world.image(&format!("multi@{index}")));
    let outcome = within(executor.pull(&by_index)).await.unwrap();
    assert!(
        matches!(outcome, PullOutcome::Present(_)),
        "known by the index's digest too"
    );
    let spec = ContainerSpec {
        image: by_index.image,
        ..ContainerSpec::default()
    };
    assert_eq!(
        run_script(&executor, "indexed", &spec, "echo ok").await,
        (0, "ok\n".into())
    );
    let error = within(executor.pull(&request(world.image("multi:arm"))))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no matching manifest for linux/amd64"),
        "{error}"
    );
    executor.delete(&id("indexed"), false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_refuse_or_lie() {
    let world = World::new().await;
    let executor = world.connect().await;
    let challenge = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n";
    let lie = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\
         Content-Length: 2\r\nConnection: close\r\n\r\n{}";
    let refusing = serve(challenge).await;
    let lying = serve(lie).await;
    let credentials = RegistryCredentials {
        username: "u".into(),
        password: "secret".into(),
    };
    assert!(!format!("{credentials:?}").contains("secret"));
    for auth in [None, Some(credentials)] {
        let request = PullRequest {
            image: format!("{refusing}/app:1"),
            auth,
        };
        let error = within(executor.pull(&request)).await.unwrap_err();
        assert!(
            error.to_string().contains("may require 'docker login'"),
            "{error}"
        );
    }
    let image = format!("{lying}/app@sha256:{}", "2".repeat(64));
    let error = within(executor.pull(&request(image))).await.unwrap_err();
    let Error::NoSuchImage {
        failure: Some(failure),
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(
        matches!(
            failure,
            PullFailure::DigestMismatch { .. } | PullFailure::Registry { .. }
        ),
        "{failure:?}"
    );
    let error = within(executor.pull(&request(format!("{lying}/app:1"))))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuchImage {
                failure: Some(PullFailure::Malformed { .. }),
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(executor.images().await.unwrap(), []);
}

/// Answers every request with the same bytes; ends with the test.
async fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            if count > 0 {
                // A client that has hung up needs no answer.
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    address
}
