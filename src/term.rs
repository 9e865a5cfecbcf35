//! What a person sees: steps with elapsed times on standard error, results on standard output, one sentence for an
//! error.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where output to people happens"
)]

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Prints a result.
pub(crate) fn line(text: impl Display) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A reader that has gone away (a closed pipe) is no error of ours.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Prints a remark that is not a result.
pub(crate) fn note(text: impl Display) {
    use std::io::Write;
    // As above: `eprintln` would panic.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error with all its causes in one sentence.
pub(crate) fn error(error: &anyhow::Error) {
    note(format_args!("error: {error:#}"));
}

/// A list of steps, each with the time it took.
pub(crate) struct Steps {
    started: Instant,
    last: Instant,
}

impl Steps {
    /// Begins to count.
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self { started: now, last: now }
    }

    /// A step is done.
    pub(crate) fn done(&mut self, text: impl Display) {
        let now = Instant::now();
        note(format_args!("  \u{2713} {text:<58} {:>8}", short(now - self.last)));
        self.last = now;
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A duration as a person reads it.
pub(crate) fn short(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}
