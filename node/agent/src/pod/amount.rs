//! Quantities as integers: all that the node does with them is compare and divide.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;

/// A list of resources as the API has it.
pub(crate) type List = BTreeMap<String, Quantity>;

/// Units of a quantity per thousand, rounded up.
pub(crate) fn milli(quantity: &Quantity) -> i64 {
    scaled(&quantity.0, 1000)
}

/// A quantity in whole units, rounded up.
pub(crate) fn whole(quantity: &Quantity) -> i64 {
    scaled(&quantity.0, 1)
}

/// A resource of a list in whole units, if it is there.
pub(crate) fn whole_of(list: Option<&List>, name: &str) -> Option<i64> {
    list?.get(name).map(whole)
}

/// A resource of a list in thousandths, if it is there.
pub(crate) fn milli_of(list: Option<&List>, name: &str) -> Option<i64> {
    list?.get(name).map(milli)
}

/// A quantity times `scale`, rounded up. The API server has validated it; what cannot be read
/// counts as zero.
fn scaled(text: &str, scale: i128) -> i64 {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // `1e3` and `1E3` are numbers, `1E` is an exa.
    let (number, suffix) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) if exponent.parse::<i32>().is_ok() => {
            return exponential(number, exponent.parse().unwrap_or(0), scale);
        }
        _ => (digits, &text[digits.len()..]),
    };
    let (factor, divisor) = match suffix {
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => (1, 1),
    };
    fraction(number, factor * scale, divisor)
}

/// A number with a decimal exponent.
fn exponential(number: &str, exponent: i32, scale: i128) -> i64 {
    let power = 10_i128.pow(exponent.unsigned_abs().min(18));
    match exponent >= 0 {
        true => fraction(number, power * scale, 1),
        false => fraction(number, scale, power),
    }
}

/// A decimal number times `factor` over `divisor`, rounded up.
fn fraction(number: &str, factor: i128, divisor: i128) -> i64 {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = &part[..part.len().min(9)];
    let (negative, whole) = match whole.strip_prefix('-') {
        Some(whole) => (true, whole),
        None => (false, whole.trim_start_matches('+')),
    };
    let digits: i128 = format!("{whole}{part}").parse().unwrap_or(0);
    let divisor = divisor * 10_i128.pow(u32::try_from(part.len()).unwrap_or(0));
    let product = digits.saturating_mul(factor);
    let value = (product + divisor - 1) / divisor;
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_become_integers_rounded_up() {
        let of = |text: &str| Quantity(text.into());
        assert_eq!(milli(&of("100m")), 100);
        assert_eq!(milli(&of("1.5")), 1500);
        assert_eq!(milli(&of("1")), 1000);
        assert_eq!(whole(&of("1500m")), 2);
        assert_eq!(whole(&of("64Mi")), 64 << 20);
        assert_eq!(whole(&of("1e3")), 1000);
        assert_eq!(whole(&of("2E")), 2_000_000_000_000_000_000);
        assert_eq!(whole(&of("0.5Gi")), 512 << 20);
        assert_eq!(milli(&of("100u")), 1);
        assert_eq!(whole(&of("rubbish")), 0);
    }
}
