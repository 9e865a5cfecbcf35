//! Requests in JSON.

use std::sync::LazyLock;

use fuzz::{Outcome, Target};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::gateway::message::{from_json, to_json};

pub(super) const TARGET: Target =
    Target { name: "gateway-json", seeds, decode, found: &[], rounds: 3000 };

/// Kinds of messages; the first byte of an input says which one follows.
const KINDS: [&str; 5] = ["RangeRequest", "TxnRequest", "WatchRequest", "AlarmRequest", "KeyValue"];

const SEEDS: [&str; 6] = [
    r#"0{"key":"YQ==","range_end":"AA==","limit":"5","sort_order":"DESCEND","keysOnly":true}"#,
    r#"1{"compare":[{"result":"LESS","target":3,"key":"YQ==","value":"Yg"}],
        "success":[{"request_put":{"key":"YQ","lease":7}},{"requestTxn":{"failure":[{}]}}]}"#,
    r#"2{"create_request":{"key":"YQ==","start_revision":"-9223372036854775808","filters":[0]}}"#,
    r#"3{"action":1,"memberID":"18446744073709551615","alarm":"NOSPACE"}"#,
    r#"4{"key":"YQ==","version":1e3,"unknown":[null,{"a":1.5}]}"#,
    r"2",
];

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has made them"));

/// A kind of message.
pub(super) fn kind(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).expect("it is one of etcd's")
}

/// A message as one of a kind.
pub(super) fn message_of(name: &str, message: &impl Message) -> DynamicMessage {
    DynamicMessage::decode(kind(name), &message.encode_to_vec()[..]).expect("it is of this kind")
}

fn seeds() -> Vec<Vec<u8>> {
    SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

fn decode(input: &[u8]) -> Outcome {
    let Some((first, text)) = input.split_first() else { return Outcome::Refused };
    let name = KINDS[usize::from(first.wrapping_sub(b'0')) % KINDS.len()];
    let package = if name == "KeyValue" { "mvccpb" } else { "etcdserverpb" };
    let kind = kind(&format!("{package}.{name}"));
    let message = from_json(&kind, text);
    if let Ok(message) = &message {
        let again = from_json(&kind, &to_json(message).expect("what was read can be written"));
        // As they go to the service: what is empty is as good as not there.
        let again = again.expect("it was written here").encode_to_vec();
        assert_eq!(again, message.encode_to_vec());
    }
    Outcome::from(&message)
}
