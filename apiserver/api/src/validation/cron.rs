//! CronJobs: schedules, time zones, and the Job that they make.

use serde_json::Value;

use super::{
    batch::job_spec,
    check::{Errors, Path, get, has, int, text},
    selectors,
};

/// Longest name: a Job's name adds eleven characters.
const NAME: usize = 52;

/// A new CronJob.
pub(super) fn create(object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    let path = Path::new("spec");
    schedule(spec, &path, errors);
    errors
        .not_negative(&path.child("startingDeadlineSeconds"), int(spec, "startingDeadlineSeconds"));
    zone(spec, &path, errors);
    let policy = path.child("concurrencyPolicy");
    match text(spec, "concurrencyPolicy") {
        "" => errors.required(&policy, ""),
        other => errors.one_of(&policy, other, &["Allow", "Forbid", "Replace"]),
    }
    template(get(spec, "jobTemplate"), &path.child("jobTemplate"), errors);
    for key in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.not_negative(&path.child(key), int(spec, key));
    }
    let name = text(get(object, "metadata"), "name");
    if name.len() > NAME {
        let metadata = Path::new("metadata");
        let why = format!("must be no more than {NAME} characters");
        errors.invalid(&metadata.child("name"), name, &why);
    }
}

fn template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let spec = get(template, "spec");
    let path = path.child("spec");
    job_spec(spec, &path, errors);
    if has(spec, "selector") {
        let shown = selectors::shown_selector(get(spec, "selector"));
        errors.invalid_raw(&path.child("selector"), shown, "`selector` will be auto-generated");
    }
    if get(spec, "manualSelector") == &Value::Bool(true) {
        errors.not_supported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}

fn schedule(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let schedule = text(spec, "schedule");
    let at = path.child("schedule");
    if schedule.is_empty() {
        errors.late(|errors| errors.required(&at, ""));
        return;
    }
    if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(&at, schedule, why);
        return;
    }
    if let Err(why) = parse(schedule) {
        errors.invalid(&at, schedule, &why);
    }
}

fn zone(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(zone) = get(spec, "timeZone").as_str() else { return };
    let at = path.child("timeZone");
    if zone.is_empty() {
        errors.invalid(&at, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in \
                   https://www.iana.org/time-zones";
        errors.invalid(&at, zone, why);
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(&at, zone, &format!("unknown time zone {zone}"));
    }
}

/// A field of a schedule: its least and greatest number, and names for numbers.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { low: 0, high: 59, names: &[] },
    Field { low: 0, high: 23, names: &[] },
    Field { low: 1, high: 31, names: &[] },
    Field { low: 1, high: 12, names: &MONTHS },
    Field { low: 0, high: 6, names: &DAYS },
];

/// Checks a schedule: five fields, or a word such as `@daily`.
fn parse(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        if known.contains(&word) {
            return Ok(());
        }
        if let Some(duration) = word.strip_prefix("every ") {
            let good = duration.bytes().next().is_some_and(|b| b.is_ascii_digit())
                && duration.ends_with(['s', 'm', 'h']);
            return if good {
                Ok(())
            } else {
                Err(format!(
                    "failed to parse duration {schedule}: time: invalid duration {duration:?}"
                ))
            };
        }
        return Err(format!("unrecognized descriptor: {schedule}"));
    }
    let parts: Vec<&str> = schedule.split_whitespace().collect();
    if parts.len() != 5 {
        let shown = parts.join(" ");
        return Err(format!("expected exactly 5 fields, found {}: [{shown}]", parts.len()));
    }
    for (part, field) in parts.iter().zip(&FIELDS) {
        for range in part.split(',') {
            parse_range(range, field)?;
        }
    }
    Ok(())
}

fn parse_range(range: &str, field: &Field) -> Result<(), String> {
    let parts: Vec<&str> = range.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (first, last) = if matches!(ends[0], "*" | "?") {
        (field.low, field.high)
    } else {
        let first = number(ends[0], field)?;
        match ends.as_slice() {
            [_] => (first, if parts.len() > 1 { field.high } else { first }),
            [_, end] => (first, number(end, field)?),
            _ => return Err(format!("too many hyphens: {range}")),
        }
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => number(step, &Field { low: 0, high: 0, names: &[] })?,
        _ => return Err(format!("too many slashes: {range}")),
    };
    if first < field.low {
        let low = field.low;
        return Err(format!("beginning of range ({first}) below minimum ({low}): {range}"));
    }
    if last > field.high {
        let high = field.high;
        return Err(format!("end of range ({last}) above maximum ({high}): {range}"));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {range}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {range}"));
    }
    Ok(())
}

fn number(text: &str, field: &Field) -> Result<u32, String> {
    let named = field.names.iter().position(|name| text.eq_ignore_ascii_case(name));
    if let Some(at) = named {
        return Ok(u32::try_from(at).expect("names are few") + field.low);
    }
    text.parse::<u32>().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })
}

/// A changed CronJob.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    if get(new, "spec") != get(old, "spec") {
        create(new, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_cron_does() {
        for good in ["* * * * *", "*/5 1-3 1,15 jan-mar mon", "@daily", "0 0 ? * 6"] {
            assert_eq!(parse(good), Ok(()), "{good}");
        }
        for (bad, want) in [
            ("nope", "expected exactly 5 fields, found 1: [nope]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
        ] {
            assert_eq!(parse(bad), Err(want.to_owned()));
        }
    }
}
