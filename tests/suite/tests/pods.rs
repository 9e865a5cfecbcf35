//! What a Pod may ask of its node, with real containers: how they start and end, what they see, and
//! what they may do.

use anyhow::{Context, Result};
use harness::{Cluster, Options, until};
use serde_json::{Value, json};
use std::sync::Arc;
use suite::room::{Room, Section, all, container, is_ready, shell, with};
use tokio::io::{AsyncBufReadExt, BufReader};

/// Sleeps until it is killed.
const STAY: &str = "exec sleep 1000";

#[tokio::test(flavor = "multi_thread")]
async fn pods_get_what_they_ask_for() -> Result<()> {
    let options = Options { masters: 1, nodes: 2, ..Options::default() };
    let cluster = Arc::new(Cluster::start(options).await?);
    let of = || cluster.clone();
    let sections: Vec<Section> = vec![
        Box::pin(containers_that_cannot_start_say_why(of())),
        Box::pin(ended_containers_leave_their_last_words(of())),
        Box::pin(init_containers_run_in_order_and_sidecars_stay(of())),
        Box::pin(probes_restart_and_gate(of())),
        Box::pin(hooks_run_at_start_and_stop(of())),
        Box::pin(rights_are_as_asked(of())),
        Box::pin(namespaces_are_shared_as_asked(of())),
        Box::pin(resources_reach_the_kernel(of())),
        Box::pin(what_a_node_cannot_give_is_refused(of())),
    ];
    all(sections).await;
    Arc::into_inner(cluster).context("nobody else has the cluster")?.stop().await
}

/// The reason for which a container waits.
fn waits_for<'a>(pod: &'a Value, name: &str) -> &'a str {
    container(pod, name)["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

/// A probe that looks often and takes a busy machine for no illness: the time that it leaves is not
/// what is tried here, and a dozen containers start at the same moment.
fn calm(mut probe: Value) -> Value {
    probe["periodSeconds"] = 1.into();
    probe["timeoutSeconds"] = 30.into();
    probe
}

async fn containers_that_cannot_start_say_why(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "start").await?;
    let command = json!({"command": ["nonexistent"]});
    room.pod("again", json!({"containers": [command]})).await?;
    for (name, tty) in [("never", false), ("terminal", true)] {
        let containers = json!([with(command.clone(), json!({"tty": tty}))]);
        room.pod(name, json!({"restartPolicy": "Never", "containers": containers})).await?;
    }
    let image = |name: &str, policy: &str| json!([{"image": name, "imagePullPolicy": policy}]);
    let absent = "registry.invalid/absent:1";
    room.pod("absent", json!({"containers": image(absent, "Never")})).await?;
    room.pod("pulled", json!({"containers": image(absent, "IfNotPresent")})).await?;
    room.pod("nonroot", json!({"securityContext": {"runAsNonRoot": true}, "containers": [{}]}))
        .await?;
    room.pod("misnamed", json!({"containers": image("Bad:1", "IfNotPresent")})).await?;
    let missing = json!({"env": [{"name": "A", "valueFrom":
        {"configMapKeyRef": {"name": "none", "key": "a"}}}]});
    room.pod("unset", json!({"containers": [missing]})).await?;
    let what = "executable file not found in $PATH";
    for name in ["never", "terminal"] {
        let (phase, pod) = room.ended(name).await;
        let ended = &container(&pod, "c")["state"]["terminated"];
        assert_eq!((phase.as_str(), &ended["reason"]), ("Failed", &json!("StartError")), "{ended}");
        assert_eq!(ended["exitCode"], 128);
        assert_eq!(ended["startedAt"], "1970-01-01T00:00:00Z");
        assert!(ended["message"].as_str().is_some_and(|text| text.contains(what)), "{ended}");
    }
    room.event("never", "Failed", what).await;
    let pod = room
        .until("again", "waits after a crash", |pod| waits_for(pod, "c") == "CrashLoopBackOff")
        .await;
    let status = container(&pod, "c");
    assert_eq!(status["lastState"]["terminated"]["reason"], "StartError", "{status}");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 128);
    assert!(status["restartCount"].as_u64() >= Some(1), "{status}");
    let waiting = |pod: &Value, reason: &str| waits_for(pod, "c") == reason;
    room.until("absent", "needs it here", |pod| waiting(pod, "ErrImageNeverPull")).await;
    room.until("pulled", "waits for it", |pod| waiting(pod, "ImagePullBackOff")).await;
    let bad = "CreateContainerConfigError";
    room.until("misnamed", "has no image", |pod| waiting(pod, "InvalidImageName")).await;
    let pod = room.until("nonroot", "must not be root", |pod| waiting(pod, bad)).await;
    let text = container(&pod, "c")["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(text.starts_with("container has runAsNonRoot and image will run as root"), "{text}");
    room.until("unset", "lacks a variable", |pod| waiting(pod, bad)).await;
    room.make("v1/configmaps", json!({"metadata": {"name": "none"}, "data": {"a": "1"}})).await?;
    room.ready("unset").await;
    Ok(())
}

async fn ended_containers_leave_their_last_words(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "end").await?;
    let once = |container: Value| json!({"restartPolicy": "Never", "containers": [container]});
    room.pod("words", once(shell("echo from the file > /dev/termination-log; exit 3"))).await?;
    let path = json!({"terminationMessagePath": "/tmp/words"});
    room.pod("path", once(with(shell("printf elsewhere > /tmp/words"), path))).await?;
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    room.pod("log", once(with(shell("echo from the log; exit 1"), fallback))).await?;
    let limit = json!({"resources": {"limits": {"memory": "16Mi"}}});
    room.pod("memory", once(with(shell("tail /dev/zero"), limit))).await?;
    room.run("crash", "echo run $(cat /proc/sys/kernel/random/uuid); exit 1").await?;
    let deaf = json!({"terminationGracePeriodSeconds": 1,
        "containers": [shell("trap '' TERM; while :; do sleep 0.1; done")]});
    room.pod("deaf", deaf).await?;
    let polite = json!({"terminationGracePeriodSeconds": 30,
        "containers": [shell("trap 'exit 0' TERM; while :; do sleep 0.1; done")]});
    room.pod("polite", polite).await?;
    let cases = [
        ("words", 3, "Error", "from the file\n"),
        ("path", 0, "Completed", "elsewhere"),
        ("log", 1, "Error", "from the log\n"),
    ];
    for (name, code, reason, message) in cases {
        let (_, pod) = room.ended(name).await;
        let ended = &container(&pod, "c")["state"]["terminated"];
        let found = (&ended["exitCode"], &ended["reason"], &ended["message"]);
        assert_eq!(found, (&json!(code), &json!(reason), &json!(message)), "{name}");
    }
    let (_, pod) = room.ended("memory").await;
    let ended = &container(&pod, "c")["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)));
    let pod = room
        .until("crash", "waits after a crash", |pod| {
            waits_for(pod, "c") == "CrashLoopBackOff" && container(pod, "c")["restartCount"] == 1
        })
        .await;
    let text = container(&pod, "c")["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(
        text.starts_with("back-off 10s restarting failed container=c pod=crash_end("),
        "{text}"
    );
    let (now, before) = tokio::try_join!(room.logs("crash", &[]), room.logs("crash", &["-p"]))?;
    assert!(now.starts_with("run ") && before.starts_with("run ") && now != before, "{before}");
    for name in ["deaf", "polite"] {
        room.ready(name).await;
        room.delete("v1/pods", name).await?;
    }
    for name in ["deaf", "polite"] {
        until(&format!("{name} is gone"), || async { room.get(name).await.is_err() }).await;
    }
    Ok(())
}

async fn init_containers_run_in_order_and_sidecars_stay(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "init").await?;
    let mount = json!({"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]});
    let writes = |name: &str, script: &str| {
        let mut made = with(shell(&format!("echo {name} >> /notes/all; {script}")), mount.clone());
        made["name"] = name.into();
        made
    };
    let mut side = with(
        writes("side", "until rm /notes/end; do sleep 0.1; done"),
        json!({"restartPolicy": "Always"}),
    );
    let started = "test -f /notes/all && sleep 0.3";
    side["startupProbe"] = calm(json!({"exec": {"command": ["sh", "-c", started]}}));
    room.pod(
        "order",
        json!({
            "initContainers": [writes("first", "sleep 0.3"), side, writes("second", "true")],
            "containers": [with(shell("cat /notes/all; exec sleep 1000"), mount.clone())],
            "volumes": [{"name": "notes", "emptyDir": {}}],
        }),
    )
    .await?;
    room.pod(
        "bad",
        json!({"restartPolicy": "Never", "containers": [{}],
            "initContainers": [with(shell("exit 4"), json!({"name": "i"}))]}),
    )
    .await?;
    room.pod(
        "again",
        json!({"containers": [{}],
            "initContainers": [with(shell("exit 4"), json!({"name": "i"}))]}),
    )
    .await?;
    let pod = room.ready("order").await;
    assert_eq!(room.logs("order", &["-c", "c"]).await?, "first\nside\nsecond\n");
    assert!(container(&pod, "side")["state"]["running"].is_object());
    assert_eq!(container(&pod, "first")["state"]["terminated"]["reason"], "Completed");
    let (phase, pod) = room.ended("bad").await;
    assert_eq!((phase.as_str(), waits_for(&pod, "c")), ("Failed", "PodInitializing"));
    let crash = |pod: &Value| waits_for(pod, "i") == "CrashLoopBackOff";
    let pod = room.until("again", "its init container waits", crash).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    room.exec("order", "touch /notes/end").await?;
    let back = |pod: &Value| container(pod, "side")["restartCount"] == 1;
    let pod = room.until("order", "its sidecar came back", back).await;
    assert_eq!(container(&pod, "c")["restartCount"], 0);
    Ok(())
}

async fn probes_restart_and_gate(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "probes").await?;
    let often = |probe: Value| with(calm(probe), json!({"failureThreshold": 1}));
    let serve = "httpd -p 8080 -h /www; exec sleep 1000";
    let http = |path: &str| often(json!({"httpGet": {"path": path, "port": 8080}}));
    let tcp = often(json!({"tcpSocket": {"port": 8080}}));
    let patient = |probe: &Value| with(probe.clone(), json!({"failureThreshold": 60}));
    // Ready once there is a page; alive while the server is, once it is there.
    let web = json!({"readinessProbe": http("/ready"), "livenessProbe": tcp,
        "startupProbe": patient(&tcp)});
    room.pod("web", json!({"containers": [with(shell(serve), web)]})).await?;
    let exec = often(json!({"exec": {"command": ["sh", "-c", "! test -f /tmp/dead"]}}));
    let dying = with(shell(STAY), json!({"livenessProbe": exec}));
    room.pod("dying", json!({"containers": [dying]})).await?;
    // Without the startup probe, liveness would kill it at once.
    let alive = often(json!({"exec": {"command": ["test", "-f", "/tmp/up"]}}));
    let slow = json!({"startupProbe": patient(&alive), "livenessProbe": alive});
    room.pod(
        "slow",
        json!({"containers": [with(shell(&format!("sleep 4; touch /tmp/up; {STAY}")), slow)]}),
    )
    .await?;
    let service = json!({"metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    room.make("v1/services", service).await?;
    room.until("web", "runs", |pod| pod["status"]["phase"] == "Running").await;
    room.event(
        "web",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    )
    .await;
    until("its address is not ready", || async { addresses(&room, "notReady").await == 1 }).await;
    room.exec("web", "touch /www/ready").await?;
    room.ready("web").await;
    until("its address is ready", || async { addresses(&room, "ready").await == 1 }).await;
    room.exec("web", "rm /www/ready").await?;
    room.until("web", "is not ready again", |pod| !is_ready(pod)).await;
    room.exec("web", "killall httpd").await?;
    let once = |pod: &Value| container(pod, "c")["restartCount"] == 1;
    room.until("web", "was restarted", once).await;
    room.event("web", "Unhealthy", "Liveness probe failed: dial tcp").await;
    room.event("web", "Killing", "Container c failed liveness probe, will be restarted").await;
    room.ready("dying").await;
    room.exec("dying", "touch /tmp/dead").await?;
    room.until("dying", "was restarted", once).await;
    let pod = room.ready("slow").await;
    assert_eq!(container(&pod, "c")["restartCount"], 0, "liveness waits for startup");
    Ok(())
}

/// How many addresses of the Service `web` are ready, or are not.
async fn addresses(room: &Room, which: &str) -> usize {
    let path = format!(
        "{}?labelSelector=kubernetes.io%2Fservice-name%3Dweb",
        room.path("discovery.k8s.io/v1/endpointslices")
    );
    let slices = room.client.request(http::Method::GET, &path, None).await.unwrap_or_default();
    let all = slices["items"].as_array().cloned().unwrap_or_default();
    let ends = all.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    ends.filter(|end| (end["conditions"]["ready"] == true) == (which == "ready")).count()
}

async fn hooks_run_at_start_and_stop(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "hooks").await?;
    let say = |text: &str| {
        let script = format!("echo {text} > /proc/1/fd/1");
        json!({"exec": {"command": ["sh", "-c", script]}})
    };
    let listener = "touch /www/started-http /www/stopped-exec; httpd -f -vv -p 8080 -h /www 2>&1";
    room.pod("listener", json!({"containers": [shell(listener)]})).await?;
    let pod = room.ready("listener").await;
    let ip = pod["status"]["podIP"].as_str().context("an address")?.to_owned();
    let get = |path: &str| json!({"httpGet": {"host": ip.clone(), "port": 8080, "path": path}});
    let lifecycle = |start: Value, stop: Value| {
        let hooks = json!({"lifecycle": {"postStart": start, "preStop": stop}});
        with(shell("echo up; trap 'exit 0' TERM; while :; do sleep 0.1; done"), hooks)
    };
    let grace =
        |container: Value| json!({"terminationGracePeriodSeconds": 20, "containers": [container]});
    room.pod("exec", grace(lifecycle(say("started"), get("/stopped-exec")))).await?;
    room.pod("http", grace(lifecycle(get("/started-http"), say("stopping")))).await?;
    let bad = json!({"exec": {"command": ["false"]}});
    room.pod("bad", grace(lifecycle(bad, say("x")))).await?;
    room.ready("exec").await;
    room.ready("http").await;
    let said = room.logs("exec", &[]).await?;
    assert!(said.contains("started\n"), "{said}");
    let mut follow = room.kubectl.spawn(&["logs", "-n", "hooks", "http", "-f"])?;
    let mut said = BufReader::new(follow.stdout.take().context("its output")?).lines();
    assert_eq!(said.next_line().await?.as_deref(), Some("up"));
    room.delete("v1/pods", "http").await?;
    room.delete("v1/pods", "exec").await?;
    assert_eq!(said.next_line().await?.as_deref(), Some("stopping"));
    assert_eq!(said.next_line().await?, None, "the log ends with its container");
    until("both hooks over HTTP were seen", || async {
        let seen = room.logs("listener", &[]).await.unwrap_or_default();
        seen.contains("started-http") && seen.contains("stopped-exec")
    })
    .await;
    room.event("bad", "FailedPostStartHook", "PostStartHook failed").await;
    Ok(())
}

async fn rights_are_as_asked(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "rights").await?;
    let volume = json!({"volumeMounts": [{"name": "d", "mountPath": "/d"}]});
    let script = "id -u; id -g; id -G; touch /d/f; stat -c '%u %g' /d/f; stat -c %g /d";
    room.pod(
        "user",
        json!({
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000,
                "supplementalGroups": [4000]},
            "containers": [with(shell(script), volume)],
            "volumes": [{"name": "d", "emptyDir": {}}],
        }),
    )
    .await?;
    let once = |name: &'static str, script: &str, security: Value| {
        let container = with(shell(script), json!({"securityContext": security}));
        room.pod(name, json!({"restartPolicy": "Never", "containers": [container]}))
    };
    let bits = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\\t\\n' ' '";
    let touch = "touch /x 2>/dev/null || echo read only";
    let least = json!({"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    once("least", &format!("{bits}; {touch}"), least).await?;
    let filtered = json!({"seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"add": ["SYS_TIME"]}});
    once(
        "filtered",
        "unshare -U true; echo $?; date -s @0 >/dev/null; adjtimex >/dev/null; echo $?",
        filtered.clone(),
    )
    .await?;
    once("plain", "unshare -U true; echo $?", json!({})).await?;
    let mount = "mount -t tmpfs x /tmp && echo mounted; test -c /dev/loop-control && echo device";
    once("all", &format!("{bits}; {mount}"), json!({"privileged": true})).await?;
    let said = |name: &'static str| async {
        room.ended(name).await;
        room.logs(name, &[]).await
    };
    assert_eq!(said("user").await?, "1000\n3000\n3000 2000 4000\n1000 2000\n2000\n");
    assert_eq!(
        said("least").await?,
        "CapEff: 0000000000000400 NoNewPrivs: 1 Seccomp: 2 read only\n"
    );
    let filtered = said("filtered").await?;
    assert!(filtered.starts_with("unshare: ") || filtered.contains("1\n"), "{filtered}");
    assert!(said("plain").await?.ends_with("0\n"));
    let all = said("all").await?;
    assert!(all.contains("NoNewPrivs: 0 Seccomp: 0 ") && all.contains("mounted\ndevice"), "{all}");
    Ok(())
}

async fn namespaces_are_shared_as_asked(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "spaces").await?;
    let second = with(shell("exec sleep 2222"), json!({"name": "other"}));
    let both = |shared: bool| {
        let containers = json!([shell(STAY), second.clone()]);
        json!({"shareProcessNamespace": shared, "containers": containers})
    };
    room.pod("apart", both(false)).await?;
    room.pod("together", both(true)).await?;
    let host = json!({"hostNetwork": true, "hostPID": true, "hostIPC": true,
        "containers": [shell(STAY)]});
    room.pod("host", host).await?;
    let safe = json!({"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]});
    room.pod("sysctl", json!({"securityContext": safe, "containers": [shell(STAY)]})).await?;
    room.ready("apart").await;
    room.ready("together").await;
    let see = "ps | grep -c '[s]leep 2222' || true";
    assert_eq!(room.exec("apart", see).await?, "0\n");
    assert_eq!(room.exec("together", see).await?, "1\n");
    let pod = room.ready("host").await;
    assert_eq!(pod["status"]["podIP"], pod["status"]["hostIP"]);
    assert!(room.exec("host", "ps").await?.contains("trireme node"), "sees the node's processes");
    room.ready("sysctl").await;
    let value = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(room.exec("sysctl", value).await?, "81\n");
    assert_ne!(room.exec("apart", value).await?, "81\n");
    Ok(())
}

async fn resources_reach_the_kernel(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "limits").await?;
    let resources = json!({"resources": {"requests": {"cpu": "100m", "memory": "32Mi"},
        "limits": {"cpu": "500m", "memory": "64Mi"}}});
    room.pod("some", json!({"containers": [with(shell(STAY), resources)]})).await?;
    let all = json!({"resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}});
    room.pod("sure", json!({"containers": [with(shell(STAY), all)]})).await?;
    room.run("none", STAY).await?;
    let look = |name: &'static str| async {
        let pod = room.ready(name).await;
        let class = pod["status"]["qosClass"].as_str().unwrap_or_default().to_owned();
        // Version 1 of cgroups, then version 2.
        let files = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us \
                     cpu/cpu.shares 2>/dev/null || cat memory.max cpu.max cpu.weight";
        let found = room.exec(name, &format!("{files}; cat /proc/1/oom_score_adj")).await?;
        Ok::<_, anyhow::Error>((class, found.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    let (class, found) = look("some").await?;
    assert!(found.starts_with("67108864 50000 102 "), "{class} {found}");
    assert_eq!(class, "Burstable");
    let (class, found) = look("sure").await?;
    assert!(found.starts_with("67108864 25000 256 "), "{class} {found}");
    assert_eq!(class, "Guaranteed");
    let (class, found) = look("none").await?;
    assert!(found.contains(" -1 2 1000"), "{class} {found}");
    assert_eq!(class, "BestEffort");
    Ok(())
}

async fn what_a_node_cannot_give_is_refused(cluster: Arc<Cluster>) -> Result<()> {
    let room = Room::new(&cluster, "refused").await?;
    // Bound by hand: the scheduler would have said no.
    let bound = |more: Value| with(more, json!({"nodeName": "node-1"}));
    let much = json!({"containers": [{"resources": {"requests": {"cpu": "900"}}}]});
    room.pod("much", bound(much)).await?;
    let sysctl = json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]});
    room.pod("sysctl", bound(json!({"containers": [{}], "securityContext": sysctl}))).await?;
    let cases = [
        ("much", "OutOfcpu", "Node didn't have enough resource: cpu, requested: 900000, used: "),
        ("sysctl", "SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted"),
    ];
    for (name, reason, message) in cases {
        let (phase, pod) = room.ended(name).await;
        assert_eq!((phase.as_str(), &pod["status"]["reason"]), ("Failed", &json!(reason)));
        let text = pod["status"]["message"].as_str().unwrap_or_default();
        assert!(text.starts_with(&format!("Pod was rejected: {message}")), "{text}");
        assert!(pod["status"]["containerStatuses"].is_null(), "nothing was made");
        room.event(name, reason, message).await;
    }
    Ok(())
}
