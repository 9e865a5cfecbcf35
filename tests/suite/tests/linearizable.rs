//! Three store processes under concurrent clients while a nemesis does its worst: everything that
//! clients were told must fit one order of events, and everything they were promised must hold.
//!
//! Each nemesis runs once, with the first seed; `SEEDS` runs more of them, `ONLY` runs some of them,
//! `TRIREME_SEED` repeats a run's choices (not its timing). What this machine lacks is told.

use anyhow::{Context, Result};
use harness::nemeses::{self, NEMESES};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long a nemesis takes turns.
const TIME: Duration = Duration::from_secs(9);

/// A line for whoever looks at the run.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn number(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) => Ok(Some(text.parse().with_context(|| format!("{name} is a number"))?)),
        Err(_) => Ok(None),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_are_told_fits_one_order_whatever_is_done_to_members() -> Result<()> {
    let seeds = number("SEEDS")?.unwrap_or(1);
    let first = number("TRIREME_SEED")?.unwrap_or(1);
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut wrong = 0;
    for nemesis in NEMESES.iter().filter(|nemesis| nemesis.name.contains(&only)) {
        let missing: Vec<String> = nemesis.needs.iter().filter_map(|need| need.missing()).collect();
        if !missing.is_empty() {
            tell(&format!("SKIPPED {}: {}", nemesis.name, missing.join(", ")));
            continue;
        }
        for seed in first..first + seeds {
            let began = Instant::now();
            let name = nemesis.name;
            tell(&format!("{name}, TRIREME_SEED={seed}: {}", nemesis.what));
            let outcome = nemeses::run(nemesis, seed, TIME).await;
            let outcome = outcome.with_context(|| format!("{name}, seed {seed}"))?;
            let report = outcome.report;
            tell(&format!(
                "  {:?}; {} operations ({} without an answer, {} refused for space), {} others, \
                 {} revisions, watchers resumed {} times, {} wrong, {:.1} s",
                outcome.done,
                report.operations,
                report.unknown,
                report.refused_for_space,
                report.others,
                report.revisions,
                report.resumed,
                report.wrong.len(),
                began.elapsed().as_secs_f64()
            ));
            for text in &report.wrong {
                tell(&format!("  WRONG: {text}"));
            }
            wrong += report.wrong.len();
        }
    }
    assert_eq!(wrong, 0, "what is told above as wrong");
    Ok(())
}
