//! The comparisons that decide which branch a transaction takes.

use std::{cmp::Ordering, io, ops::ControlFlow};

use proto::etcdserverpb::{
    Compare,
    compare::{CompareResult, CompareTarget, TargetUnion},
};

use super::{KeyRange, index::Found, view::View};

/// Whether all comparisons hold.
pub(crate) fn all(view: &View<'_>, compares: &[Compare]) -> io::Result<bool> {
    for compare in compares {
        if !holds(view, compare)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a comparison holds for every key of its range. Of keys that don't exist all numbers
/// are 0, and no value compares.
fn holds(view: &View<'_>, compare: &Compare) -> io::Result<bool> {
    let range = KeyRange::new(&compare.key, &compare.range_end);
    let mut holds = true;
    let mut is_empty = true;
    let mut failure = None;
    if range.is_single()
        && let Some(found) = view.get(range.key)
    {
        return one(view, compare, &found);
    }
    view.state.index.visit(range, view.at, |_, found| {
        is_empty = false;
        match one(view, compare, &found.into()) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => {
                holds = false;
                ControlFlow::Break(())
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None if is_empty && compare.target() == CompareTarget::Value => Ok(false),
        None if is_empty => Ok(decide(compare, 0.cmp(&wanted_number(compare)))),
        None => Ok(holds),
    }
}

fn one(view: &View<'_>, compare: &Compare, found: &Found) -> io::Result<bool> {
    let version = &found.version;
    let number = match compare.target() {
        CompareTarget::Version => version.version,
        CompareTarget::Create => version.create,
        CompareTarget::Mod => version.rev.main,
        CompareTarget::Lease => version.lease,
        CompareTarget::Value => {
            let wanted: &[u8] = match &compare.target_union {
                Some(TargetUnion::Value(value)) => value,
                _ => b"",
            };
            let kv = view.value(found)?;
            return Ok(decide(compare, kv.value[..].cmp(wanted)));
        }
    };
    Ok(decide(compare, number.cmp(&wanted_number(compare))))
}

/// The number that the target is compared with; 0 when the request gives one for another target.
fn wanted_number(compare: &Compare) -> i64 {
    match (compare.target(), &compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(number)))
        | (CompareTarget::Create, Some(TargetUnion::CreateRevision(number)))
        | (CompareTarget::Mod, Some(TargetUnion::ModRevision(number)))
        | (CompareTarget::Lease, Some(TargetUnion::Lease(number))) => *number,
        _ => 0,
    }
}

fn decide(compare: &Compare, order: Ordering) -> bool {
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
