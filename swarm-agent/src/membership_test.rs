//! What becomes of a host whose node cannot be started, whose join finds nobody, and that leaves with trouble.

use std::{fs, path::Path};

use swarm_agent_engine_api::HostJoin;
use swarm_agent_executor::{
    Behaviour, ContainerId, ContainerSpec, FailingExecutor, FakeExecutor, PullRequest, Reaction,
};
use swarm_core::model::Availability;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{testing, worker::spec::TASK_LABEL};

const AT_MOST: Duration = Duration::from_secs(10);

/// A host that was a manager until its certificate expired.
fn expired(dir: &Path) -> Parts {
    let parts = testing::parts(dir);
    fs::create_dir_all(parts.options.certificates_dir()).unwrap();
    let credentials = testing::credentials(Role::Manager, testing::PAST);
    parts.key.save(&credentials, Role::Manager).unwrap();
    parts.state.save_node(&testing::node_state()).unwrap();
    parts
}

async fn get(socket: &Path, path: &str) -> String {
    let asked = async {
        let mut stream = loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    timeout(AT_MOST, asked).await.unwrap()
}

#[tokio::test]
async fn an_expired_certificate_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::resume(expired(dir.path())).await;
    let Membership::Error { text, expired } = member.membership() else {
        panic!("{:?}", member.membership());
    };
    assert!(expired, "{text}");
    let socket = dir.path().join("swarm.sock");
    let (serving, stop) = (socket.clone(), CancellationToken::new());
    let until = stop.clone();
    tokio::spawn(async move { crate::engine::serve(member, &serving, until).await });
    let answer = get(&socket, "/nodes").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let text = "Swarm certificates have expired. To replace them, leave the swarm and join again.";
    assert!(answer.contains(text), "{answer}");
    stop.cancel();
}

#[tokio::test]
async fn other_damage_is_no_expiry() {
    let dir = tempfile::tempdir().unwrap();
    let parts = expired(dir.path());
    fs::remove_file(parts.options.certificates_dir().join("node.crt")).unwrap();
    let member = Member::resume(parts).await;
    assert!(matches!(
        member.membership(),
        Membership::Error { expired: false, .. }
    ));
}

/// A container of a task, and one of somebody else.
async fn containers(executor: &FakeExecutor) -> ContainerId {
    let image = "registry.example/web:1";
    let behaviour = Behaviour::new(Reaction::RunUntilStopped(0));
    executor.add_image(image, behaviour).unwrap();
    let request = PullRequest {
        image: image.to_owned(),
        auth: None,
    };
    swarm_agent_executor::Executor::pull(executor, &request)
        .await
        .unwrap();
    let ids = [1, 2].map(|byte| ContainerId::from_random([byte; 32]));
    for (id, label) in ids.iter().zip([TASK_LABEL, "other"]) {
        let mut spec = ContainerSpec {
            image: image.to_owned(),
            ..ContainerSpec::default()
        };
        spec.labels.insert(label.to_owned(), String::new());
        let created = swarm_agent_executor::Executor::create(executor, id, &spec);
        created.await.unwrap();
    }
    let [_, others] = ids;
    others
}

#[tokio::test]
async fn a_node_that_could_not_be_started_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let executor = Arc::new(FakeExecutor::default());
    let others = containers(&executor).await;
    let parts = Parts {
        executor: executor.clone(),
        ..expired(dir.path())
    };
    let options = parts.options.clone();
    let member = Member::resume(parts).await;
    member.leave().await.unwrap();
    assert_eq!(member.membership(), Membership::Inactive);
    let left = swarm_agent_executor::Executor::list(executor.as_ref()).await;
    let left: Vec<_> = left.unwrap().into_iter().map(|found| found.id).collect();
    assert_eq!(left, [others]);
    let files: Vec<_> = fs::read_dir(&options.state_dir).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
}

#[tokio::test]
async fn what_cannot_be_removed_is_said_and_the_rest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let parts = Parts {
        executor: Arc::new(FailingExecutor::new("/nonexistent.sock")),
        ..expired(dir.path())
    };
    let state = parts.state.clone();
    let member = Member::resume(parts).await;
    let said = member.leave().await.unwrap_err().to_string();
    assert!(said.contains("containers not listed"), "{said}");
    assert_eq!(state.node().unwrap(), None, "a restart would be a member");
    assert_eq!(member.membership(), Membership::Inactive);
    // What names the node stays: so does the membership, until it can be forgotten.
    let dir = tempfile::tempdir().unwrap();
    let parts = expired(dir.path());
    let node = parts.options.state_dir.join("node.json");
    fs::remove_file(&node).unwrap();
    fs::create_dir(&node).unwrap();
    let member = Member::resume(parts).await;
    assert!(member.leave().await.is_err());
    assert!(matches!(member.membership(), Membership::Error { .. }));
    fs::remove_dir(&node).unwrap();
    member.leave().await.unwrap();
    assert_eq!(member.membership(), Membership::Inactive);
}

#[tokio::test]
async fn a_join_that_finds_nobody_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let member = Member::resume(testing::parts(dir.path())).await;
    let request = HostJoin {
        listen: "0.0.0.0:2377".parse().unwrap(),
        advertise: Some("10.0.0.1:2377".parse().unwrap()),
        data_path: None,
        remotes: vec!["127.0.0.1:1".to_owned()],
        token: format!("SWMTKN-1-{:0>50}-{:0>25}", "", ""),
        availability: Availability::Active,
    };
    let join = tokio::spawn({
        let (member, request) = (Arc::clone(&member), request.clone());
        async move { member.join(request).await }
    });
    let pending = async {
        while !matches!(member.membership(), Membership::Pending(trouble) if !trouble.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(AT_MOST, pending).await.unwrap();
    let again = member.join(request).await;
    assert_eq!(again, Err(HostError::AlreadyMember));
    timeout(AT_MOST, member.leave()).await.unwrap().unwrap();
    assert_eq!(member.membership(), Membership::Inactive);
    assert_eq!(join.await.unwrap(), Err(HostError::NotMember));
    assert_eq!(member.leave().await, Err(HostError::NotMember));
}

/// An agent that died in the middle of a change of role finds in the certificate what the node is to be.
#[tokio::test]
async fn a_node_is_what_its_certificate_says() {
    for (role, said, keeps_state) in [
        (Role::Worker, "192.0.2.1", false), // as far as a host without this address gets
        (
            Role::Manager,
            "cannot start /nonexistent/swarm-manager",
            true,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let parts = testing::parts(dir.path());
        fs::create_dir_all(parts.options.certificates_dir()).unwrap();
        let credentials = testing::credentials(role, testing::FUTURE);
        parts.key.save(&credentials, role).unwrap();
        let raft = parts.options.manager_state_dir().join("raft.redb");
        fs::create_dir_all(parts.options.manager_state_dir()).unwrap();
        fs::write(&raft, "").unwrap();
        let state = NodeState {
            data_path_addr: "192.0.2.1".parse().unwrap(),
            ..testing::node_state()
        };
        parts.state.save_node(&state).unwrap();
        let member = Member::resume(parts).await;
        let Membership::Error { text, .. } = member.membership() else {
            panic!("{:?}", member.membership());
        };
        assert!(text.contains(said), "{text}");
        assert_eq!(raft.exists(), keeps_state, "{role:?}");
    }
}
