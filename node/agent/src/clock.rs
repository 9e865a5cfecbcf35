//! The time as the runtime and the API tell it: the one place of this crate that asks for it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// Nanoseconds since 1970, as the runtime counts.
pub(crate) type Nanos = i64;

/// Nanoseconds of a second.
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// Now.
pub(crate) fn now() -> Nanos {
    nanos(Timestamp::now())
}

/// A timestamp as nanoseconds.
pub(crate) fn nanos(at: Timestamp) -> Nanos {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Nanoseconds as the API's time; zero and less is no time.
pub(crate) fn time(at: Nanos) -> Option<Time> {
    if at <= 0 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(at)).ok().map(Time)
}

/// The time of what never happened, where the API wants one.
pub(crate) fn epoch() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

/// The time from `from` until `until`, nothing when it is past.
pub(crate) fn until(from: Nanos, until: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(until.saturating_sub(from)).unwrap_or(0))
}

/// Seconds of the API as nanoseconds; negative ones count as none.
pub(crate) fn seconds(seconds: i64) -> Nanos {
    seconds.max(0).saturating_mul(SECOND)
}
