//! What a Pod is shown and what is seen of it: environment, volumes, its account's token; logs,
//! commands, attached terminals; images that come while the cluster runs.

use anyhow::{Context, Result};
use harness::{Cluster, Options, until};
use serde_json::{Value, json};
use std::sync::Arc;
use suite::room::{Room, Section, all, container, shell, with};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Sleeps until it is killed.
const STAY: &str = "exec sleep 1000";

#[tokio::test(flavor = "multi_thread")]
async fn pods_see_what_they_were_given_and_can_be_watched() -> Result<()> {
    let options = Options { masters: 1, nodes: 2, ..Options::default() };
    let cluster = Arc::new(Cluster::start(options).await?);
    let of = || cluster.clone();
    let sections: Vec<Section> = vec![
        Box::pin(variables_come_from_everywhere(of())),
        Box::pin(volumes_follow_what_they_show(of())),
        Box::pin(paths_of_volumes_and_of_the_node_are_mounted(of())),
        Box::pin(an_account_speaks_for_its_pod(of())),
        Box::pin(logs_are_read_through_rotations(of())),
        Box::pin(containers_are_spoken_to(of())),
        Box::pin(an_image_comes_later(of())),
        Box::pin(a_manifest_on_the_node_is_a_pod(of())),
    ];
    all(sections).await;
    a_deleted_node_comes_back(&cluster).await?;
    Arc::into_inner(cluster).context("nobody else has the cluster")?.stop().await
}

/// A ConfigMap and a Secret.
async fn objects(room: &Room) -> Result<()> {
    let data = json!({"metadata": {"name": "map"}, "data": {"a": "one", "b.txt": "two"}});
    room.make("v1/configmaps", data).await?;
    let data = json!({"metadata": {"name": "hidden"}, "stringData": {"word": "hush"}});
    room.make("v1/secrets", data).await?;
    Ok(())
}

async fn variables_come_from_everywhere(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "variables").await?;
    objects(&room).await?;
    let from = |name: &str, source: Value| json!({"name": name, "valueFrom": source});
    let env = json!([
        from("A", json!({"configMapKeyRef": {"name": "map", "key": "a"}})),
        from("S", json!({"secretKeyRef": {"name": "hidden", "key": "word"}})),
        from("NO", json!({"secretKeyRef": {"name": "none", "key": "x", "optional": true}})),
        from("NODE", json!({"fieldRef": {"fieldPath": "spec.nodeName"}})),
        from("LABEL", json!({"fieldRef": {"fieldPath": "metadata.labels['app']"}})),
        from("CPU", json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}})),
        json!({"name": "ALL", "value": "$(A)-$(S)-$$(A)-$(NONE)"}),
    ]);
    let more = json!({
        "env": env,
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "map"}},
            {"secretRef": {"name": "hidden"}}, {"secretRef": {"name": "none", "optional": true}}],
        "resources": {"limits": {"cpu": "250m"}},
    });
    let say = "echo $A $S [$NO] $LABEL $CPU $ALL $P_a $word; echo $NODE";
    let spec = json!({"restartPolicy": "Never", "containers": [with(shell(say), more)]});
    room.pod("env", spec).await?;
    let (_, pod) = room.ended("env").await;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let wanted = format!("one hush [] env 250 one-hush-$(A)-$(NONE) one hush\n{node}\n");
    assert_eq!(room.logs("env", &[]).await?, wanted);
    Ok(())
}

async fn volumes_follow_what_they_show(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "volumes").await?;
    objects(&room).await?;
    let label = json!({"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}});
    let projected = json!({"sources": [
        {"configMap": {"name": "map", "items": [{"key": "a", "path": "deep/a", "mode": 256}]}},
        {"secret": {"name": "hidden"}}, {"downwardAPI": {"items": [label]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "me"}}]});
    let mount = |name: &str, at: &str| json!({"name": name, "mountPath": at});
    let mounts = json!({"volumeMounts": [mount("map", "/map"), mount("hidden", "/hidden"),
        mount("all", "/all"), mount("late", "/late"),
        {"name": "map", "mountPath": "/one", "subPath": "a"}]});
    let spec = json!({"containers": [with(shell(STAY), mounts)], "volumes": [
        {"name": "map", "configMap": {"name": "map"}},
        {"name": "hidden", "secret": {"secretName": "hidden", "defaultMode": 256}},
        {"name": "late", "configMap": {"name": "late", "optional": true}},
        {"name": "all", "projected": projected}]});
    room.pod("show", spec).await?;
    room.ready("show").await;
    let look = "cat /map/a /map/b.txt /hidden/word /all/deep/a /all/word /one; \
                stat -Lc %a /hidden/word /all/deep/a /map/a; wc -l < /all/token; ls /late | wc -l";
    let found = room.exec("show", look).await?;
    assert_eq!(found, "onetwohushonehushone400\n400\n644\n0\n0\n");
    let kubectl = &room.kubectl;
    let patch = r#"{"data":{"a":"new","c":"more"}}"#;
    kubectl.get(&["patch", "-n", "volumes", "configmap", "map", "-p", patch]).await?;
    let patch = r#"{"stringData":{"word":"loud"}}"#;
    kubectl.get(&["patch", "-n", "volumes", "secret", "hidden", "-p", patch]).await?;
    kubectl.get(&["label", "-n", "volumes", "pod", "show", "app=shown", "--overwrite"]).await?;
    room.make("v1/configmaps", json!({"metadata": {"name": "late"}, "data": {"x": "y"}})).await?;
    let look =
        "cat /map/a /map/c /hidden/word /all/deep/a /all/labels /late/x; printf ' '; cat /one";
    until("all volumes show what is new, except a path inside one", || async {
        let found = room.exec("show", look).await.unwrap_or_default();
        found == "newmoreloudnewapp=\"shown\"y one"
    })
    .await;
    assert!(room.exec("show", "touch /map/x").await.is_err(), "nobody writes there");
    Ok(())
}

async fn paths_of_volumes_and_of_the_node_are_mounted(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "paths").await?;
    let place = cluster.dir().join("shared-by-host-path");
    let place = place.to_str().context("a path in UTF-8")?;
    let host = |path: &str, kind: &str| {
        let path = format!("{place}{path}");
        json!({"name": "v", "hostPath": {"path": path, "type": kind}})
    };
    let mounts = |more: Value| json!({"volumeMounts": [with(json!({"name": "v"}), more)]});
    let plain = json!({"mountPath": "/v"});
    let once = |container: Value, volume: Value| {
        let (containers, volumes) = (json!([container]), json!([volume]));
        json!({"restartPolicy": "Never", "containers": containers, "volumes": volumes})
    };
    let write = with(shell("echo here > /v/file"), mounts(plain.clone()));
    room.pod("made", once(write, host("", "DirectoryOrCreate"))).await?;
    assert_eq!(room.ended("made").await.0, "Succeeded");
    assert_eq!(std::fs::read_to_string(format!("{place}/file"))?, "here\n");
    let read = with(shell("cat /v"), mounts(plain.clone()));
    room.pod("file", once(read, host("/file", "File"))).await?;
    assert_eq!(room.ended("file").await.0, "Succeeded");
    assert_eq!(room.logs("file", &[]).await?, "here\n");
    room.pod("wrong", once(with(shell("true"), mounts(plain.clone())), host("/file", "Directory")))
        .await?;
    let text = "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: ";
    let text = room.event("wrong", "FailedMount", text).await;
    assert!(text.ends_with("/file is not a directory"), "{text}");

    let memory = json!({"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}});
    let fill =
        "grep -q ' /v tmpfs' /proc/mounts && dd if=/dev/zero of=/v/x bs=1M count=9; wc -c < /v/x";
    room.pod("memory", once(with(shell(fill), mounts(plain)), memory)).await?;
    room.ended("memory").await;
    assert!(room.logs("memory", &[]).await?.ends_with("4194304\n"));
    let expr = json!({"mountPath": "/v", "subPathExpr": "$(WHO)/logs"});
    let env = json!({"env": [{"name": "WHO",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]});
    let write = with(with(shell("echo sub > /v/file"), mounts(expr)), env);
    room.pod("sub", once(write, host("", ""))).await?;
    assert_eq!(room.ended("sub").await.0, "Succeeded");
    assert_eq!(std::fs::read_to_string(format!("{place}/sub/logs/file"))?, "sub\n");
    Ok(())
}

async fn an_account_speaks_for_its_pod(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "account").await?;
    // The image has nothing that speaks today's TLS; kubectl is static and knows a Pod's own way.
    let found = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into());
    let path = std::env::var("PATH").unwrap_or_default();
    let kubectl = std::env::split_paths(&path).map(|dir| dir.join(&found)).find(|at| at.is_file());
    let kubectl = kubectl.context("kubectl on the path")?.canonicalize()?;
    let volume = json!({"name": "k", "hostPath": {"path": kubectl, "type": "File"}});
    let mount = json!({"volumeMounts": [{"name": "k", "mountPath": "/kubectl"}]});
    let spec = json!({"containers": [with(shell(STAY), mount)], "volumes": [volume]});
    room.pod("client", spec).await?;
    room.ready("client").await;
    let ask = "cd /tmp; HOME=/tmp /kubectl get pods -o name 2>&1";
    let denied = room.exec("client", &format!("{ask} || true")).await?;
    let user = "User \"system:serviceaccount:account:default\" cannot list resource \"pods\"";
    assert!(denied.contains(user), "{denied}");
    let binding = [
        "create",
        "rolebinding",
        "-n",
        "account",
        "see",
        "--clusterrole=view",
        "--serviceaccount=account:default",
    ];
    room.kubectl.get(&binding).await?;
    until("its account may see pods", || async {
        room.exec("client", ask).await.is_ok_and(|said| said == "pod/client\n")
    })
    .await;
    Ok(())
}

async fn logs_are_read_through_rotations(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "logs").await?;
    let noisy = "echo early; until [ -f /tmp/go ]; do sleep 0.1; done; seq 1 700000; echo late";
    room.run("noisy", &format!("{noisy}; {STAY}")).await?;
    room.ready("noisy").await;
    let mut follow = room.kubectl.spawn(&["logs", "-n", "logs", "noisy", "-f"])?;
    let mut lines = BufReader::new(follow.stdout.take().context("its output")?).lines();
    assert_eq!(lines.next_line().await?.as_deref(), Some("early"));
    room.exec("noisy", "touch /tmp/go").await?;
    // More than one file's worth: nothing is left out on the way.
    for number in 1..=700_000 {
        let line = lines.next_line().await?.context("the log ended early")?;
        assert_eq!(line, number.to_string());
    }
    assert_eq!(lines.next_line().await?.as_deref(), Some("late"));
    assert_eq!(room.logs("noisy", &["--tail=2"]).await?, "700000\nlate\n");
    let whole = room.logs("noisy", &[]).await?;
    assert!(!whole.starts_with("early"), "what was rotated away is not read again");
    assert_eq!(room.logs("noisy", &["--since-time=2099-01-01T00:00:00Z"]).await?, "");
    let timed = room.logs("noisy", &["--tail=1", "--timestamps"]).await?;
    let (time, text) = timed.split_once(' ').context("a time and a text")?;
    assert!(time.ends_with('Z') && text == "late\n", "{timed}");
    Ok(())
}

async fn containers_are_spoken_to(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "talk").await?;
    let listen = json!({"stdin": true, "stdinOnce": true});
    let spec =
        json!({"restartPolicy": "Never", "containers": [with(shell("cat; echo end"), listen)]});
    room.pod("once", spec).await?;
    room.run("plain", STAY).await?;
    room.ready("once").await;
    room.ready("plain").await;
    let kubectl = &room.kubectl;
    let said = kubectl.pipe(&["attach", "-n", "talk", "-i", "once"], b"hello\n").await?;
    assert!(said.stdout.contains("hello\nend\n"), "{said:?}");
    assert_eq!(room.ended("once").await.0, "Succeeded");
    assert_eq!(room.logs("once", &[]).await?, "hello\nend\n");
    // As kubectl cp does it, with more than any buffer holds.
    let bytes: Vec<u8> = (b'a'..=b'y').cycle().take(3_000_000).collect();
    let args =
        ["exec", "-n", "talk", "-i", "plain", "--", "sh", "-c", "cat > /tmp/big; wc -c < /tmp/big"];
    assert_eq!(kubectl.pipe(&args, &bytes).await?.stdout.trim(), "3000000");
    assert!(room.exec("plain", "cat /tmp/big").await?.as_bytes() == bytes);
    let missing = kubectl.run(&["exec", "-n", "talk", "plain", "--", "nonexistent"]).await?;
    assert!(!missing.ok && missing.stderr.contains("executable file not found"), "{missing:?}");
    let killed = kubectl.run(&["exec", "-n", "talk", "plain", "--", "sh", "-c", "kill $$"]).await?;
    assert!(killed.stderr.contains("exit code 143"), "{}", killed.stderr);
    // A terminal of a size: `script` gives kubectl one.
    let config = kubectl.kubeconfig.display();
    let exec = format!("kubectl --kubeconfig {config} exec -n talk -it plain -- stty size");
    let mut script = tokio::process::Command::new("script");
    script.args(["-qec", &format!("stty rows 33 cols 77; {exec}"), "/dev/null"]);
    let output = script.stdin(std::process::Stdio::piped()).output().await.context("script")?;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("33 77"), "{text}");
    Ok(())
}

async fn an_image_comes_later(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "images").await?;
    let archive = cluster.dir().join("demo-image.tar");
    let name = "example.invalid/later:1";
    let container = json!({"image": name, "imagePullPolicy": "Never", "command": ["sleep", "9"]});
    room.pod("later", json!({"containers": [container]})).await?;
    let waits = |pod: &Value| {
        let waiting = &suite::room::container(pod, "c")["state"]["waiting"];
        waiting["reason"] == "ErrImageNeverPull"
    };
    room.until("later", "waits for its image", waits).await;
    // The demo image under another name: its archive, with the name in its list replaced.
    let bytes = std::fs::read(&archive)?;
    let renamed = rename(&bytes, b"trireme.local/demo:1", name.as_bytes());
    let other = cluster.dir().join("later.tar");
    std::fs::write(&other, renamed)?;
    let other = other.to_str().context("UTF-8")?;
    let said = cluster.trireme(&["image", "import", other]).await?;
    assert_eq!(said.lines().filter(|line| line.contains(name)).count(), 2, "{said}");
    room.ready("later").await;
    let list = cluster.trireme(&["image", "list"]).await?;
    assert!(list.contains(name) && list.contains("trireme.local/demo:1"), "{list}");
    let bad = cluster.trireme(&["image", "import", "/etc/passwd"]).await;
    let bad = format!("{:#}", bad.err().context("a file that is no archive")?);
    assert!(bad.contains("passwd"), "{bad}");
    Ok(())
}

/// Replaces a text in an archive's list by one of another length; the header's size and sum follow.
fn rename(archive: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let at = archive.windows(old.len()).rposition(|part| part == old).expect("it is named there");
    let header =
        archive[..at].windows(13).rposition(|part| part == b"manifest.json").expect("list");
    let size = std::str::from_utf8(&archive[header + 124..header + 135]).expect("digits");
    let size = usize::from_str_radix(size, 8).expect("octal");
    let mut list = archive[header + BLOCK..header + BLOCK + size].to_vec();
    let inside = at - header - BLOCK;
    list.splice(inside..inside + old.len(), new.iter().copied());
    let mut head = archive[header..header + BLOCK].to_vec();
    head[124..135].copy_from_slice(format!("{:011o}", list.len()).as_bytes());
    head[148..156].copy_from_slice(b"        ");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    list.resize(list.len().next_multiple_of(BLOCK), 0);
    let mut made = archive[..header].to_vec();
    made.extend(head);
    made.extend(list);
    made.extend([0; 2 * BLOCK]);
    made
}

async fn a_manifest_on_the_node_is_a_pod(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "static").await?;
    let dir = cluster.dir().join("node-1/data/manifests");
    let manifest = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "fixed", "namespace": "static"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [shell(STAY)]}});
    std::fs::write(dir.join("fixed.yaml"), manifest.to_string())?;
    let pod = room.ready("fixed-node-1").await;
    let id = container(&pod, "c")["containerID"].clone();
    let uid = pod["metadata"]["uid"].clone();
    room.delete("v1/pods", "fixed-node-1").await?;
    let again = |pod: &Value| pod["metadata"]["uid"] != uid && suite::room::is_ready(pod);
    let pod = room.until("fixed-node-1", "is shown again", again).await;
    assert_eq!(container(&pod, "c")["containerID"], id, "its container was left alone");
    std::fs::remove_file(dir.join("fixed.yaml"))?;
    until("it is gone with its file", || async { room.get("fixed-node-1").await.is_err() }).await;
    Ok(())
}

async fn a_deleted_node_comes_back(cluster: &Cluster) -> Result<()> {
    let client = cluster.client()?;
    let path = "/api/v1/nodes/node-2";
    let before = client.request(http::Method::GET, path, None).await?;
    client.request(http::Method::DELETE, path, None).await?;
    until("the node is registered anew and Ready", || async {
        let node = client.request(http::Method::GET, path, None).await.unwrap_or_default();
        let new = node["metadata"]["uid"] != before["metadata"]["uid"];
        new && suite::room::is_ready(&node)
    })
    .await;
    Ok(())
}
