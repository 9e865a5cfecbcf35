//! Our store beside the real etcd: three members of each on the same disk, driven in turn by etcd's own unmodified
//! `benchmark` while the other three stand still, and a table of ratios. `shared/oracles/build.sh etcd` builds the rival and its tool in a minute.
//!
//! Members and load share this machine's processors: what the load generator takes is part of every figure, for both.

mod group;
mod stream;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

use group::{Group, Rival, Usage};

/// Rounds of every load; each begins with the other rival. Medians count, ratios of neighbours too: the machine's own
/// speed changes by a third within minutes.
const ROUNDS: usize = 5;
/// Longest time that one load may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Writes whose fsync is measured.
const SYNCS: usize = 200;

/// A load: its name, clients, connections and what `benchmark` does.
struct Load {
    name: &'static str,
    clients: usize,
    connections: usize,
    args: &'static [&'static str],
}

/// Arguments of every put: keys of 16 bytes of a thousand, values of 256.
macro_rules! put {
    ($total:literal) => {
        &[
            "put",
            "--key-size=16",
            "--val-size=256",
            "--key-space-size=1000",
            concat!("--total=", $total),
        ]
    };
}

/// What is measured, in this order: reads find what the puts before them wrote.
const LOADS: &[Load] = &[
    Load { name: "put, 1 client", clients: 1, connections: 1, args: put!("400") },
    Load { name: "put, 100 clients", clients: 100, connections: 10, args: put!("6000") },
    Load { name: "put, 1000 clients", clients: 1000, connections: 100, args: put!("20000") },
    Load { name: "put, 4000 clients", clients: 4000, connections: 100, args: put!("20000") },
    Load {
        name: "range, linearizable, 100 clients",
        clients: 100,
        connections: 10,
        args: &["range", "foo", "--total=20000"],
    },
    Load {
        name: "range, serializable, 100 clients",
        clients: 100,
        connections: 10,
        args: &["range", "foo", "--consistency=s", "--total=20000"],
    },
    Load {
        name: "lease keep-alive, 100 clients",
        clients: 100,
        connections: 10,
        args: &["lease-keepalive", "--total=10000"],
    },
    Load {
        name: "txn, range of 100 or put, 100 clients",
        clients: 100,
        connections: 10,
        args: &[
            "txn-mixed",
            "foo",
            "--limit=100",
            "--rw-ratio=1",
            "--key-size=16",
            "--val-size=256",
            "--key-space-size=1000",
            "--total=6000",
        ],
    },
    Load {
        name: "watch latency, 100 watchers",
        clients: 10,
        connections: 10,
        args: &["watch-latency", "--put-total=1000", "--put-rate=500"],
    },
];

/// What one run of a load gave.
#[derive(Clone, Copy, Default)]
struct Figures {
    /// Requests a second.
    rate: f64,
    /// 99 of 100 were answered within so many milliseconds.
    p99: f64,
    /// Processor time of all members for a request, in microseconds.
    processor: f64,
    /// Bytes written to disk by all members for a request.
    written: f64,
    /// Processor time of the load generator for a request, in microseconds.
    load: f64,
}

/// Measures on the disk of the temporary directory and on memory.
pub(crate) async fn run() -> Result<()> {
    let tools = tools()?;
    for (what, root) in [("disk", std::env::temp_dir()), ("tmpfs", PathBuf::from("/dev/shm"))] {
        let root = root.join(format!("trireme-bench-{}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        let measured = on(&tools, what, &root).await;
        std::fs::remove_dir_all(&root)?;
        measured?;
    }
    Ok(())
}

/// Where etcd and its benchmark are.
fn tools() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let oracles = std::env::var_os("ORACLES").map(PathBuf::from);
    let bin = oracles.unwrap_or_else(|| home.join(".cache/trireme-oracles")).join("bin");
    if !bin.join("benchmark").exists() || !bin.join("etcd").exists() {
        bail!("no etcd and benchmark in {}: run shared/oracles/build.sh etcd", bin.display());
    }
    Ok(bin)
}

async fn on(tools: &Path, what: &str, root: &Path) -> Result<()> {
    let (median, worst) = fsync(root)?;
    println!(
        "-- {what}: fsync of 4 KiB p50 {median:.2} ms, p99 {worst:.2} ms (on a quiet machine)"
    );
    let ours = Rival { name: "trireme", program: harness::binary(), command: &["store"] };
    let theirs = Rival { name: "etcd", program: tools.join("etcd"), command: &[] };
    let mut all: BTreeMap<(usize, &str), Vec<Figures>> = BTreeMap::new();
    let mut memory: BTreeMap<&str, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut groups = Vec::new();
        for rival in [&ours, &theirs] {
            let group = Group::start(rival, &root.join(format!("{}-{round}", rival.name))).await?;
            group.pause()?;
            groups.push((rival.name, group));
        }
        for (at, load) in LOADS.iter().enumerate() {
            groups.rotate_left((at + round) % 2);
            for (name, group) in &groups {
                group.resume().await?;
                let figures = drive(tools, group, load).await;
                let figures = figures.with_context(|| format!("{} on {name}", load.name))?;
                group.pause()?;
                all.entry((at, *name)).or_default().push(figures);
            }
        }
        for (name, group) in groups {
            let most = memory.entry(name).or_default();
            *most = (*most).max(group.usage()?.memory);
            group.stop().await?;
            std::fs::remove_dir_all(root.join(format!("{name}-{round}")))?;
        }
    }
    table(&all);
    for (name, bytes) in memory {
        println!(
            "memory of three members after all loads, {name}: {}",
            crate::figures::megabytes(bytes)
        );
    }
    stream::measure(tools, [&ours, &theirs], root).await
}

/// Runs one load.
async fn drive(tools: &Path, group: &Group, load: &Load) -> Result<Figures> {
    let before = group.usage()?;
    let load_before = load_processor()?;
    let Told { rate, total, p99 } = benchmark(tools, group, load).await?;
    let after = group.usage()?;
    let load_time = (load_processor()? - load_before).as_secs_f64() * 1e6;
    let requests = rate * total;
    let each = |of: fn(&Usage) -> u64| (of(&after) - of(&before)) as f64 / requests;
    Ok(Figures {
        rate,
        p99: p99.context("too few requests for a p99")? * 1000.0,
        processor: each(|usage| usage.processor_micros),
        written: each(|usage| usage.written),
        load: load_time / requests,
    })
}

/// What `benchmark` says of a run; of a mixed one, of its second half. Seconds, and requests in each.
struct Told {
    rate: f64,
    total: f64,
    /// Unknown of a few requests.
    p99: Option<f64>,
}

async fn benchmark(tools: &Path, group: &Group, load: &Load) -> Result<Told> {
    let run = Command::new(tools.join("benchmark"))
        .arg(format!("--endpoints={}", group.endpoints))
        .arg(format!("--clients={}", load.clients))
        .arg(format!("--conns={}", load.connections))
        .arg("--precise")
        .args(load.args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.context("it takes too long")??;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || text.contains("Error distribution") {
        bail!("benchmark failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    }
    let last = |mark: &str, at: usize| -> Result<f64> {
        let line = text.lines().rev().find(|line| line.contains(mark));
        let word = line.and_then(|line| line.split_whitespace().nth(at));
        word.and_then(|word| word.parse().ok()).with_context(|| format!("no {mark} in {text}"))
    };
    let (rate, total) = (last("Requests/sec:", 1)?, last("Total:", 1)?);
    Ok(Told { rate, total, p99: last("99% in", 2).ok() })
}

/// Processor time of all children that have ended: load generators, while members run.
fn load_processor() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let (user, system) = (usage.user_time(), usage.system_time());
    let micros = (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// Prints medians side by side; above 1 is better than etcd for the rate, below 1 for all else. The last column is
/// the ratio of rates that a store would reach which takes no processor time at all: the load generator takes its own
/// from the same processors.
fn table(all: &BTreeMap<(usize, &str), Vec<Figures>>) {
    println!(
        "{:<34}{:>9}{:>9}{:>7}  {:>9}{:>9}{:>7}  {:>8}{:>8}{:>7}  {:>8}{:>8}{:>7}  {:>6}",
        "medians of 5",
        "ours/s",
        "etcd/s",
        "ratio",
        "p99 ms",
        "etcd",
        "ratio",
        "cpu us",
        "etcd",
        "ratio",
        "B/req",
        "etcd",
        "ratio",
        "limit"
    );
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    for (at, load) in LOADS.iter().enumerate() {
        let values = |name: &str, of: fn(&Figures) -> f64| -> Vec<f64> {
            all[&(at, name)].iter().map(of).collect()
        };
        let median = |name: &str, of| middle(values(name, of));
        let columns: [fn(&Figures) -> f64; 4] =
            [|f| f.rate, |f| f.p99, |f| f.processor, |f| f.written];
        print!("{:<34}", load.name);
        for (width, of) in [9, 9, 8, 8].into_iter().zip(columns) {
            let (ours, theirs) = (median("trireme", of), median("etcd", of));
            let pairs = values("trireme", of).into_iter().zip(values("etcd", of));
            let ratio = middle(pairs.map(|(ours, theirs)| ours / theirs).collect());
            let ratio = if theirs > 0.0 { format!("{ratio:.2}") } else { "-".into() };
            let digits = usize::from(ours < 100.0);
            print!("{ours:>width$.digits$}{theirs:>width$.digits$}{ratio:>7}  ");
        }
        let limit =
            processors as f64 * 1e6 / median("trireme", |f| f.load) / median("etcd", |f| f.rate);
        // One client waits more than it works.
        let limit = if load.clients > 1 { format!("{limit:.2}") } else { "-".into() };
        println!("{limit:>6}");
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How long this disk takes to make 4 KiB last: median and 99th of 100, in milliseconds.
fn fsync(dir: &Path) -> Result<(f64, f64)> {
    let mut file = std::fs::File::create(dir.join("fsync"))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[SYNCS / 2], times[SYNCS * 99 / 100]))
}
