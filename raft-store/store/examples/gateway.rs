//! Asks two servers, a real etcd and ours, the same things through the JSON gateway and compares
//! statuses and bodies, byte by byte but for ids, terms and the spaces that Go's JSON adds at
//! random:
//!
//! ```text
//! cargo run -p store --example gateway -- http://127.0.0.1:2379 http://127.0.0.1:12379
//! ```

use std::{io::Write, time::Duration};

use anyhow::{Context, Result, bail};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Paths and bodies, asked in this order of empty servers.
const REQUESTS: &[(&str, &str)] = &[
    ("kv/range", r#"{"key":"YQ=="}"#),
    ("kv/put", r#"{"key":"YQ==","value":"Yg=="}"#),
    ("kv/put", r#"{"key":"YQ==","value":"Yw==","prev_kv":true}"#),
    ("kv/put", r#"{"key":"YQ==","value":"Yw==","prevKv":true,"ignoreValue":true}"#),
    ("kv/put", r#"{"key":"eA==","ignore_value":true}"#),
    ("kv/put", r#"{"value":"Yw=="}"#),
    ("kv/put", r#"{"key":"YQ==","lease":"99"}"#),
    ("kv/range", r#"{"key":"YQ=="}"#),
    ("kv/range", r#"{"key":"YQ==","keys_only":true,"limit":"1"}"#),
    ("kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
    ("kv/range", r#"{"key":"YQ==","sort_order":7}"#),
    ("kv/range", r#"{"key":"YQ==","sort_order":"NOPE"}"#),
    ("kv/range", r#"{"key":"YQ==","revision":99}"#),
    ("kv/range", r#"{"key":"_-8"}"#),
    ("kv/range", ""),
    (
        "kv/txn",
        r#"{"compare":[{"key":"YQ==","result":"EQUAL","target":"VERSION","version":"3"}],
            "success":[{"request_put":{"key":"Yw==","value":"ZA=="}},
                       {"request_range":{"key":"YQ=="}},
                       {"request_delete_range":{"key":"eA=="}},
                       {"request_txn":{"success":[{"requestRange":{"key":"Yw=="}}]}}],
            "failure":[{"request_range":{"key":"YQ=="}}]}"#,
    ),
    ("kv/txn", r#"{"success":[{}]}"#),
    ("kv/txn", r#"{"compare":[{"key":"YQ==","target":"VALUE","value":"Yw=="}]}"#),
    ("kv/deleterange", r#"{"key":"Yw==","prev_kv":true}"#),
    ("kv/deleterange", r#"{"key":"Yw=="}"#),
    ("lease/grant", r#"{"TTL":"100","ID":"77"}"#),
    ("lease/grant", r#"{"TTL":100,"ID":77}"#),
    ("kv/put", r#"{"key":"bGVhc2Vk","lease":"77"}"#),
    ("lease/leases", ""),
    ("kv/lease/leases", "{}"),
    ("lease/keepalive", r#"{"ID":"77"}{"ID":"78"}"#),
    ("lease/timetolive", r#"{"ID":"78"}"#),
    ("lock/lock", r#"{"name":"bA==","lease":"77"}"#),
    ("lock/unlock", r#"{"key":"bC80ZA=="}"#),
    ("lock/lock", r#"{"name":"bA==","lease":"78"}"#),
    ("election/leader", r#"{"name":"ZQ=="}"#),
    ("election/campaign", r#"{"name":"ZQ==","lease":"77","value":"dg=="}"#),
    ("election/leader", r#"{"name":"ZQ=="}"#),
    ("election/proclaim", r#"{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"3","lease":"77"}}"#),
    ("election/proclaim", "{}"),
    ("election/resign", "{}"),
    ("election/resign", r#"{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"1","lease":"77"}}"#),
    ("watch", r#"{"create_request":{"key":"YQ==","start_revision":"1","prev_kv":true}}"#),
    ("watch", r#"{"create_request":{"key":"YQ==","start_revision":"-1"}}"#),
    ("watch", r#"{"create_request":{"key":"Yg==","range_end":"YQ=="}}"#),
    ("watch", r#"{"create_request":{"key":"YQ==","filters":["NOPUT"],"start_revision":"1"}}"#),
    ("kv/compaction", r#"{"revision":"3"}"#),
    ("kv/compaction", r#"{"revision":"3"}"#),
    ("kv/compaction", r#"{"revision":"999"}"#),
    ("watch", r#"{"create_request":{"key":"YQ==","start_revision":"2"}}"#),
    ("lease/revoke", r#"{"ID":"77"}"#),
    ("kv/lease/revoke", r#"{"ID":"77"}"#),
    ("maintenance/alarm", "{}"),
    ("maintenance/alarm", r#"{"action":"ACTIVATE","alarm":"NOSPACE"}"#),
    ("kv/put", r#"{"key":"YQ==","value":"Yg=="}"#),
    ("maintenance/alarm", r#"{"action":"DEACTIVATE","alarm":"NOSPACE"}"#),
    ("maintenance/hashkv", r#"{"revision":"5"}"#),
    ("maintenance/transfer-leadership", r#"{"targetID":"5"}"#),
    ("maintenance/downgrade", r#"{"action":"CANCEL"}"#),
    ("cluster/member/remove", r#"{"ID":"5"}"#),
    ("cluster/member/add", r#"{"peerURLs":["nonsense"]}"#),
    ("cluster/member/promote", r#"{"ID":"5"}"#),
    ("auth/status", "{}"),
    ("auth/enable", "{}"),
    ("auth/user/add", r#"{"name":"root","password":"p"}"#),
    ("auth/user/add", r#"{"name":"root","password":"p"}"#),
    ("auth/user/list", ""),
    ("auth/role/get", r#"{"role":"none"}"#),
    ("nothing", "{}"),
    ("kv/rangestream", "{}"),
];

/// How long a stream is listened to.
const LISTEN: Duration = Duration::from_millis(400);

#[tokio::main]
async fn main() -> Result<()> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    let [theirs, ours] = urls.as_slice() else { bail!("needs the URLs of two servers") };
    let mut out = std::io::stdout();
    let mut differences = 0;
    for (path, body) in REQUESTS {
        let (expected, found) = (ask(theirs, path, body).await?, ask(ours, path, body).await?);
        if expected != found {
            differences += 1;
            writeln!(out, "{path} {body}\n  etcd: {expected}\n  ours: {found}")?;
        }
    }
    writeln!(out, "{} requests, {differences} answered differently", REQUESTS.len())?;
    Ok(())
}

async fn ask(url: &str, path: &str, body: &str) -> Result<String> {
    let address = url.strip_prefix("http://").context("a URL begins with http://")?;
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("/v3/{path}")).header("host", address);
    let request = request.body(Full::new(Bytes::from(body.to_owned())))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let mut body = response.into_body();
    let mut text = String::new();
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let data = frame.into_data().unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(&data));
        }
    };
    // Streams do not end by themselves.
    let _ = tokio::time::timeout(LISTEN, reading).await;
    connection.abort();
    Ok(format!("{status} {kind:?} {}", plain(&text)))
}

/// Without ids, terms and spaces behind commas.
fn plain(text: &str) -> String {
    let mut text = text.replace("\", \"", "\",\"").replace(", \"", ",\"").replace(", {", ",{");
    for (name, end) in [("cluster_id", ','), ("member_id", ','), ("raft_term", '}')] {
        while let Some(at) = text.find(&format!("\"{name}\":")) {
            let length = text[at..].find([end, '}']).unwrap_or(text.len() - at);
            text.replace_range(at..at + length, "");
        }
    }
    text.replace("{,", "{").replace(",}", "}").replace(",,", ",")
}
