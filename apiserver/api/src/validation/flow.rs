//! FlowSchemas and PriorityLevelConfigurations.

use serde_json::Value;

use super::check::{Errors, Path, get, has, int, text};
use crate::meta;

/// Queues of a level.
const MOST_QUEUES: i64 = 10_000_000;
/// Bits of randomness that dealing a hand may need.
const MOST_BITS: f64 = 60.0;
/// Precedence that only the exempt schema has.
const EXEMPT_PRECEDENCE: i64 = 1;

/// A new FlowSchema.
pub(super) fn schema(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    let at = path.child("matchingPrecedence");
    if precedence <= 0 {
        errors.invalid(&at, precedence, "must be a positive value");
    }
    if precedence > 10_000 {
        errors.invalid(&at, precedence, "must not be greater than 10000");
    }
    if precedence == EXEMPT_PRECEDENCE && text(get(object, "metadata"), "name") != "exempt" {
        let why = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.invalid(&at, precedence, why);
    }
    if let Some(method) = get(get(spec, "distinguisherMethod"), "type").as_str() {
        let under = path.child("distinguisherMethod");
        errors.one_of(&under.child("type"), method, &["ByNamespace", "ByUser"]);
    }
    let level = text(get(spec, "priorityLevelConfiguration"), "name");
    let under = path.child("priorityLevelConfiguration");
    if level.is_empty() {
        errors.required(&under.child("name"), "must reference a priority level");
    } else {
        errors.complaints(&under.child("name"), level, meta::dns1123_subdomain(level));
    }
}

/// A changed FlowSchema.
pub(super) fn schema_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        schema(new, errors);
    }
}

/// A new PriorityLevelConfiguration.
pub(super) fn level(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    let name = text(get(object, "metadata"), "name");
    let kind = text(spec, "type");
    let at = path.child("type");
    if (name == "exempt") != (kind == "Exempt") && matches!(kind, "Exempt" | "Limited") {
        let why = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.invalid(&at, kind, why);
    }
    match kind {
        "Exempt" => {
            shares(get(spec, "exempt"), &path.child("exempt"), errors);
            if has(spec, "limited") {
                errors.late(|errors| errors.forbidden(&path.child("limited"), ""));
            }
        }
        "Limited" => {
            if has(spec, "exempt") {
                errors.late(|errors| errors.forbidden(&path.child("exempt"), ""));
            }
            let limited = get(spec, "limited");
            let under = path.child("limited");
            if limited.is_null() {
                errors.required(&under, "");
            } else {
                shares(limited, &under, errors);
                self::limited(limited, &under, errors);
            }
        }
        "" => errors.required(&at, ""),
        other => errors.not_supported(&at, other, &["Exempt", "Limited"]),
    }
}

fn shares(holder: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(shares) = int(holder, "nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let why = "must be a non-negative integer";
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, why);
    }
    if let Some(percent) = int(holder, "lendablePercent") {
        errors.in_range(&path.child("lendablePercent"), percent, 0, 100);
    }
    if let Some(percent) = int(holder, "borrowingLimitPercent").filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.invalid(&path.child("borrowingLimitPercent"), percent, why);
    }
}

fn limited(limited: &Value, path: &Path<'_>, errors: &mut Errors) {
    let response = get(limited, "limitResponse");
    let path = path.child("limitResponse");
    let queuing = get(response, "queuing");
    let under = path.child("queuing");
    match text(response, "type") {
        "Reject" => {
            if !queuing.is_null() {
                errors.late(|errors| errors.forbidden(&under, ""));
            }
        }
        "Queue" => {
            if queuing.is_null() {
                errors.required(&under, "");
            } else {
                queues(queuing, &under, errors);
            }
        }
        "" => errors.required(&path.child("type"), ""),
        other => errors.not_supported(&path.child("type"), other, &["Queue", "Reject"]),
    }
}

fn queues(queuing: &Value, path: &Path<'_>, errors: &mut Errors) {
    let number = |key: &str| int(queuing, key).unwrap_or(0);
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), length, "must be positive");
    }
    let at_queues = path.child("queues");
    if queues <= 0 {
        errors.invalid(&at_queues, queues, "must be positive");
    } else if queues > MOST_QUEUES {
        let why = format!("must not be greater than {MOST_QUEUES}");
        errors.invalid(&at_queues, queues, &why);
    }
    let at_hand = path.child("handSize");
    if hand <= 0 {
        errors.invalid(&at_hand, hand, "must be positive");
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.invalid(&at_hand, hand, &why);
    } else {
        #[expect(clippy::cast_precision_loss, reason = "counts of queues are small")]
        let bits: f64 = (0..hand.min(64)).map(|i| ((queues - i) as f64).log2()).sum();
        if bits.ceil() > MOST_BITS {
            let why = format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be \
                 greater than 60"
            );
            errors.invalid(&at_hand, hand, &why);
        }
    }
}

/// A changed PriorityLevelConfiguration.
pub(super) fn level_update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        level(new, errors);
    }
}
