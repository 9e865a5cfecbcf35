//! What a user may read and write: the ranges of all its roles, merged.
//!
//! Example. `[a, c)` of one role and `[b, d)` of another make `[a, d)`; a read of `[a, d)` is
//! covered by it, though by neither role alone. `[a, b)` and `[b, c)` merge too: nothing is
//! between them.

use std::cmp::Ordering;

use bytes::Bytes;
use proto::authpb::{Permission, permission::Type};

/// The end of a range that goes on for ever, as requests and permissions write it.
const OPEN: &[u8] = &[0];

/// Where a range ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Before this key.
    Before(Bytes),
    /// Nowhere.
    Open,
}

impl End {
    fn cmp_key(&self, key: &[u8]) -> Ordering {
        match self {
            Self::Before(end) => end[..].cmp(key),
            Self::Open => Ordering::Greater,
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Open, _) => true,
            (Self::Before(_), Self::Open) => false,
            (Self::Before(end), Self::Before(other)) => end >= other,
        }
    }
}

/// A range that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    start: Bytes,
    end: End,
}

impl Range {
    /// The keys of a permission; none when there are none.
    fn of(permission: &Permission) -> Option<Self> {
        let Permission { key, range_end, .. } = permission;
        let end = match &range_end[..] {
            _ if key.is_empty() => return None,
            b"" => End::Before([key, OPEN].concat().into()),
            OPEN => End::Open,
            end if &key[..] < end => End::Before(range_end.clone()),
            _ => return None,
        };
        Some(Self { start: key.clone(), end })
    }
}

/// Ranges in order, with something between each and the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    merged: Vec<Range>,
}

impl Ranges {
    fn merge(mut all: Vec<Range>) -> Self {
        all.sort_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Range> = Vec::with_capacity(all.len());
        for range in all {
            match merged.last_mut() {
                Some(last) if last.end.cmp_key(&range.start).is_ge() => {
                    if !last.end.covers(&range.end) {
                        last.end = range.end;
                    }
                }
                _ => merged.push(range),
            }
        }
        Self { merged }
    }

    /// The range that holds a key.
    fn around(&self, key: &[u8]) -> Option<&Range> {
        let after = self.merged.partition_point(|range| &range.start[..] <= key);
        let range = self.merged[..after].last()?;
        range.end.cmp_key(key).is_gt().then_some(range)
    }

    /// Whether all keys of a request are in. A request for nothing needs its first key only.
    pub(super) fn hold(&self, key: &Bytes, range_end: &Bytes) -> bool {
        let Some(around) = self.around(key) else { return false };
        match &range_end[..] {
            b"" => true,
            OPEN => around.end == End::Open,
            end if end <= &key[..] => true,
            _ => around.end.covers(&End::Before(range_end.clone())),
        }
    }
}

/// What a user may read and write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Permitted {
    /// Keys to read.
    pub(super) read: Ranges,
    /// Keys to write.
    pub(super) write: Ranges,
}

impl Permitted {
    /// What permissions allow together.
    pub(super) fn of<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for permission in permissions {
            let Some(range) = Range::of(permission) else { continue };
            match Type::try_from(permission.perm_type) {
                Ok(Type::Read) => read.push(range),
                Ok(Type::Write) => write.push(range),
                Ok(Type::Readwrite) => {
                    read.push(range.clone());
                    write.push(range);
                }
                // A kind of a later version: it allows nothing here.
                Err(_) => {}
            }
        }
        Self { read: Ranges::merge(read), write: Ranges::merge(write) }
    }
}

/// Whether a permission's range is one: a key, a key and a later one, or everything from a key on.
pub(super) fn is_valid(permission: &Permission) -> bool {
    Range::of(permission).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(kind: Type, key: &'static str, end: &'static str) -> Permission {
        Permission { perm_type: kind.into(), key: key.into(), range_end: end.into() }
    }

    fn ranges(all: &[(&'static str, &'static str)]) -> Ranges {
        let all: Vec<_> = all.iter().map(|(key, end)| permission(Type::Read, key, end)).collect();
        let permitted = Permitted::of(all.iter());
        assert_eq!(permitted.write, Ranges::default());
        permitted.read
    }

    fn holds(ranges: &Ranges, key: &'static str, end: &'static str) -> bool {
        ranges.hold(&key.into(), &end.into())
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        let all = ranges(&[("d", "e"), ("a", "c"), ("b", "d"), ("x", "z"), ("x", "y")]);
        assert_eq!(all.merged.len(), 2);
        assert!(holds(&all, "a", "e") && holds(&all, "c", "") && holds(&all, "x", "z"));
        assert!(!holds(&all, "a", "f") && !holds(&all, "e", "") && !holds(&all, "d", "y"));
        assert!(!holds(&all, "0", "b") && !holds(&all, "z", ""));
    }

    #[test]
    fn a_key_alone_touches_the_next_possible_key() {
        let all = ranges(&[("a", ""), ("a\0", "a\0\0"), ("c", "")]);
        assert!(holds(&all, "a", "a\0\0") && holds(&all, "c", "c\0"));
        assert!(!holds(&all, "a", "b") && !holds(&all, "ab", ""));
    }

    #[test]
    fn a_zero_byte_is_no_end() {
        let all = ranges(&[("m", "\0"), ("k", "l")]);
        assert!(holds(&all, "m", "\0") && holds(&all, "z", "\0") && holds(&all, "n", "zz"));
        assert!(!holds(&all, "k", "\0") && !holds(&all, "k", "n"));
        assert!(!holds(&ranges(&[("m", "z")]), "m", "\0"));
        let everything = ranges(&[("\0", "\0")]);
        assert!(holds(&everything, "\0", "\0") && holds(&everything, "a", "b"));
    }

    #[test]
    fn a_wider_range_swallows_what_is_inside() {
        let all = ranges(&[("a", "z"), ("b", "c"), ("d", ""), ("y", "\0")]);
        assert_eq!(all, ranges(&[("a", "\0")]));
    }

    #[test]
    fn a_request_for_nothing_needs_its_first_key_only() {
        let all = ranges(&[("b", "d")]);
        assert!(holds(&all, "c", "a") && holds(&all, "c", "c"));
        assert!(!holds(&all, "e", "a"));
    }

    #[test]
    fn kinds_are_kept_apart() {
        let all = [
            permission(Type::Read, "r", ""),
            permission(Type::Write, "w", ""),
            permission(Type::Readwrite, "x", ""),
            Permission { perm_type: 9, key: "q".into(), range_end: "".into() },
        ];
        let permitted = Permitted::of(all.iter());
        let can = |ranges: &Ranges| {
            let keys = ["q", "r", "w", "x"].into_iter();
            keys.filter(|key| ranges.hold(&Bytes::from(*key), &Bytes::new())).collect::<String>()
        };
        assert_eq!((can(&permitted.read), can(&permitted.write)), ("rx".into(), "wx".into()));
    }

    #[test]
    fn a_range_without_keys_is_not_valid() {
        let valid = |key, end| is_valid(&permission(Type::Read, key, end));
        assert!(valid("a", "") && valid("a", "b") && valid("a", "\0") && valid("\0", "\0"));
        assert!(!valid("", "") && !valid("", "b") && !valid("b", "a") && !valid("a", "a"));
    }
}
