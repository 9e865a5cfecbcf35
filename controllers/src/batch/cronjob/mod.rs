//! CronJobs: Jobs that start by the clock.
//!
//! A Job's name is its schedule time in minutes since 1970, so that the same time can't start two.
//! Times that passed while nobody looked are caught up with one Job, for the most recent of them,
//! within `startingDeadlineSeconds`.

mod schedule;

use super::job;
use crate::{
    ctx::{Action, Ctx, Key, controller_of, owned},
    error::{Doing, Error},
    manager::{Controller, Kind},
    owners,
    watch::Watch,
};
use client::{DeleteOptions, Propagation};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use schedule::Schedule;
use std::{sync::Arc, time::Duration};

/// Annotation with the time that a Job was scheduled for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// So many missed times are told of as too many.
const MANY: usize = 100;
/// Clocks of writers may differ by this much.
const SLACK: Duration = Duration::from_millis(100);

/// The controller.
pub(crate) const DEF: Controller = Controller {
    name: "cronjob-controller",
    component: "cronjob-controller",
    account: Some("cronjob-controller"),
    kind: Kind::Reconciler { watch, reconcile: |ctx, key| Box::pin(reconcile(ctx, key)) },
};

fn watch(watch: &mut Watch<'_>) {
    owners::index(&watch.reads::<Job>());
    watch.own::<CronJob>();
    watch.owned::<Job>("CronJob");
}

async fn reconcile(ctx: Arc<Ctx>, key: Key) -> Result<Action, Error> {
    let Some(cron) = ctx.cache::<CronJob>().get(&key.namespace, &key.name) else {
        return Ok(Action::Done);
    };
    let uid = cron.metadata.uid.as_deref().unwrap_or_default();
    let mut jobs = owners::owned(&ctx.cache::<Job>(), uid);
    jobs.sort_by_key(|job| (job.metadata.creation_timestamp.clone(), job.metadata.name.clone()));
    let mut status = follow(&ctx, &cron, &jobs);
    for old in surplus(&cron.spec, &jobs) {
        remove(&ctx, &key, &cron, &old).await?;
    }
    let next = if cron.metadata.deletion_timestamp.is_some() || cron.spec.suspend == Some(true) {
        Ok(Action::Done)
    } else {
        start_due(&ctx, &key, &cron, &jobs, &mut status).await
    };
    if cron.status.clone().unwrap_or_default() != status {
        let mut cron = owned(&cron);
        cron.status = Some(status);
        ctx.update_status(&key, &cron).await?;
    }
    next
}

fn finish_time(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let completed = status.completion_time.as_ref().map(|time| time.0);
    let mut ends = status.conditions.iter().flatten();
    let end = ends.find(|one| matches!(one.type_.as_str(), "Complete" | "Failed"));
    completed.or_else(|| end?.last_transition_time.as_ref().map(|time| time.0))
}

/// The status that shows which Jobs run and which have ended.
fn follow(ctx: &Ctx, cron: &CronJob, jobs: &[Arc<Job>]) -> CronJobStatus {
    let mut status = cron.status.clone().unwrap_or_default();
    let mut active = status.active.take().unwrap_or_default();
    for job in jobs {
        let known = active.iter().position(|one| one.uid == job.metadata.uid);
        let name = job.metadata.name.as_deref().unwrap_or_default();
        match (known, job::is_finished(job)) {
            (Some(at), true) => {
                active.remove(at);
                let end = if job::is(job, "Complete") { "Complete" } else { "Failed" };
                let note = format!("Saw completed job: {name}, condition: {end}");
                ctx.normal(cron, "SawCompletedJob", &note);
            }
            (None, false) => {
                let note =
                    format!("Saw a job that the controller did not create or forgot: {name}");
                ctx.warning(cron, "UnexpectedJob", &note);
            }
            _ => {}
        }
        if job::is(job, "Complete") {
            let ended = finish_time(job);
            let before = status.last_successful_time.as_ref().map(|time| time.0);
            if ended > before {
                status.last_successful_time = ended.map(Time);
            }
        }
    }
    active.retain(|one| jobs.iter().any(|job| job.metadata.uid == one.uid));
    status.active = (!active.is_empty()).then_some(active);
    status
}

/// Ended Jobs beyond the history limits, the oldest first.
fn surplus(spec: &CronJobSpec, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let mut gone = Vec::new();
    for (condition, limit) in [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ] {
        let Some(limit) = limit else { continue };
        let ended: Vec<_> = jobs.iter().filter(|job| job::is(job, condition)).cloned().collect();
        let keep = usize::try_from(limit).unwrap_or(0);
        let count = ended.len().saturating_sub(keep);
        gone.extend(ended.into_iter().take(count));
    }
    gone
}

async fn remove(ctx: &Ctx, key: &Key, cron: &CronJob, job: &Job) -> Result<(), Error> {
    let policy = Some(Propagation::Background);
    let options = DeleteOptions { propagation_policy: policy, ..DeleteOptions::default() };
    ctx.delete_with(key, job, options).await.doing("remove a job")?;
    let name = job.metadata.name.as_deref().unwrap_or_default();
    ctx.normal(cron, "SuccessfulDelete", &format!("Deleted job {name}"));
    Ok(())
}

/// The times of a schedule around now.
#[derive(Debug, PartialEq)]
struct Due {
    /// The most recent time that has passed since the last Job.
    missed: Option<Timestamp>,
    /// More have passed than anybody would want to hear of.
    many: bool,
    /// The next time.
    next: Timestamp,
}

/// Finds them; `None` when the schedule never comes.
fn due(cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Due> {
    let created = cron.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let status = cron.status.as_ref();
    let last = status.and_then(|one| one.last_schedule_time.as_ref()).map(|time| time.0);
    let mut earliest = last.or(created).unwrap_or(now);
    if let Some(seconds) = cron.spec.starting_deadline_seconds {
        let deadline = now - SignedDuration::from_secs(seconds.clamp(0, 1 << 32));
        earliest = earliest.max(deadline);
    }
    let mut missed = None;
    let mut count = 0;
    let mut time = schedule.next(earliest, zone)?;
    while time <= now {
        missed = Some(time);
        count += 1;
        if count > MANY && last.or(created).is_some() {
            // Far behind: what passed lately is all that matters.
            let lately = schedule.next(now - SignedDuration::from_hours(24 * 366), zone)?;
            time = lately.max(time);
            let near = schedule.next(now - SignedDuration::from_hours(1), zone)?;
            if near <= now {
                time = near.max(time);
            }
        }
        time = schedule.next(time, zone)?;
    }
    Some(Due { missed, many: count > MANY, next: time })
}

/// The times of a CronJob and its time zone; tells when they make no sense.
fn read(ctx: &Ctx, cron: &CronJob, now: Timestamp) -> Option<(Due, TimeZone)> {
    let spec = &cron.spec;
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(why) => {
            let note = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            ctx.warning(cron, "UnparseableSchedule", &note);
            return None;
        }
    };
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => match TimeZone::get(name) {
            Ok(zone) => zone,
            Err(_) => {
                let note = format!("invalid timeZone: {name:?}: unknown time zone {name}");
                ctx.warning(cron, "UnknownTimeZone", &note);
                return None;
            }
        },
    };
    let Some(due) = due(cron, &schedule, &zone, now) else {
        let note = format!(
            "invalid schedule: {} : time difference between two schedules is less than 1 second",
            spec.schedule
        );
        ctx.warning(cron, "InvalidSchedule", &note);
        return None;
    };
    Some((due, zone))
}

async fn start_due(
    ctx: &Ctx,
    key: &Key,
    cron: &CronJob,
    jobs: &[Arc<Job>],
    status: &mut CronJobStatus,
) -> Result<Action, Error> {
    let spec = &cron.spec;
    let now = ctx.now();
    let Some((due, zone)) = read(ctx, cron, now) else { return Ok(Action::Done) };
    let wait = Duration::try_from(due.next.duration_since(now)).unwrap_or(Duration::ZERO);
    let next = Action::After(wait + SLACK);
    let Some(at) = due.missed else { return Ok(next) };
    if due.many {
        let note = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or \
                    check clock skew";
        ctx.warning(cron, "TooManyMissedTimes", note);
    }
    let active = status.active.clone().unwrap_or_default();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let note = "Not starting job because prior execution is running and concurrency policy \
                        is Forbid";
            ctx.normal(cron, "JobAlreadyActive", note);
            return Ok(next);
        }
        Some("Replace") => {
            for job in
                jobs.iter().filter(|job| active.iter().any(|one| one.uid == job.metadata.uid))
            {
                remove(ctx, key, cron, job).await?;
            }
            status.active = None;
        }
        _ => {}
    }
    let Some(made) = start(ctx, key, cron, make(cron, at, &zone)).await? else { return Ok(next) };
    let name = made.metadata.name.as_deref().unwrap_or_default();
    ctx.normal(cron, "SuccessfulCreate", &format!("Created job {name}"));
    if !job::is_finished(&made) {
        let reference = ObjectReference { field_path: None, ..client::events::reference(&made) };
        let list = status.active.get_or_insert_default();
        if !list.iter().any(|one| one.uid == reference.uid) {
            list.push(reference);
        }
    }
    status.last_schedule_time = Some(Time(at));
    Ok(next)
}

/// Makes a Job, unless it is there already; `None` when it can't be ours.
async fn start(ctx: &Ctx, key: &Key, cron: &CronJob, new: Job) -> Result<Option<Job>, Error> {
    let name = new.metadata.name.clone().unwrap_or_default();
    match ctx.create(key, &new).await {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.is_already_exists() => {
            // Started before a crash that came before the status was written.
            let there = ctx.client.get::<Job>(&key.namespace, &name).await;
            let there = there.doing("look at the job of that name")?;
            let uid = cron.metadata.uid.as_deref().unwrap_or_default();
            if !owners::is_controlled_by(&there.metadata, uid) {
                return Ok(None);
            }
            Ok(Some(there))
        }
        Err(error) if crate::apps::in_terminating_namespace(&error) => Ok(None),
        Err(source) => {
            ctx.warning(cron, "FailedCreate", &format!("Error creating job: {source}"));
            Err(Error::Request { doing: "start a job", source })
        }
    }
}

/// The Job for a time.
fn make(cron: &CronJob, at: Timestamp, zone: &TimeZone) -> Job {
    let template = &cron.spec.job_template;
    let meta = template.metadata.clone().unwrap_or_default();
    let name = cron.metadata.name.as_deref().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    let local = at.to_zoned(zone.clone());
    let text = if cron.spec.time_zone.is_some() && local.offset().seconds() != 0 {
        local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    } else {
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    annotations.insert(SCHEDULED.into(), text);
    Job {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{}", at.as_second().div_euclid(60))),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_of(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{merge, object};
    use serde_json::{Value, json};

    fn cron(over: Value) -> CronJob {
        let mut value = json!({"metadata": {"name": "cj", "namespace": "ns", "uid": "u"},
            "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {}}}}});
        merge(&mut value, over);
        object(value)
    }

    fn found(cron: &CronJob, now: &str) -> Option<Due> {
        let schedule = Schedule::parse(&cron.spec.schedule).expect("valid");
        due(cron, &schedule, &TimeZone::UTC, now.parse().expect("a time"))
    }

    #[test]
    fn a_missed_time_is_caught_up_within_the_deadline() {
        let last = json!({"status": {"lastScheduleTime": "2025-06-01T00:00:00Z"}});
        let now = "2026-06-01T00:00:00Z";
        let missed: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let due = found(&cron(last.clone()), now).expect("it comes");
        assert_eq!(due.missed, Some(missed));
        let mut strict = last;
        merge(&mut strict, json!({"spec": {"startingDeadlineSeconds": 20}}));
        assert_eq!(found(&cron(strict), now).expect("it comes").missed, None);
        let never = cron(json!({"spec": {"schedule": "0 0 31 2 *"}}));
        assert_eq!(found(&never, now), None);
    }

    #[test]
    fn many_missed_times_start_the_most_recent() {
        let minutely = cron(json!({"spec": {"schedule": "* * * * *"},
            "status": {"lastScheduleTime": "2025-01-01T00:00:00Z"}}));
        let due = found(&minutely, "2026-06-01T00:00:30Z").expect("it comes");
        let wanted: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
        assert_eq!((due.missed, due.many), (Some(wanted), true));
    }

    #[test]
    fn names_are_minutes_and_times_are_local() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        let cron = cron(json!({"spec": {"timeZone": "America/New_York"}}));
        let job = make(&cron, "2026-01-01T05:00:00Z".parse().expect("a time"), &zone);
        assert_eq!(job.metadata.name.as_deref(), Some("cj-29454060"));
        let annotations = job.metadata.annotations.expect("one");
        assert_eq!(annotations[SCHEDULED], "2026-01-01T00:00:00-05:00");
    }
}
