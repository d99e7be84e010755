//! What to do with one DNS message: answer it, pass it on, or drop it. Pure: bytes in, a
//! decision out.
//!
//! A name of ours has no IPv6 address, but the answer to AAAA is "no data", never "no such
//! name": musl's resolver takes NXDOMAIN of one family as the answer for both.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use super::TTL_SECONDS;
use super::names::Names;

/// How a request arrived; it bounds the size of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The outcome for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Send these bytes back.
    Reply(Vec<u8>),
    /// Not a name of ours: pass the request on as it is.
    Forward,
    /// Not a request; an answer could start a loop.
    Drop,
}

/// The largest UDP answer: fits every path without fragments (DNS flag day 2020).
const MAX_UDP_BYTES: u16 = 1232;

/// Decides about one request. `rotation` picks which address of several comes first.
pub fn decide(
    request: &[u8],
    names: &dyn Names,
    rotation: usize,
    transport: Transport,
) -> Decision {
    let Ok(message) = Message::from_vec(request) else {
        return refuse(request, ResponseCode::FormErr);
    };
    if message.metadata.message_type == MessageType::Response {
        return Decision::Drop;
    }
    if message.metadata.op_code != OpCode::Query {
        return refuse(request, ResponseCode::NotImp);
    }
    let [query] = message.queries.as_slice() else {
        return refuse(request, ResponseCode::FormErr);
    };
    if query.query_class() != DNSClass::IN {
        return Decision::Forward;
    }
    match answers(query, names, rotation) {
        None => Decision::Forward,
        Some(answers) => reply(&message, answers, transport)
            .unwrap_or_else(|| refuse(request, ResponseCode::ServFail)),
    }
}

/// An answer with an error code and nothing else, made from the request's first twelve bytes so
/// that it works for requests that cannot be parsed. RFC 1035 section 4.1.1.
pub fn refuse(request: &[u8], code: ResponseCode) -> Decision {
    let Some(&[id_high, id_low, flags, ..]) = request.get(..12) else {
        return Decision::Drop;
    };
    if flags & 0x80 != 0 {
        return Decision::Drop;
    }
    let question = question_bytes(request);
    // QR set, opcode and RD kept, RA set.
    let mut bytes = vec![id_high, id_low, 0x80 | (flags & 0x79), 0x80 | code.low()];
    bytes.extend([0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    bytes.extend(question.unwrap_or_default());
    Decision::Reply(bytes)
}

/// The records for a query about a name of ours; `None` if the name is not ours.
fn answers(query: &Query, names: &dyn Names, rotation: usize) -> Option<Vec<Record>> {
    let record = |data| Record::from_rdata(query.name().clone(), TTL_SECONDS, data);
    if query.query_type() == RecordType::PTR {
        let range = query.name().parse_arpa_name().ok()?;
        if range.prefix_len() != range.max_prefix_len() {
            return None;
        }
        let target = Name::from_ascii(names.name_of(range.addr())? + ".").ok()?;
        return Some(vec![record(RData::PTR(PTR(target)))]);
    }
    let name = query.name().to_lowercase().to_ascii();
    let mut addresses = names.addresses(name.trim_end_matches('.'))?;
    if !addresses.is_empty() {
        let middle = rotation % addresses.len();
        addresses.rotate_left(middle);
    }
    let wanted = query.query_type();
    let data = addresses.into_iter().filter_map(|address| match address {
        IpAddr::V4(v4) if wanted == RecordType::A => Some(RData::A(A(v4))),
        IpAddr::V6(v6) if wanted == RecordType::AAAA => Some(RData::AAAA(AAAA(v6))),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    Some(data.map(record).collect())
}

fn reply(request: &Message, answers: Vec<Record>, transport: Transport) -> Option<Decision> {
    let mut response = Message::response(request.metadata.id, OpCode::Query);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.queries.clone_from(&request.queries);
    response.answers = answers;
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_BYTES);
        response.set_edns(edns);
    }
    let limit = match transport {
        Transport::Udp => request.max_payload().min(MAX_UDP_BYTES),
        Transport::Tcp => u16::MAX,
    };
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    // Records that do not fit are left out and the truncation bit is set.
    encoder.set_max_size(limit);
    response.emit(&mut encoder).ok()?;
    Some(Decision::Reply(bytes))
}

/// The bytes of the only question, if there is exactly one and it is not compressed.
fn question_bytes(request: &[u8]) -> Option<&[u8]> {
    if request.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = 12;
    loop {
        match *request.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            64..=255 => return None,
        }
    }
    request.get(12..at + 5)
}

#[cfg(test)]
#[path = "answer_test.rs"]
mod tests;
