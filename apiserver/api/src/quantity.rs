//! Resource quantities: exact decimal numbers with a suffix, in one canonical text.
//!
//! A quantity is `mantissa × 10^exponent`, so that `100m`, `1.5Gi` and `1e3` all stay exact. The
//! format that it was written in (decimal, binary, exponent) decides the suffix of its canonical
//! text: `1000m` is `1`, `1.5Gi` is `1536Mi`, `1e3` stays `1e3`.
//!
//! Bounds: at most 2^63-1 and no finer than nano, as upstream caps and rounds what it can't keep
//! in its short form.

use std::{cmp::Ordering, fmt, str::FromStr};

/// Digits that upstream keeps without rounding or capping.
const SHORT_DIGITS: i32 = 18;
/// The finest power of ten.
const NANO: i32 = -9;
/// The largest value of a number that is not short.
const MOST: i128 = i64::MAX as i128;
/// Suffixes of powers of ten.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// Suffixes of powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Why a text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has not the form of one.
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// The number can't be read.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `100m`, `2k`
    #[default]
    Decimal,
    /// `512Mi`
    Binary,
    /// `1e3`
    Exponent,
}

/// An exact number with a format. Equality and order are those of the number.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    format: Format,
}

impl Quantity {
    /// A whole number.
    pub fn from_value(value: i64, format: Format) -> Quantity {
        Quantity::of(i128::from(value), 0, format)
    }

    /// A number of thousandths.
    pub fn from_milli(milli: i64, format: Format) -> Quantity {
        Quantity::of(i128::from(milli), -3, format)
    }

    fn of(mut mantissa: i128, mut exponent: i32, format: Format) -> Quantity {
        if mantissa == 0 {
            return Quantity { mantissa: 0, exponent: 0, format };
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent += 1;
        }
        Quantity { mantissa, exponent, format }
    }

    /// How it is written.
    pub fn format(self) -> Format {
        self.format
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(self) -> i32 {
        i32::try_from(self.mantissa.signum()).expect("a sign is small")
    }

    /// The number in units of `10^scale`, rounded away from zero, capped to what fits.
    pub fn scaled_value(self, scale: i32) -> i64 {
        let (value, _) = self.in_units(scale);
        let least = i128::from(i64::MIN);
        i64::try_from(value.clamp(least, MOST)).expect("clamped to the range right above")
    }

    /// The whole number, rounded up.
    pub fn value(self) -> i64 {
        self.scaled_value(0)
    }

    /// Thousandths, rounded up.
    pub fn milli_value(self) -> i64 {
        self.scaled_value(-3)
    }

    /// Whether it is a multiple of `10^scale`.
    pub fn is_exact(self, scale: i32) -> bool {
        self.in_units(scale).1
    }

    /// The number rounded away from zero to a multiple of `10^scale`.
    #[must_use]
    pub fn round_up(self, scale: i32) -> Quantity {
        match self.in_units(scale) {
            (_, true) => self,
            (value, false) => Quantity::of(value, scale, self.format),
        }
    }

    /// The number in units of `10^scale` rounded away from zero, and whether that is exact.
    fn in_units(self, scale: i32) -> (i128, bool) {
        let shift = i64::from(self.exponent) - i64::from(scale);
        if shift >= 0 {
            let power = u32::try_from(shift).ok().and_then(|s| 10i128.checked_pow(s));
            let value = power.and_then(|p| self.mantissa.checked_mul(p));
            let most = if self.mantissa < 0 { i128::MIN } else { i128::MAX };
            return (value.unwrap_or(if self.mantissa == 0 { 0 } else { most }), true);
        }
        let power = u32::try_from(-shift).ok().and_then(|s| 10i128.checked_pow(s));
        let Some(power) = power else { return (self.mantissa.signum(), self.mantissa == 0) };
        let (whole, rest) = (self.mantissa / power, self.mantissa % power);
        (whole + rest.signum(), rest == 0)
    }

    /// The sum; the format is that of the first that is not zero.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        let scale = self.exponent.min(other.exponent);
        let (a, b) = (self.in_units(scale).0, other.in_units(scale).0);
        Quantity::of(a.saturating_add(b), scale, format)
    }

    /// The difference; the format is that of the first that is not zero.
    #[must_use]
    pub fn minus(self, other: Quantity) -> Quantity {
        self.plus(other.negated())
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(self) -> Quantity {
        Quantity { mantissa: -self.mantissa, ..self }
    }

    /// The product with a whole number.
    #[must_use]
    pub fn times(self, factor: i64) -> Quantity {
        let mantissa = self.mantissa.saturating_mul(i128::from(factor));
        Quantity::of(mantissa, self.exponent, self.format)
    }

    fn is_between(self, low: i64, high: i64) -> bool {
        self > Quantity::from_value(low, self.format)
            && self < Quantity::from_value(high, self.format)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let signs = self.mantissa.signum().cmp(&other.mantissa.signum());
        if signs != Ordering::Equal || self.exponent == other.exponent || self.mantissa == 0 {
            return signs.then(self.mantissa.cmp(&other.mantissa));
        }
        let scale = self.exponent.min(other.exponent);
        self.in_units(scale).0.cmp(&other.in_units(scale).0)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, Error> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = rest.split_at(digits(rest));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let suffix = rest;
    let letters = |c: u8| b"eEinumkKMGTP".contains(&c);
    let tail = &rest[rest.bytes().take_while(|c| letters(*c)).count()..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if tail.bytes().all(|c| c.is_ascii_digit()) {
        Ok(Parts { negative, whole, fraction, suffix })
    } else {
        Err(Error::Format)
    }
}

/// Base, exponent and format that a suffix stands for.
fn suffix(text: &str) -> Result<(u32, i32, Format), Error> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == text) {
        return Ok((10, *exponent, Format::Decimal));
    }
    if let Some(at) = BINARY.iter().position(|name| *name == text) {
        let exponent = i32::try_from(at * 10).expect("there are seven binary suffixes");
        return Ok((2, exponent, Format::Binary));
    }
    let number = text.strip_prefix(['e', 'E']).ok_or(Error::Suffix)?;
    let exponent: i64 = number.parse().map_err(|_| Error::Suffix)?;
    let exponent = i32::try_from(exponent).map_err(|_| Error::Suffix)?;
    Ok((10, exponent, Format::Exponent))
}

impl FromStr for Quantity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Quantity, Error> {
        if text.is_empty() {
            return Err(Error::Format);
        }
        let parts = split(text)?;
        let (base, exponent, format) = suffix(parts.suffix)?;
        let digits = format!("{}{}", parts.whole, parts.fraction);
        let digits = digits.trim_start_matches('0');
        let count = i32::try_from(parts.fraction.len()).map_err(|_| Error::Number)?;
        // Digits that i128 can't hold lie beyond the cap or below the finest step.
        let mut scale = -count;
        let kept = digits.len().min(36);
        let mut mantissa: i128 =
            if kept == 0 { 0 } else { digits[..kept].parse().map_err(|_| Error::Number)? };
        let dropped = &digits[kept..];
        scale += i32::try_from(dropped.len()).map_err(|_| Error::Number)?;
        if dropped.bytes().any(|digit| digit != b'0') {
            mantissa += 1;
        }
        let mut short = i32::try_from(digits.len()).is_ok_and(|n| n <= SHORT_DIGITS);
        if base == 2 {
            let power = 1i128 << exponent;
            short = false;
            mantissa = mantissa.checked_mul(power).unwrap_or(i128::MAX);
        } else {
            scale = scale.checked_add(exponent).ok_or(Error::Suffix)?;
        }
        let mut quantity = Quantity::of(mantissa, scale, format);
        if !short || scale < NANO {
            quantity = bounded(quantity);
        }
        Ok(if parts.negative { quantity.negated() } else { quantity })
    }
}

/// Rounds up to nano and caps at the largest value.
fn bounded(quantity: Quantity) -> Quantity {
    let mut out = quantity.round_up(NANO);
    if out > Quantity::of(MOST, 0, out.format) {
        out = Quantity::of(MOST, 0, out.format);
    }
    if out.format == Format::Binary && !out.is_zero() && out < Quantity::of(1, 0, out.format) {
        out.format = Format::Decimal;
    }
    out
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let binary =
            self.format == Format::Binary && !self.is_between(-1024, 1024) && self.is_exact(0);
        if binary {
            let (mut number, mut at) = (self.in_units(0).0, 0);
            while number % 1024 == 0 && at + 1 < BINARY.len() {
                number /= 1024;
                at += 1;
            }
            return write!(f, "{number}{}", BINARY[at]);
        }
        let over = self.exponent.rem_euclid(3);
        let exponent = self.exponent - over;
        let number = self.mantissa
            * if over == 0 {
                1
            } else if over == 1 {
                10
            } else {
                100
            };
        let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent);
        match (self.format, suffix) {
            (Format::Exponent, _) if exponent == 0 => write!(f, "{number}"),
            (Format::Decimal | Format::Binary, Some((suffix, _))) => write!(f, "{number}{suffix}"),
            _ => write!(f, "{number}e{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Quantity>().map_or_else(|error| error.to_string(), |q| q.to_string())
    }

    #[test]
    fn texts_become_canonical() {
        for (text, want) in [
            ("0", "0"),
            ("1000m", "1"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1e3"),
            ("1024", "1024"),
            ("2048Mi", "2Gi"),
            ("0.1", "100m"),
            ("0.5Gi", "512Mi"),
            ("1500m", "1500m"),
            ("100k", "100k"),
            ("1000k", "1M"),
            ("-1", "-1"),
            ("0.5Ki", "512"),
            ("1Ki", "1Ki"),
            ("0.1n", "1n"),
            ("00012", "12"),
            (".5", "500m"),
            ("1.", "1"),
            ("1E3", "1e3"),
            ("12e2", "1200"),
            ("9223372036854775807", "9223372036854775807"),
            ("1E", "1E"),
            ("99999999999999999999", "9223372036854775807"),
            ("1.0000000001", "1000000001n"),
            ("-0.3Ki", "-307200m"),
            ("10000Ei", "9223372036854775807"),
            ("1e0", "1"),
        ] {
            assert_eq!(canonical(text), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_says_so() {
        for text in ["", "1GB", "a", "1.2.3", "1 "] {
            assert_eq!(text.parse::<Quantity>(), Err(Error::Format), "{text}");
        }
        for text in ["1iK", "1mm", "1e", "--1"] {
            assert_eq!(text.parse::<Quantity>(), Err(Error::Suffix), "{text}");
        }
    }

    #[test]
    fn numbers_compare_and_add_across_formats() {
        let q = |text: &str| text.parse::<Quantity>().expect("a quantity");
        assert_eq!(q("1000m"), q("1"));
        assert!(q("1Gi") > q("1G"));
        assert!(q("-1") < q("1n"));
        assert!(q("1e100") > q("9E"));
        assert_eq!(q("100m").plus(q("1")).to_string(), "1100m");
        assert_eq!(q("1Gi").minus(q("512Mi")).to_string(), "512Mi");
        assert_eq!(q("1500m").value(), 2);
        assert_eq!(q("1.5").milli_value(), 1500);
        assert_eq!(q("0.0001").round_up(-3).to_string(), "1m");
        assert_eq!(q("250m").times(4).to_string(), "1");
    }
}
