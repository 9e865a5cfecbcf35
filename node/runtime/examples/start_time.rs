//! Measures how long the first container of a pod takes to start, step by step: `start_time
//! DIRECTORY [PODS]`.

use runtime::{Config, ContainerConfig, ContainerState, SandboxConfig, image};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Milliseconds of each step of one pod.
struct Steps {
    sandbox: Duration,
    create: Duration,
    start: Duration,
    remove: Duration,
}

/// One of the times.
type Step = fn(&Steps) -> Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("usage: start_time DIRECTORY [PODS]")?);
    let pods: u32 = args.next().map_or(Ok(10), |pods| pods.parse())?;
    let shim = std::env::current_exe()?.with_file_name("shim");
    let config =
        Config { shim: vec![shim.to_string_lossy().into_owned()], ..Config::new("measure", &dir) };
    let runtime = runtime::open("oci", config.clone())?;
    let archive = dir.join("demo.tar");
    image::build_busybox(Path::new("/usr/bin/busybox"), &archive)?;
    runtime.import_image(&archive).await?;
    let mut all = Vec::new();
    for number in 0..pods {
        let began = Instant::now();
        let sandbox = SandboxConfig { uid: format!("uid-{number}"), ..SandboxConfig::default() };
        let sandbox = runtime.run_pod_sandbox(sandbox).await?;
        let sandboxed = Instant::now();
        let container = ContainerConfig {
            name: "main".into(),
            image: image::DEMO.into(),
            log_path: Some(dir.join(format!("{number}.log"))),
            ..ContainerConfig::default()
        };
        let id = runtime.create_container(&sandbox.id, container).await?;
        let created = Instant::now();
        runtime.start_container(&id).await?;
        let started = Instant::now();
        if runtime.inspect_container(&id).await?.state != ContainerState::Running {
            return Err("the container does not run".into());
        }
        let ending = Instant::now();
        runtime.remove_pod_sandbox(&sandbox.id).await?;
        all.push(Steps {
            sandbox: sandboxed - began,
            create: created - sandboxed,
            start: started - created,
            remove: ending.elapsed(),
        });
    }
    let mut out = std::io::stdout().lock();
    let steps: [(&str, Step); 5] = [
        ("sandbox", |steps| steps.sandbox),
        ("create", |steps| steps.create),
        ("start", |steps| steps.start),
        ("until running", |steps| steps.sandbox + steps.create + steps.start),
        ("remove", |steps| steps.remove),
    ];
    for (name, step) in steps {
        let mut times: Vec<Duration> = all.iter().map(step).collect();
        times.sort_unstable();
        let median = times[times.len() / 2];
        let most = times[times.len() - 1];
        writeln!(out, "{name:14} median {median:8.1?}  max {most:8.1?}")?;
    }
    runtime::cleanup(config).await?;
    Ok(())
}
