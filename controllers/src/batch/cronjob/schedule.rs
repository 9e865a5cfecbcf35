//! Cron schedules: minute, hour, day of month, month, day of week; or a name such as `@daily`; or
//! `@every 90s`.
//!
//! Days match when both day fields do, but when neither begins with `*`, one of them is enough.

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// Names of months, from 1.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
/// Names of days, from 0.
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// How far ahead a time is looked for.
const YEARS: i16 = 5;

/// A parsed schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// At times of the calendar.
    Calendar(Box<Calendar>),
    /// At intervals from the last time.
    Every(SignedDuration),
}

/// The times of a calendar schedule; one bit for each allowed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calendar {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day field begins with `*`: both must match.
    any_day: bool,
}

impl Schedule {
    /// Reads a schedule.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(interval) = text.strip_prefix("@every ") {
            let seconds = interval_seconds(interval.trim())
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| format!("failed to parse duration {text}"))?;
            return Ok(Self::Every(SignedDuration::from_secs(seconds)));
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => {
                return Err(format!("unrecognized descriptor: {other}"));
            }
            other => other,
        };
        let parts: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: {text}", parts.len()));
        };
        let star = |field: &str| field.starts_with('*') || field.starts_with('?');
        let mut weekday_bits = field(weekdays, 0, 7, &DAYS, 0)?;
        if weekday_bits & (1 << 7) != 0 {
            weekday_bits = weekday_bits & !(1 << 7) | 1;
        }
        Ok(Self::Calendar(Box::new(Calendar {
            minutes: field(minutes, 0, 59, &[], 0)?,
            hours: field(hours, 0, 23, &[], 0)?,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, &MONTHS, 1)?,
            weekdays: weekday_bits,
            any_day: star(days) || star(weekdays),
        })))
    }

    /// The first time after `after`; `None` when there is none within five years.
    pub(crate) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => {
                let second = Timestamp::from_second(after.as_second()).ok()?;
                second.checked_add(*interval).ok()
            }
            Self::Calendar(calendar) => calendar.next(after, zone),
        }
    }
}

impl Calendar {
    fn has_day(&self, date: civil::Date) -> bool {
        let day = self.days & (1 << date.day().unsigned_abs()) != 0;
        let weekday = date.weekday().to_sunday_zero_offset().unsigned_abs();
        let weekday = self.weekdays & (1 << weekday) != 0;
        if self.any_day { day && weekday } else { day || weekday }
    }

    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let local = after.to_zoned(zone.clone());
        let last_year = local.year() + YEARS;
        let mut date = local.date();
        let mut first = true;
        while date.year() <= last_year {
            if self.months & (1 << date.month().unsigned_abs()) == 0 {
                date = date.last_of_month().tomorrow().ok()?;
                first = false;
                continue;
            }
            if self.has_day(date)
                && let Some(found) = self.on_day(date, after, zone, first)
            {
                return Some(found);
            }
            date = date.tomorrow().ok()?;
            first = false;
        }
        None
    }

    /// The first time on a day that is after `after`; times that a change of clocks skips don't
    /// exist.
    fn on_day(
        &self,
        date: civil::Date,
        after: Timestamp,
        zone: &TimeZone,
        first: bool,
    ) -> Option<Timestamp> {
        let start = if first { after.to_zoned(zone.clone()).hour() } else { 0 };
        for hour in (start..24).filter(|hour| self.hours & (1 << hour.unsigned_abs()) != 0) {
            for minute in (0..60).filter(|one: &i8| self.minutes & (1 << one.unsigned_abs()) != 0) {
                let wall = date.at(hour, minute, 0, 0);
                let ambiguous = zone.to_ambiguous_timestamp(wall);
                if ambiguous.is_ambiguous()
                    && ambiguous
                        .later()
                        .ok()
                        .is_some_and(|later| later.to_zoned(zone.clone()).datetime() != wall)
                {
                    continue;
                }
                let found = ambiguous.compatible().ok()?;
                if found > after {
                    return Some(found);
                }
            }
        }
        None
    }
}

/// Reads a field into bits: lists of `*`, `a`, `a-b`, each with an optional `/step`.
fn field(text: &str, least: u32, most: u32, names: &[&str], base: u32) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(number(step, &[], 0)?)),
            None => (part, None),
        };
        let (first, last) = match range {
            "*" | "?" => (least, most.min(if names.len() == 7 { 6 } else { most })),
            _ => match range.split_once('-') {
                Some((first, last)) => (number(first, names, base)?, number(last, names, base)?),
                None => {
                    let one = number(range, names, base)?;
                    (one, if step.is_some() { most } else { one })
                }
            },
        };
        let step = step.unwrap_or(1);
        if first < least || last > most || first > last || step == 0 {
            return Err(format!("value out of range ({least} - {most}): {part}"));
        }
        for value in (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

fn number(text: &str, names: &[&str], base: u32) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Ok(u32::try_from(at).unwrap_or(0) + base);
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}"))
}

/// Reads `1h30m`.
fn interval_seconds(text: &str) -> Option<i64> {
    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let value: i64 = rest.get(..digits)?.parse().ok()?;
        let unit = rest.get(digits..)?;
        let end = unit.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit.len());
        total += value
            * match unit.get(..end)? {
                "h" => 3600,
                "m" => 60,
                "s" => 1,
                _ => return None,
            };
        rest = unit.get(end..)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, after: &str) -> Option<String> {
        let schedule = Schedule::parse(schedule).expect("valid");
        let after = after.parse().expect("a time");
        schedule.next(after, &TimeZone::UTC).map(|time| time.to_string())
    }

    #[test]
    fn the_next_time_follows_the_fields() {
        let after = "2026-01-31T10:30:20Z";
        let table = [
            ("* * * * *", "2026-01-31T10:31:00Z"),
            ("*/15 * * * *", "2026-01-31T10:45:00Z"),
            ("0 0 1 1 *", "2027-01-01T00:00:00Z"),
            ("@hourly", "2026-01-31T11:00:00Z"),
            ("0 9-17/4 * * mon-fri", "2026-02-02T09:00:00Z"),
            ("0 0 13 * fri", "2026-02-06T00:00:00Z"),
            ("5 4 * * sun", "2026-02-01T04:05:00Z"),
            ("0 0 * * 7", "2026-02-01T00:00:00Z"),
            ("@every 90s", "2026-01-31T10:31:50Z"),
        ];
        for (schedule, wanted) in table {
            assert_eq!(next(schedule, after).as_deref(), Some(wanted), "{schedule}");
        }
        assert_eq!(next("0 0 31 2 *", after), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "@never", "*/0 * * * *"]
        {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
