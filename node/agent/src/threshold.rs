//! How much of a disk must be left free, written as upstream's kubelet writes eviction signals.

use api::quantity::Quantity;
use std::str::FromStr;

/// The signal that is known.
const SIGNAL: &str = "nodefs.available<";

/// Below this, a disk is short.
///
/// Written `nodefs.available<10%` or `nodefs.available<100Mi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Percent of the disk.
    Percent(u64),
    /// Bytes, whatever the disk's size.
    Bytes(u64),
}

/// A text is no threshold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("use nodefs.available<N% or nodefs.available<QUANTITY: other signals are not there yet")]
pub struct Unknown;

impl Threshold {
    /// Whether so little is left of so much.
    pub(crate) fn is_crossed(self, left: u64, all: u64) -> bool {
        match self {
            Self::Percent(percent) => all > 0 && left < all / 100 * percent,
            Self::Bytes(bytes) => all > 0 && left < bytes,
        }
    }
}

impl FromStr for Threshold {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let amount = text.strip_prefix(SIGNAL).ok_or(Unknown)?;
        if let Some(percent) = amount.strip_suffix('%') {
            let percent = percent.parse().ok().filter(|percent| *percent <= 100);
            return percent.map(Self::Percent).ok_or(Unknown);
        }
        let bytes = amount.parse::<Quantity>().map_err(|_| Unknown)?.value();
        u64::try_from(bytes).map(Self::Bytes).map_err(|_| Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_share_or_an_amount() {
        let parse = |text: &str| text.parse::<Threshold>();
        assert_eq!(parse("nodefs.available<10%"), Ok(Threshold::Percent(10)));
        assert_eq!(parse("nodefs.available<100Mi"), Ok(Threshold::Bytes(100 << 20)));
        for bad in
            ["", "10%", "nodefs.available<101%", "nodefs.available<-1", "memory.available<1Gi"]
        {
            assert_eq!(parse(bad), Err(Unknown), "{bad}");
        }
    }

    #[test]
    fn a_large_disk_with_little_left_is_short_by_share_and_not_by_amount() {
        let (left, all) = (2 << 30, 256 << 30);
        assert!(Threshold::Percent(1).is_crossed(left, all));
        assert!(!Threshold::Bytes(100 << 20).is_crossed(left, all));
        assert!(Threshold::Bytes(100 << 20).is_crossed(50 << 20, all));
        // Nothing is known of such a disk.
        assert!(!Threshold::Bytes(100 << 20).is_crossed(0, 0));
    }
}
