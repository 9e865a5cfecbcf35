//! The applied log as ordered requests in JSON: for people, and for programs that judge a store
//! by what it was asked in which order.

use std::{
    io::{self, Write},
    path::Path,
};

use consensus::{Entry, Payload};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use proto::etcdserverpb::InternalRaftRequest;

use crate::{Error, gateway::message};

/// Writes a line for each committed entry that the member in this directory still has; how many
/// there are. The member need not be stopped. Passwords, even hashed, are left out.
///
/// ```json
/// {"index":7,"term":2,"request":{"put":{"key":"YQ==","value":"Yg=="},"header":{"ID":"91"}}}
/// {"index":8,"term":3,"blank":true}
/// {"index":9,"term":3,"members":[{"id":"8e9e","learner":false,"name":"m1","peerURLs":["…"]}]}
/// ```
pub fn dump_log(data_dir: &Path, out: &mut impl Write) -> Result<u64, Error> {
    let kind = kind();
    let mut lines = 0;
    let each = |entry: Entry| {
        lines += 1;
        line(&kind, entry, out)
    };
    match consensus::read_committed(&data_dir.join("raft"), each) {
        Ok(()) => Ok(lines),
        Err(error) => {
            let dir = data_dir.display();
            Err(Error::Start(format!("reading the log of the member in {dir}: {error}")))
        }
    }
}

/// What a log entry holds.
pub(crate) fn kind() -> MessageDescriptor {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has made them");
    let kind = pool.get_message_by_name("etcdserverpb.InternalRaftRequest");
    kind.expect("it is one of ours")
}

pub(crate) fn line(kind: &MessageDescriptor, entry: Entry, out: &mut impl Write) -> io::Result<()> {
    let Entry { index, term, payload } = entry;
    write!(out, "{{\"index\":{index},\"term\":{term},")?;
    match payload {
        Payload::Blank => write!(out, "\"blank\":true")?,
        Payload::Normal(bytes) => {
            let mut request = InternalRaftRequest::decode(bytes).map_err(io::Error::other)?;
            hide(&mut request);
            let bytes = request.encode_to_vec();
            let message = DynamicMessage::decode(kind.clone(), bytes.as_slice());
            let message = message.map_err(io::Error::other)?;
            write!(out, "\"request\":")?;
            out.write_all(&message::to_json(&message).map_err(io::Error::other)?)?;
        }
        Payload::Membership(members) => {
            let member = |member: &consensus::Member| {
                serde_json::json!({
                    "id": format!("{:x}", member.id),
                    "name": member.name,
                    "peerURLs": member.peer_urls,
                    "learner": member.learner,
                })
            };
            let members: Vec<_> = members.iter().map(member).collect();
            write!(out, "\"members\":{}", serde_json::Value::from(members))?;
        }
    }
    writeln!(out, "}}")
}

fn hide(request: &mut InternalRaftRequest) {
    if let Some(authenticate) = &mut request.authenticate {
        authenticate.password.clear();
        authenticate.simple_token.clear();
    }
    if let Some(add) = &mut request.auth_user_add {
        add.password.clear();
        add.hashed_password.clear();
    }
    if let Some(change) = &mut request.auth_user_change_password {
        change.password.clear();
        change.hashed_password.clear();
    }
}
