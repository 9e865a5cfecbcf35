//! Figures, measured on real clusters: `make bench` prints them all, `make bench BENCH=failover` one.
//!
//! Every figure is a median or a worst case of several runs on this machine, in this run.

#![allow(clippy::print_stdout, reason = "printing figures is its job")]

mod failover;
mod figures;
mod startup;
mod store;

use anyhow::{Result, bail};

/// A measurement: its name and what it runs.
const BENCHES: [(&str, &str); 3] = [
    ("startup", "seconds to API ready, node ready, first Pod running; idle memory"),
    ("failover", "outage at leader kill; takeover of scheduler and controllers"),
    ("store", "the store beside the real etcd, driven by etcd's own benchmark"),
];

#[tokio::main]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) =
        wanted.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name))
    {
        let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        bail!("no bench {unknown:?}; there are {}", known.join(", "));
    }
    for (name, about) in BENCHES {
        if !wanted.is_empty() && !wanted.iter().any(|one| one == name) {
            continue;
        }
        println!("== {name}: {about}");
        match name {
            "startup" => startup::run().await?,
            "failover" => failover::run().await?,
            _ => store::run().await?,
        }
    }
    Ok(())
}
