//! Simulated containers: the life cycle, and everything a pod may ask for.

use super::*;

fn driver() -> Simulated {
    Simulated::new(Config::new("simulated", Path::new("/nonexistent")))
}

fn container(image: &str, command: &[&str]) -> ContainerConfig {
    ContainerConfig {
        name: "main".into(),
        image: image.into(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..ContainerConfig::default()
    }
}

/// How a container of a pod with these notes ends; `None` when it runs on.
fn ends(config: &ContainerConfig, notes: &[(&str, &str)]) -> Option<(Duration, i32)> {
    let notes = notes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Behaviour::of(config, Some(&notes)).ends
}

#[test]
fn outcomes_come_from_the_environment_the_notes_the_image_or_the_command() {
    let seconds = Duration::from_secs_f64;
    let plain = container("nginx", &[]);
    assert_eq!(ends(&plain, &[]), None);
    assert_eq!(ends(&plain, &[("trireme.io/exit-code", "3")]), Some((Duration::ZERO, 3)));
    assert_eq!(ends(&plain, &[("run-for.trireme.io/main", "1.5s")]), Some((seconds(1.5), 0)));
    assert_eq!(ends(&plain, &[("run-for.trireme.io/other", "1s")]), None);
    let mut env = plain;
    env.env = vec![("TRIREME_RUN_FOR".into(), "250ms".into())];
    assert_eq!(ends(&env, &[("trireme.io/exit-code", "2")]), Some((seconds(0.25), 2)));
    assert_eq!(ends(&container("demo:exit-4", &[]), &[]), Some((Duration::ZERO, 4)));
    assert_eq!(ends(&container("demo:run-1m", &[]), &[]), Some((seconds(60.0), 0)));
    let shell = |script| ends(&container("busybox", &["sh", "-c", script]), &[]);
    assert_eq!(shell("echo hi && sleep 2; exit 5"), Some((seconds(2.0), 5)));
    assert_eq!(shell("while true; do sleep 1; done"), None);
    assert_eq!(ends(&container("busybox", &["/bin/false"]), &[]), Some((Duration::ZERO, 1)));
    assert!(ends(&container("busybox", &["sleep", "infinity"]), &[]).unwrap().0 > seconds(1e8));
}

#[tokio::test]
async fn a_container_ends_by_itself_and_everybody_hears_of_it() {
    let driver = driver();
    let mut events = driver.events();
    let sandbox = driver.run_pod_sandbox(SandboxConfig::default()).await.unwrap();
    let config = container("busybox", &["sh", "-c", "sleep 0.05; exit 2"]);
    let id = driver.create_container(&sandbox.id, config).await.unwrap();
    driver.start_container(&id).await.unwrap();
    assert!(matches!(events.recv().await.unwrap(), Event::Started { .. }));
    assert_eq!(driver.container(&id).unwrap().state, ContainerState::Running);
    assert!(matches!(events.recv().await.unwrap(), Event::Exited { exit, .. } if exit.code == 2));
    driver.remove_pod_sandbox(&sandbox.id).await.unwrap();
    assert!(driver.list_containers().await.unwrap().is_empty());
}

#[tokio::test]
async fn ten_thousand_containers_live_and_die_in_no_time() {
    let driver = driver();
    for number in 0..10_000 {
        let config = SandboxConfig { uid: number.to_string(), ..SandboxConfig::default() };
        let sandbox = driver.run_pod_sandbox(config).await.unwrap();
        let config = container("nginx", &[]);
        let id = driver.create_container(&sandbox.id, config).await.unwrap();
        driver.start_container(&id).await.unwrap();
    }
    assert_eq!(driver.list_containers().await.unwrap().len(), 10_000);
    let one = driver.list_pod_sandboxes().await.unwrap().remove(0);
    driver.stop_pod_sandbox(&one.id).await.unwrap();
    let ended = driver.list_containers().await.unwrap();
    let ended = ended.iter().filter(|one| one.state != ContainerState::Running);
    assert_eq!(ended.count(), 1);
}
