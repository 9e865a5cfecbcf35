//! Durations as figures: median and worst.

use std::time::Duration;

/// Prints what was measured.
pub(crate) fn print(what: &str, all: &mut [Duration], goal: &str) {
    all.sort();
    let (Some(worst), Some(median)) = (all.last(), all.get(all.len() / 2)) else {
        println!("{what:<58} nothing measured");
        return;
    };
    println!(
        "{what:<58} median {:>8.1} ms   worst {:>8.1} ms   n={:<3} goal {goal}",
        median.as_secs_f64() * 1000.0,
        worst.as_secs_f64() * 1000.0,
        all.len()
    );
}

/// Bytes as MB.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
