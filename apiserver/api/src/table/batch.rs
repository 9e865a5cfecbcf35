//! Jobs, and what starts them.

use jiff::Timestamp;
use serde_json::Value;

use super::row::{NONE, Row, UNSET, human_duration};

/// Cells of a Job.
pub(super) fn job(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = row.containers("/spec/template/spec");
    vec![
        row.name(),
        status(row).into(),
        completions(row).into(),
        duration(row).into(),
        row.age(),
        names,
        images,
        row.selector_or_none("/spec/selector").into(),
    ]
}

fn status(row: &Row<'_>) -> &'static str {
    let is = |condition| row.is_true(condition);
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if row.is_deleted() => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(row: &Row<'_>) -> String {
    let succeeded = row.int("/status/succeeded");
    match (row.get("/spec/completions"), row.int("/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, 2..) => format!("{succeeded}/1 of {}", row.int("/spec/parallelism")),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(row: &Row<'_>) -> String {
    let moment = |path: &str| row.text(path).parse::<Timestamp>().ok();
    let Some(start) = moment("/status/startTime") else { return String::new() };
    let end = moment("/status/completionTime").unwrap_or(row.now);
    human_duration(end.duration_since(start).as_secs())
}

/// Cells of a CronJob.
pub(super) fn cron_job(row: &Row<'_>) -> Vec<Value> {
    let [names, images] = row.containers("/spec/jobTemplate/spec/template/spec");
    let suspend = match row.get("/spec/suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => UNSET,
    };
    let last = match row.text("/status/lastScheduleTime") {
        "" => NONE.to_owned(),
        moment => row.since_text(moment),
    };
    vec![
        row.name(),
        row.text("/spec/schedule").into(),
        row.text_or("/spec/timeZone", NONE).into(),
        suspend.into(),
        row.count("/status/active").into(),
        last.into(),
        row.age(),
        names,
        images,
        row.selector_or_none("/spec/jobTemplate/spec/selector").into(),
    ]
}
