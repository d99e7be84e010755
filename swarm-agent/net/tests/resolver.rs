//! The resolver inside a real namespace, asked over real sockets. Needs root.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test must name its line"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use swarm_agent_net::dns::{NameTable, NetworkNames, Resolver, SharedNames, Upstreams};
use swarm_agent_net::{Netlink, Netns, NetnsDir};

const DEADLINE: Duration = Duration::from_secs(10);
const RESOLVER: &str = "127.0.0.11:53";

fn names(address: [u8; 4]) -> NameTable {
    let mut network = NetworkNames {
        network: "net".to_owned(),
        ..Default::default()
    };
    network.insert("web", [Ipv4Addr::from(address).into()]);
    network.insert("many", (0..=255).map(|n| Ipv4Addr::new(10, 9, 0, n).into()));
    NameTable {
        networks: vec![network],
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn ask_udp(name: &str) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.send_to(&question(name), RESOLVER).unwrap();
    let mut buffer = [0; 4096];
    let (length, from) = socket
        .recv_from(&mut buffer)
        .expect("an answer within 10 s");
    assert_eq!(from.to_string(), RESOLVER);
    Message::from_vec(&buffer[..length]).unwrap()
}

fn ask_tcp(name: &str) -> Message {
    let mut stream = TcpStream::connect(RESOLVER).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let question = question(name);
    stream
        .write_all(&u16::try_from(question.len()).unwrap().to_be_bytes())
        .unwrap();
    stream.write_all(&question).unwrap();
    let mut length = [0; 2];
    stream
        .read_exact(&mut length)
        .expect("an answer within 10 s");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).unwrap();
    Message::from_vec(&reply).unwrap()
}

async fn inside<T: Send + 'static>(task: &Netns, work: impl FnOnce() -> T + Send + 'static) -> T {
    task.run_in_async(work).await.unwrap()
}

fn addresses(message: &Message) -> Vec<String> {
    message
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect()
}

/// An upstream server on the host's loopback that answers everything with one address.
async fn upstream(address: Ipv4Addr) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let own = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let mut message = Message::from_vec(&buffer[..length])
                .unwrap()
                .into_response();
            let name = message.queries[0].name().clone();
            message.add_answer(Record::from_rdata(name, 5, RData::A(A(address))));
            socket
                .send_to(&message.to_vec().unwrap(), client)
                .await
                .unwrap();
        }
    });
    own
}

#[test]
fn tasks_resolve_our_names_and_everybody_elses() {
    support::on_a_fresh_host("swnet-e", |run_dir| async move {
        Netlink::open().unwrap().set_up("lo").await.unwrap();
        let directory = NetnsDir::open(run_dir.join("netns")).unwrap();
        let task = directory.ensure("task").unwrap();
        Netlink::open_in(&task)
            .await
            .unwrap()
            .set_up("lo")
            .await
            .unwrap();
        let shared = Arc::new(SharedNames::new(names([10, 0, 1, 2])));
        // A server that refuses the connection comes first; the second one answers.
        let closed = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let servers = Upstreams::new([closed, upstream(Ipv4Addr::new(192, 0, 2, 9)).await]);
        let resolver = Resolver::start(&task, shared.clone(), servers)
            .await
            .unwrap();

        assert_eq!(
            addresses(&inside(&task, || ask_udp("web.")).await),
            ["10.0.1.2"]
        );
        assert_eq!(
            addresses(&inside(&task, || ask_tcp("web.")).await),
            ["10.0.1.2"]
        );
        assert_eq!(
            addresses(&inside(&task, || ask_udp("example.com.")).await),
            ["192.0.2.9"]
        );

        let cut = inside(&task, || ask_udp("many.")).await;
        assert!(cut.metadata.truncation);
        let whole = inside(&task, || ask_tcp("many.")).await;
        assert_eq!(
            (whole.metadata.truncation, whole.answers.len()),
            (false, 256)
        );

        shared.replace(names([10, 0, 1, 77]));
        assert_eq!(
            addresses(&inside(&task, || ask_udp("web.")).await),
            ["10.0.1.77"]
        );

        // The port is free again at once, and without upstream servers unknown names fail.
        resolver.stop().await;
        let alone = Resolver::start(&task, shared, Upstreams::new([]))
            .await
            .unwrap();
        let refused = inside(&task, || ask_udp("example.com.")).await;
        assert_eq!(refused.metadata.response_code, ResponseCode::ServFail);
        let refused = inside(&task, || ask_tcp("example.com.")).await;
        assert_eq!(refused.metadata.response_code, ResponseCode::ServFail);
        alone.stop().await;
    });
}
