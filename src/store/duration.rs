//! Durations as Go writes them: `1h30m`, `100ms`, `1.5s`, `600000000000ns`.

use anyhow::{Context, Result, bail};
use std::time::Duration;

const UNITS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// The duration that a text means.
pub(crate) fn parse(text: &str) -> Result<Duration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let bad = || format!("{text:?} is no duration; write 10s, 1m30s or 2h");
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').with_context(bad)?;
        let count: f64 = rest[..end].parse().with_context(bad)?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = UNITS.iter().find(|(name, _)| *name == &rest[..end]).with_context(bad)?;
        nanos += count * unit.1;
        rest = &rest[end..];
    }
    if text.is_empty() || !nanos.is_finite() {
        bail!(bad());
    }
    Duration::try_from_secs_f64(nanos / 1e9).with_context(bad)
}

/// What `--auto-compaction-mode` and `--auto-compaction-retention` mean.
pub(crate) fn auto_compaction(mode: &str, retention: &str) -> Result<store::AutoCompaction> {
    let count: Option<u64> = retention.parse().ok();
    match mode {
        "revision" => {
            let count = count.with_context(|| {
                format!("--auto-compaction-retention must count revisions, not {retention:?}")
            })?;
            Ok(match i64::try_from(count).unwrap_or(i64::MAX) {
                0 => store::AutoCompaction::Off,
                count => store::AutoCompaction::Revisions(count),
            })
        }
        "periodic" => {
            let period = match count {
                Some(hours) => Duration::from_secs(hours.saturating_mul(3600)),
                None => parse(retention).context("--auto-compaction-retention")?,
            };
            Ok(match period.is_zero() {
                true => store::AutoCompaction::Off,
                false => store::AutoCompaction::Periodic(period),
            })
        }
        other => bail!("--auto-compaction-mode must be periodic or revision, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let millis = |text: &str| parse(text).map(|time| time.as_millis()).ok();
        assert_eq!(millis("1h30m"), Some(5_400_000));
        assert_eq!(millis("100ms"), Some(100));
        assert_eq!(millis("1.5s"), Some(1500));
        assert_eq!(millis("600000000000ns"), Some(600_000));
        assert_eq!(millis("0"), Some(0));
        for bad in ["", "5", "s", "5x", "1h2"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn retention_is_hours_without_a_unit_and_revisions_in_the_other_mode() {
        use store::AutoCompaction::{Off, Periodic, Revisions};
        let parsed = |mode, retention| auto_compaction(mode, retention).ok();
        assert_eq!(parsed("periodic", "2"), Some(Periodic(Duration::from_secs(7200))));
        assert_eq!(parsed("periodic", "5m"), Some(Periodic(Duration::from_secs(300))));
        assert_eq!(parsed("periodic", "0"), Some(Off));
        assert_eq!(parsed("revision", "1000"), Some(Revisions(1000)));
        assert_eq!(parsed("revision", "5m"), None);
        assert_eq!(parsed("sometimes", "1"), None);
    }
}
