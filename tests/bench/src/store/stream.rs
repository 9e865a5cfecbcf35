//! A million keys: written by a hundred in a transaction, and read as one stream.

use anyhow::Result;
use std::path::Path;

use super::group::{Group, Rival};
use super::{Load, benchmark};

/// Transactions of a hundred keys each, with values of 64 bytes.
const FILL: Load = Load {
    name: "a million keys by the hundred",
    clients: 10,
    connections: 10,
    args: &[
        "txn-put",
        "--txn-ops=100",
        "--key-size=8",
        "--val-size=64",
        "--key-space-size=1000000",
        "--total=10000",
    ],
};

/// All of them, one stream after the other.
const STREAM: Load = Load {
    name: "a stream of a million keys",
    clients: 1,
    connections: 1,
    args: &["range", "--prefix", "--stream", "--total=3"],
};

/// Measures both rivals once and prints a line for each.
pub(super) async fn measure(tools: &Path, rivals: [&Rival; 2], root: &Path) -> Result<()> {
    for rival in rivals {
        let dir = root.join(format!("{}-stream", rival.name));
        let group = Group::start(rival, &dir).await?;
        let fill = benchmark(tools, &group, &FILL).await?;
        let before = group.usage()?;
        let stream = benchmark(tools, &group, &STREAM).await?;
        let after = group.usage()?;
        let processor = (after.processor_micros - before.processor_micros) as f64 / 3e6;
        println!(
            "a million keys, {}: written in {:.1} s; a stream of all in {:.2} s, {processor:.2} s of processor; memory \
             of three members {}",
            rival.name,
            fill.total,
            1.0 / stream.rate,
            crate::figures::megabytes(after.memory),
        );
        group.stop().await?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}
