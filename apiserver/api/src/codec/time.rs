//! Times: RFC 3339 in Go's reading, with Go's complaints, to the canonical text.
//!
//! `Time` is stored with whole seconds in UTC; `MicroTime` needs exactly six decimals. The zero
//! time (year 1) is nil: it encodes as null.

/// Layout that errors quote for `Time`.
const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
/// Layout that errors quote for `MicroTime`.
const RFC3339_MICRO: &str = "2006-01-02T15:04:05.000000Z07:00";
/// Seconds of year 1 relative to 1970.
const ZERO_SECONDS: i64 = -62_135_596_800;

/// A point in time: seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant {
    /// Seconds since 1970 (UTC).
    pub(super) seconds: i64,
    /// Nanoseconds within the second.
    pub(super) nanos: u32,
}

/// Canonical text of a `Time`; `None` is the zero time.
pub fn canonical_time(text: &str) -> Result<Option<String>, String> {
    let at = parse(text, false)?;
    Ok((!at.is_zero()).then(|| at.text()))
}

/// Canonical text of a `MicroTime`; `None` is the zero time.
pub fn canonical_micro_time(text: &str) -> Result<Option<String>, String> {
    let at = parse(text, true)?;
    Ok((!at.is_zero()).then(|| at.micro_text()))
}

impl Instant {
    /// The zero time of Go.
    pub(super) fn is_zero(self) -> bool {
        self.seconds == ZERO_SECONDS && self.nanos == 0
    }

    /// `2006-01-02T15:04:05Z`
    pub(super) fn text(self) -> String {
        format!("{}Z", self.to_seconds())
    }

    /// `2006-01-02T15:04:05.000000Z`
    pub(super) fn micro_text(self) -> String {
        format!("{}.{:06}Z", self.to_seconds(), self.nanos / 1000)
    }

    fn to_seconds(self) -> String {
        let (days, rest) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}

/// Year, month and day of a day count since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// Day count since 1970 of a date.
fn day_count(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + doe - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The rest of the text, and what errors quote.
struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'a str,
}

impl Cursor<'_> {
    fn fail(&self, rest: &str, element: &str) -> String {
        let (text, layout) = (self.text, self.layout);
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {element:?}")
    }

    fn out_of_range(&self, what: &str) -> String {
        format!("parsing time {:?}: {what} out of range", self.text)
    }

    fn digits(&mut self, count: usize, element: &str) -> Result<i64, String> {
        let head = self.rest.as_bytes().get(..count);
        match head {
            Some(digits) if digits.iter().all(u8::is_ascii_digit) => {
                let value = digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0'));
                self.rest = &self.rest[count..];
                Ok(value)
            }
            _ => Err(self.fail(self.rest, element)),
        }
    }

    fn expect(&mut self, separator: char) -> Result<(), String> {
        match self.rest.strip_prefix(separator) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.fail(self.rest, &separator.to_string())),
        }
    }

    /// `.123456`, exactly six with `micro`; any number of digits, or none, else.
    fn fraction(&mut self, micro: bool) -> Result<u32, String> {
        let bytes = self.rest.as_bytes();
        let dotted = matches!(bytes.first(), Some(b'.' | b','));
        let count = bytes.iter().skip(1).take_while(|b| b.is_ascii_digit()).count();
        if micro && (!dotted || count != 6) {
            return Err(self.fail(self.rest, ".000000"));
        }
        if !dotted || count == 0 {
            return Ok(0);
        }
        let digits = &self.rest[1..=count];
        self.rest = &self.rest[count + 1..];
        let nanos: String = digits.chars().chain("000000000".chars()).take(9).collect();
        Ok(nanos.parse().unwrap_or(0))
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let whole = self.rest;
        let sign = match self.rest.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.fail(whole, "Z07:00")),
        };
        let bytes = whole.as_bytes();
        let pair = |at: usize| -> Option<i64> {
            let (a, b) = (bytes.get(at)?, bytes.get(at + 1)?);
            (a.is_ascii_digit() && b.is_ascii_digit())
                .then(|| i64::from(a - b'0') * 10 + i64::from(b - b'0'))
        };
        match (pair(1), bytes.get(3), pair(4)) {
            (Some(hours), Some(b':'), Some(minutes)) if hours <= 24 && minutes < 60 => {
                self.rest = &whole[6..];
                Ok(sign * (hours * 3600 + minutes * 60))
            }
            _ => Err(self.fail(whole, "Z07:00")),
        }
    }
}

/// Parses as Go's `time.Parse` does with one of the two layouts.
pub(super) fn parse(text: &str, micro: bool) -> Result<Instant, String> {
    let layout = if micro { RFC3339_MICRO } else { RFC3339 };
    let mut c = Cursor { text, rest: text, layout };
    let year = c.digits(4, "2006")?;
    c.expect('-')?;
    let month = c.digits(2, "01")?;
    if !(1..=12).contains(&month) {
        return Err(c.out_of_range("month"));
    }
    c.expect('-')?;
    let day = c.digits(2, "02")?;
    c.expect('T')?;
    let hour = c.digits(2, "15")?;
    if hour > 23 {
        return Err(c.out_of_range("hour"));
    }
    c.expect(':')?;
    let minute = c.digits(2, "04")?;
    if minute > 59 {
        return Err(c.out_of_range("minute"));
    }
    c.expect(':')?;
    let second = c.digits(2, "05")?;
    if second > 59 {
        return Err(c.out_of_range("second"));
    }
    let nanos = c.fraction(micro)?;
    let offset = c.zone()?;
    if !c.rest.is_empty() {
        return Err(format!("parsing time {text:?}: extra text: {:?}", c.rest));
    }
    if day < 1 || day > days_in(year, month) {
        return Err(c.out_of_range("day"));
    }
    let seconds = day_count(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Ok(Instant { seconds: seconds - offset, nanos })
}
