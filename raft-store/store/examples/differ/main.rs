//! Sends the same random requests to two servers of the etcd API and reports every difference:
//! `differ URL URL [SEED] [COUNT] [auth]`. One of them is a real etcd. With `auth`, there are users
//! and roles too, and the requests are those of random users.

mod auth;
mod others;
mod random;
mod servers;

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result, bail};
use auth::Who;
use random::Generator;
use servers::Server;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let url = |at: usize| arguments.get(at).context("differ URL URL [SEED] [COUNT] [auth]");
    let number = |at: usize, default: u64| -> Result<u64> {
        Ok(arguments.get(at).map(|text| text.parse()).transpose()?.unwrap_or(default))
    };
    let (mut one, mut two) = (Server::connect(url(1)?).await?, Server::connect(url(2)?).await?);
    let (seed, count) = (number(3, 1)?, number(4, 1000)?);
    let with_auth = arguments.get(5).is_some_and(|argument| argument == "auth");
    let mut generator = Generator::new(seed, !with_auth);
    let mut prelude = if with_auth { auth::prelude() } else { Vec::new() };
    prelude.reverse();
    let mut out = std::io::stdout();
    let mut differences = 0;
    let mut kinds = BTreeMap::new();
    for at in 0..count {
        let who = if with_auth && prelude.is_empty() { generator.who() } else { Who::Nobody };
        one.auth.become_user(&who);
        two.auth.become_user(&who);
        let (asked, first, second) = if with_auth && (!prelude.is_empty() || generator.chance(50)) {
            let request = prelude.pop().unwrap_or_else(|| generator.auth_request());
            let (first, second) = tokio::join!(one.ask_auth(&request), two.ask_auth(&request));
            (format!("{request:?}"), first, second)
        } else {
            let request = generator.request(one.revision());
            let (first, second) = tokio::join!(one.ask(&request), two.ask(&request));
            (format!("{request:?}"), first, second)
        };
        if let (true, Who::User(name)) = (first.contains("invalid auth token"), &who) {
            prelude.extend(auth::logins(name));
        }
        *kinds.entry(kind(&first)).or_insert(0) += 1;
        if first != second {
            differences += 1;
            writeln!(out, "{at}: {who:?} {asked}\n  one: {first}\n  two: {second}")?;
        }
        if one.revision() != two.revision() {
            bail!("revisions differ: {} and {}", one.revision(), two.revision());
        }
        if differences > 20 {
            bail!("too many differences");
        }
    }
    if with_auth {
        writeln!(out, "answers by kind: {kinds:#?}")?;
        let (first, second) = tokio::join!(one.auth.become_root(), two.auth.become_root());
        one.ask_auth(&auth::Request::Disable).await;
        two.ask_auth(&auth::Request::Disable).await;
        if !(first && second) {
            writeln!(out, "root has no password any more: events are not compared")?;
            return end(&mut out, (count, 0), one.revision(), differences);
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
    end(&mut out, (count, events), revision, differences)
}

fn end(out: &mut impl Write, all: (u64, usize), revision: i64, differences: u32) -> Result<()> {
    let (count, events) = all;
    writeln!(out, "{count} requests, {events} events, revision {revision}: {differences} differ")?;
    if differences > 0 { bail!("the servers differ") } else { Ok(()) }
}

/// An answer's kind: its error, or that it has none.
fn kind(answer: &str) -> String {
    let is_error =
        answer.contains("etcdserver: ") || answer.contains(": ") && !answer.contains('{');
    if is_error { answer.to_owned() } else { "an answer".to_owned() }
}
