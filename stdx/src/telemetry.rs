//! Log output, set up once by `main`.

mod json;

use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

/// How this process logs.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event, with the names that zap gives.
    Json,
}

/// Starts logging to standard error. `filter` is an `EnvFilter` expression such as `info,store=debug`; a second
/// call in one process is ignored.
pub fn init(filter: &str, format: Format) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that nobody reads any more is lost: telling that would end the task that wrote it.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    FORMAT.get_or_init(|| format);
    let started = match format {
        Format::Text => builder.with_ansi(false).try_init(),
        Format::Json => builder.event_format(json::Json).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was set up already");
    }
}

/// How this process logs.
pub fn format() -> Format {
    FORMAT.get().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    use super::*;

    /// Set in the process that logs.
    const CHILD: &str = "TRIREME_LOGS_INTO_A_CLOSED_PIPE";

    #[test]
    fn a_reader_of_the_log_that_has_gone_ends_no_task() {
        if std::env::var_os(CHILD).is_some() {
            init("info", Format::Text);
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            tracing::error!("nobody reads this");
            return;
        }
        let name = "telemetry::tests::a_reader_of_the_log_that_has_gone_ends_no_task";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }
}
