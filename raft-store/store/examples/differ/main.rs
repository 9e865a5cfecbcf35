//! Sends the same random requests to two servers of the etcd API and reports every difference:
//! `differ URL URL [SEED] [COUNT]`. One of them is a real etcd.

mod random;
mod servers;

use std::io::Write;

use anyhow::{Context, Result, bail};
use random::Generator;
use servers::Server;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let url = |at: usize| arguments.get(at).context("differ URL URL [SEED] [COUNT]");
    let number = |at: usize, default: u64| -> Result<u64> {
        Ok(arguments.get(at).map(|text| text.parse()).transpose()?.unwrap_or(default))
    };
    let (mut one, mut two) = (Server::connect(url(1)?).await?, Server::connect(url(2)?).await?);
    let (seed, count) = (number(3, 1)?, number(4, 1000)?);
    let mut generator = Generator::new(seed);
    let mut out = std::io::stdout();
    let mut differences = 0;
    for at in 0..count {
        let request = generator.request(one.revision());
        let (first, second) = tokio::join!(one.ask(&request), two.ask(&request));
        if first != second {
            differences += 1;
            writeln!(out, "{at}: {request:?}\n  one: {first}\n  two: {second}")?;
        }
        if one.revision() != two.revision() {
            bail!("revisions differ: {} and {}", one.revision(), two.revision());
        }
        if differences > 20 {
            bail!("too many differences");
        }
    }
    let revision = one.revision();
    let (first, second) = (one.events(revision).await?, two.events(revision).await?);
    for (first, second) in first.iter().zip(&second) {
        if first != second {
            differences += 1;
            writeln!(out, "events differ:\n  one: {first}\n  two: {second}")?;
            break;
        }
    }
    if first.len() != second.len() {
        differences += 1;
        writeln!(out, "{} events and {}", first.len(), second.len())?;
    }
    let events = first.len();
    writeln!(out, "{count} requests, {events} events, revision {revision}: {differences} differ")?;
    if differences > 0 { bail!("the servers differ") } else { Ok(()) }
}
