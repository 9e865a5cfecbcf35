//! A member's illness: slow or failing fsync, clocks that are off. A small library of C, compiled
//! when it is first needed and preloaded into that one process, does what the numbers say that are
//! written here; neither the product nor its build knows it.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command;

/// The numbers, in the library's order.
#[derive(Debug, Clone, Copy)]
enum Number {
    DelayMicros,
    ToFail,
    WallOffNanos,
    FastPpm,
    Failed,
}

/// How many numbers there are.
const NUMBERS: usize = 5;

/// What ails one member, now and after it is started again.
#[derive(Debug)]
pub struct Ill {
    file: File,
    /// What its process is told in the environment.
    pub(crate) environment: [(String, PathBuf); 2],
}

impl Ill {
    /// A healthy member that can be made ill.
    pub async fn new(dir: &Path, at: usize) -> Result<Self> {
        let library = dir.join("ill.so");
        if !library.exists() {
            compile(&library).await?;
        }
        let path = dir.join(format!("m{at}.ill"));
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len((NUMBERS * 8) as u64)?;
        let environment = [("LD_PRELOAD".to_owned(), library), ("ILL".to_owned(), path)];
        Ok(Self { file, environment })
    }

    fn set(&self, number: Number, value: i64) -> Result<()> {
        Ok(self.file.write_all_at(&value.to_ne_bytes(), number as u64 * 8)?)
    }

    /// Makes each fsync take so much longer.
    pub fn delay_fsync(&self, by: Duration) -> Result<()> {
        self.set(Number::DelayMicros, i64::try_from(by.as_micros())?)
    }

    /// Makes so many of the next fsyncs fail.
    pub fn fail_fsync(&self, count: i64) -> Result<()> {
        self.set(Number::ToFail, count)
    }

    /// How many fsyncs have failed.
    pub fn failed(&self) -> Result<i64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, Number::Failed as u64 * 8)?;
        Ok(i64::from_ne_bytes(bytes))
    }

    /// Sets the wall clock so many seconds fast, or slow.
    pub fn set_wall_clock(&self, fast_seconds: i64) -> Result<()> {
        self.set(Number::WallOffNanos, fast_seconds * 1_000_000_000)
    }

    /// Lets the clock that only goes on run so many millionths fast, or slow. Only while the member
    /// does not run: its time would jump.
    pub fn set_pace(&self, fast_ppm: i64) -> Result<()> {
        self.set(Number::FastPpm, fast_ppm)
    }
}

async fn compile(library: &Path) -> Result<()> {
    let source = crate::repository_file("tests/harness/src/faults/ill.c");
    let outcome = command("cc", &["-shared", "-fPIC", "-O1", "-o"])
        .arg(library)
        .arg(source)
        .arg("-ldl")
        .output()
        .await
        .context("running cc")?;
    if !outcome.status.success() {
        bail!("cc: {}", String::from_utf8_lossy(&outcome.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Ill;
    use anyhow::Result;
    use std::time::{Duration, Instant};

    /// Set in the process whose clock is slow.
    const CHILD: &str = "TRIREME_ILL_CHILD";
    /// Time in which that process looks at its clock all the time.
    const LOOKING: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn slow_clocks_never_go_back() -> Result<()> {
        if std::env::var_os(CHILD).is_some() {
            let began = Instant::now();
            let mut last = began;
            while last - began < LOOKING {
                let now = Instant::now();
                assert!(now >= last, "the clock went back by {:?}", last - now);
                last = now;
            }
            return Ok(());
        }
        let dir = std::env::temp_dir().join(format!("trireme-ill-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        let ill = Ill::new(&dir, 0).await?;
        ill.set_pace(-100_000)?;
        let child = tokio::process::Command::new(std::env::current_exe()?)
            .args(["--exact", "faults::ill::tests::slow_clocks_never_go_back"])
            .envs(ill.environment)
            .env(CHILD, "yes")
            .output()
            .await?;
        std::fs::remove_dir_all(&dir)?;
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
        Ok(())
    }
}
