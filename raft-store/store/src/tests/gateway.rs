//! The JSON gateway over real connections. What it says was taken from a real etcd 3.7.1; only
//! spaces between fields, which Go's JSON adds at random, are left out.

use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::cluster::Cluster;

async fn send(url: &str, method: &str, path: &str, body: &str) -> Response<Incoming> {
    let address = url.strip_prefix("http://").unwrap();
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address);
    let body = Full::new(Bytes::from(body.to_owned()));
    sender.send_request(request.body(body).unwrap()).await.unwrap()
}

/// The status and the body without the header's ids and term.
async fn post(url: &str, path: &str, body: &str) -> (u16, String) {
    let response = send(url, "POST", path, body).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, without_ids(std::str::from_utf8(&body).unwrap()))
}

fn without_ids(text: &str) -> String {
    let mut text = text.to_owned();
    for name in ["cluster_id", "member_id"] {
        while let Some(at) = text.find(&format!("\"{name}\":\"")) {
            let end = at + text[at..].find(',').unwrap() + 1;
            text.replace_range(at..end, "");
        }
    }
    while let Some(at) = text.find(",\"raft_term\":\"") {
        let end = at + text[at..].find('}').unwrap();
        text.replace_range(at..end, "");
    }
    text
}

/// Reads lines of a stream until there are so many.
async fn lines(response: Response<Incoming>, count: usize) -> Vec<String> {
    let mut body = response.into_body();
    let mut text = String::new();
    while text.lines().count() < count || !text.ends_with('\n') {
        let Some(frame) = body.frame().await else { break };
        text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    text.lines().map(without_ids).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_put_and_read_as_json() {
    let cluster = Cluster::start(1).await;
    let url = cluster.serve(cluster.leader().await).await;
    let put = post(&url, "/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    assert_eq!(put, (200, r#"{"header":{"revision":"2"}}"#.to_owned()));
    let kv = concat!(
        r#"{"key":"YQ==","create_revision":"2","mod_revision":"2","#,
        r#""version":"1","value":"Yg=="}"#
    );
    let found = format!(r#"{{"header":{{"revision":"2"}},"kvs":[{kv}],"count":"1"}}"#);
    for request in [
        r#"{"key":"YQ=="}"#,
        r#"{"key":"YQ","unknown":1,"limit":"5"}"#,
        r#"{"key":"YQ==","sortOrder":"DESCEND","sort_target":2,"limit":1e2}"#,
        r#"{"key":"YQ==","sort_order":"NOPE"} behind"#,
    ] {
        assert_eq!(post(&url, "/v3/kv/range", request).await, (200, found.clone()), "{request}");
    }
    let txn = concat!(
        r#"{"compare":[{"key":"YQ==","result":"EQUAL","target":"MOD","mod_revision":2}],"#,
        r#""success":[{"requestPut":{"key":"Yw==","value":"ZA==","prev_kv":true}},"#,
        r#"{"request_range":{"key":"YQ=="}}]}"#
    );
    let answer = concat!(
        r#"{"header":{"revision":"3"},"succeeded":true,"responses":["#,
        r#"{"response_put":{"header":{"revision":"3"}}},"#,
        r#"{"response_range":{"header":{"revision":"3"},"kvs":["#
    );
    let answer = format!(r#"{answer}{kv}],"count":"1"}}}}]}}"#);
    assert_eq!(post(&url, "/v3/kv/txn", txn).await, (200, answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_urls_are_called_as_etcd_calls_them() {
    let cluster = Cluster::start(1).await;
    let url = cluster.serve(cluster.leader().await).await;
    let (status, members) = post(&url, "/v3/cluster/member/list", "{}").await;
    assert!(status == 200 && members.contains(r#""peerURLs":["http"#), "{members}");
    let add = r#"{"peerURLs":["http://127.0.0.1:1"],"isLearner":true}"#;
    let (status, added) = post(&url, "/v3/cluster/member/add", add).await;
    assert!(status == 200 && added.contains(r#""peerURLs":["http://127.0.0.1:1"]"#), "{added}");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_etcds_code_text_and_status() {
    let cluster = Cluster::start(1).await;
    let url = cluster.serve(cluster.leader().await).await;
    let cases = [
        ("/v3/kv/range", "", 400, r#"{"code":3,"message":"etcdserver: key is not provided"}"#),
        (
            "/v3/kv/range",
            r#"{"key":"YQ==","revision":"99"}"#,
            400,
            r#"{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}"#,
        ),
        ("/v3/nothing", "{}", 404, r#"{"code":5,"message":"Not Found"}"#),
        ("/v3/election/leader", "{}", 500, r#"{"code":2,"message":"election: no leader"}"#),
        (
            "/v3/election/resign",
            "{}",
            500,
            r#"{"code":2,"message":"\"leader\" field must be provided"}"#,
        ),
    ];
    for (path, body, status, answer) in cases {
        assert_eq!(post(&url, path, body).await, (status, answer.to_owned()), "{path} {body}");
    }
    for body in ["{bad", "[]", "null", r#"{"key":5}"#, r#"{"key":"!!"}"#, r#"{"limit":1.5}"#] {
        let (status, answer) = post(&url, "/v3/kv/range", body).await;
        assert!(status == 400 && answer.starts_with(r#"{"code":3,"#), "{body}: {answer}");
    }
    let response = send(&url, "GET", "/v3/kv/range", "").await;
    assert_eq!(response.status(), 501);
    let response = send(&url, "OPTIONS", "/v3/kv/range", "").await;
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_a_line_for_each_answer() {
    let cluster = Cluster::start(1).await;
    let url = cluster.serve(cluster.leader().await).await;
    post(&url, "/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    let create = r#"{"create_request":{"key":"YQ==","start_revision":"1"}}"#;
    let watch = send(&url, "POST", "/v3/watch", create).await;
    assert_eq!(watch.headers()["content-type"], "application/json");
    let expected = [
        r#"{"result":{"header":{"revision":"2"},"created":true}}"#.to_owned(),
        concat!(
            r#"{"result":{"header":{"revision":"2"},"events":[{"kv":{"key":"YQ==","#,
            r#""create_revision":"2","mod_revision":"2","version":"1","value":"Yg=="}}]}}"#
        )
        .to_owned(),
    ];
    assert_eq!(lines(watch, 2).await, expected);
    let granted = post(&url, "/v3/lease/grant", r#"{"TTL":100,"ID":"77"}"#).await.1;
    assert_eq!(granted, r#"{"header":{"revision":"2"},"ID":"77","TTL":"100"}"#);
    let renewed = send(&url, "POST", "/v3/lease/keepalive", r#"{"ID":77}{"ID":78}"#).await;
    let expected = [
        r#"{"result":{"header":{"revision":"2"},"ID":"77","TTL":"100"}}"#,
        r#"{"result":{"header":{"revision":"2"},"ID":"78"}}"#,
    ];
    assert_eq!(lines(renewed, 3).await, expected, "and the stream ends with the request");
    let compacted = r#"{"create_request":{"key":"YQ==","start_revision":"-1"}}"#;
    let watch = send(&url, "POST", "/v3/watch", compacted).await;
    let expected = concat!(
        r#"{"result":{"header":{"revision":"2"},"watch_id":"-1","created":true,"canceled":true,"#,
        r#""cancel_reason":"etcdserver: mvcc: required revision has been compacted"}}"#
    );
    assert_eq!(lines(watch, 1).await, [expected]);
    let bad = send(&url, "POST", "/v3/watch", "{bad").await;
    assert!(lines(bad, 1).await[0].starts_with(r#"{"error":{"code":3,"#));
}

async fn websocket(url: &str, path: &str) -> WebSocketStream<TcpStream> {
    let address = url.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(format!("ws://{address}{path}"), stream).await.unwrap().0
}

async fn next_text(socket: &mut WebSocketStream<TcpStream>) -> String {
    match socket.next().await.unwrap().unwrap() {
        Message::Text(text) => without_ids(&text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_a_stream_both_ways() {
    let cluster = Cluster::start(1).await;
    let url = cluster.serve(cluster.leader().await).await;
    let mut socket = websocket(&url, "/v3/watch").await;
    for (request, answer) in [
        (
            r#"{"create_request":{"key":"YQ=="}}"#,
            r#"{"result":{"header":{"revision":"1"},"created":true}}"#,
        ),
        (
            r#"{"create_request":{"key":"Yg=="}}"#,
            r#"{"result":{"header":{"revision":"1"},"watch_id":"1","created":true}}"#,
        ),
        (
            r#"{"cancel_request":{"watch_id":1}}"#,
            r#"{"result":{"header":{"revision":"1"},"watch_id":"1","canceled":true}}"#,
        ),
    ] {
        socket.send(Message::text(request)).await.unwrap();
        assert_eq!(next_text(&mut socket).await, answer);
    }
    post(&url, "/v3/kv/put", r#"{"key":"YQ==","value":"Yg=="}"#).await;
    let event = next_text(&mut socket).await;
    assert!(event.contains(r#""events":[{"kv":{"key":"YQ==","create_revision":"2""#), "{event}");
    socket.close(None).await.unwrap();
    let mut socket = websocket(&url, "/v3/nothing").await;
    assert_eq!(next_text(&mut socket).await, r#"{"code":5,"message":"Not Found"}"#);
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    // What a real one leaves without an answer.
    let mut socket = websocket(&url, "/v3/kv/range").await;
    socket.send(Message::text(r#"{"key":"#)).await.unwrap();
    socket.send(Message::text(r#""YQ==","keys_only":true}"#)).await.unwrap();
    let answer = next_text(&mut socket).await;
    assert!(answer.ends_with(r#""count":"1"}"#), "{answer}");
}
