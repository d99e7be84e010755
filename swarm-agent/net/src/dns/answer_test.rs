//! Tables over every kind of request.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::dns::{NameTable, NetworkNames};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn names() -> NameTable {
    let mut network = NetworkNames {
        network: "net".to_owned(),
        ..Default::default()
    };
    network.insert("web", [ip("10.0.1.2")]);
    network.insert("st_web", [ip("10.0.1.9")]);
    network.insert("tasks.web", ["10.0.1.3", "10.0.1.4", "10.0.1.5"].map(ip));
    network.insert("six", [ip("fd00::7"), ip("10.0.1.7")]);
    network.insert("empty", []);
    network.insert("many", (0..=255).map(|n| IpAddr::from([10, 9, 0, n])));
    network.reverse = BTreeMap::from([(ip("10.0.1.3"), "st_web.1.abc.net".to_owned())]);
    NameTable {
        networks: vec![network],
    }
}

fn request(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn ask(message: &Message, rotation: usize, transport: Transport) -> Decision {
    decide(&message.to_vec().unwrap(), &names(), rotation, transport)
}

/// The answer's records as text, or what else was decided.
fn outcome(name: &str, kind: RecordType, rotation: usize) -> String {
    match ask(&request(name, kind), rotation, Transport::Udp) {
        Decision::Forward => "forward".to_owned(),
        Decision::Drop => "drop".to_owned(),
        Decision::Reply(bytes) => {
            let reply = Message::from_vec(&bytes).unwrap();
            assert_eq!(reply.metadata.id, 77);
            assert_eq!(reply.metadata.message_type, MessageType::Response);
            assert!(reply.metadata.recursion_available);
            let wanted = Name::from_ascii(name).unwrap();
            assert!(
                reply.queries[0].name().eq_case(&wanted),
                "case of the question is kept"
            );
            assert!(reply.answers.iter().all(|r| r.ttl == TTL_SECONDS));
            let data: Vec<_> = reply.answers.iter().map(|r| r.data.to_string()).collect();
            format!("{:?} {}", reply.metadata.response_code, data.join(" "))
        }
    }
}

#[test]
fn every_kind_of_question() {
    use RecordType as T;
    for (name, kind, rotation, expected) in [
        ("web.", T::A, 0, "NoError 10.0.1.2"),
        ("WeB.", T::A, 0, "NoError 10.0.1.2"),
        ("web.net.", T::A, 0, "NoError 10.0.1.2"),
        ("st_web.", T::A, 0, "NoError 10.0.1.9"),
        ("web.", T::AAAA, 0, "NoError "),
        ("web.", T::MX, 0, "NoError "),
        ("six.", T::AAAA, 0, "NoError fd00::7"),
        ("six.", T::A, 0, "NoError 10.0.1.7"),
        ("empty.", T::A, 0, "NoError "),
        ("tasks.web.", T::A, 0, "NoError 10.0.1.3 10.0.1.4 10.0.1.5"),
        ("tasks.web.", T::A, 1, "NoError 10.0.1.4 10.0.1.5 10.0.1.3"),
        ("tasks.web.", T::A, 5, "NoError 10.0.1.5 10.0.1.3 10.0.1.4"),
        ("example.com.", T::A, 0, "forward"),
        ("example.com.", T::AAAA, 0, "forward"),
        (".", T::NS, 0, "forward"),
        (
            "3.1.0.10.in-addr.arpa.",
            T::PTR,
            0,
            "NoError st_web.1.abc.net.",
        ),
        ("4.1.0.10.in-addr.arpa.", T::PTR, 0, "forward"),
        ("1.0.10.in-addr.arpa.", T::PTR, 0, "forward"),
        ("web.", T::PTR, 0, "forward"),
    ] {
        assert_eq!(outcome(name, kind, rotation), expected, "{name} {kind}");
    }
}

#[test]
fn a_long_answer_is_cut_on_udp_and_whole_on_tcp() {
    let mut message = request("many.", RecordType::A);
    let mut sizes = Vec::new();
    for payload in [0, 900, 4096] {
        if payload > 0 {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let Decision::Reply(bytes) = ask(&message, 0, Transport::Udp) else {
            panic!("no reply")
        };
        let reply = Message::from_vec(&bytes).unwrap();
        assert!(reply.metadata.truncation);
        assert!(!reply.answers.is_empty());
        sizes.push(bytes.len());
    }
    for (size, limit) in sizes.iter().zip([512, 900, 1232]) {
        assert!(*size <= limit && *size + 30 > limit, "{size} of {limit}");
    }
    let Decision::Reply(bytes) = ask(&message, 0, Transport::Tcp) else {
        panic!("no reply")
    };
    let reply = Message::from_vec(&bytes).unwrap();
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 256);
    assert!(reply.edns.is_some());
}

#[test]
fn what_is_not_a_question_is_refused_or_dropped() {
    let good = request("web.", RecordType::A).to_vec().unwrap();
    let code = |bytes: &[u8]| match decide(bytes, &names(), 0, Transport::Udp) {
        Decision::Reply(reply) => Message::from_vec(&reply).unwrap().metadata.response_code,
        other @ (Decision::Forward | Decision::Drop) => panic!("{other:?}"),
    };
    assert_eq!(
        code(&good[..good.len() - 2]),
        ResponseCode::FormErr,
        "cut short"
    );
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert_eq!(code(&update), ResponseCode::NotImp, "opcode update");
    let mut none = good[..12].to_vec();
    none[5] = 0;
    assert_eq!(code(&none), ResponseCode::FormErr, "no question");

    let mut response = good.clone();
    response[2] |= 0x80;
    for dropped in [response.as_slice(), &good[..11], &[]] {
        assert_eq!(decide(dropped, &names(), 0, Transport::Udp), Decision::Drop);
    }
}

#[test]
fn a_refusal_repeats_the_question() {
    let good = request("example.com.", RecordType::A);
    let Decision::Reply(bytes) = refuse(&good.to_vec().unwrap(), ResponseCode::ServFail) else {
        panic!("no reply");
    };
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(reply.metadata.id, 77);
    assert_eq!(reply.queries, good.queries);
}

proptest! {
    /// Whatever arrives, the answer is at most as large as allowed and parses.
    #[test]
    fn any_bytes_get_a_bounded_well_formed_answer(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Decision::Reply(reply) = decide(&bytes, &names(), 0, Transport::Udp) {
            prop_assert!(reply.len() <= usize::from(MAX_UDP_BYTES));
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }
}
