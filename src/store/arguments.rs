//! The command line of `trireme store` as etcd's users write it: one dash or two, flags of parts
//! that are not here, a config file that counts alone. What is left is for the parser of all
//! commands.

use anyhow::{Result, bail};
use std::ffi::OsString;
use std::path::Path;

use super::config_file;

/// The name under which the binary is this command.
const ETCD: &str = "etcd";
/// This command.
const COMMAND: &str = "store";

/// A flag that is understood without having a meaning here, and whether it takes a value.
struct Idle(&'static str, bool);

/// Flags that tune what is built otherwise here, or guard what is always guarded here.
const IDLE: &[Idle] = &[
    Idle("snapshot-count", true),
    Idle("initial-election-tick-advance", false),
    Idle("max-snapshots", true),
    Idle("max-wals", true),
    Idle("memory-mlock", false),
    Idle("backend-bbolt-freelist-type", true),
    Idle("backend-batch-interval", true),
    Idle("backend-batch-limit", true),
    Idle("max-concurrent-streams", true),
    Idle("grpc-keepalive-min-time", true),
    Idle("grpc-keepalive-interval", true),
    Idle("grpc-keepalive-timeout", true),
    Idle("socket-reuse-port", false),
    Idle("socket-reuse-address", false),
    Idle("enable-grpc-gateway", false),
    Idle("raft-read-timeout", true),
    Idle("raft-write-timeout", true),
    Idle("pre-vote", false),
    Idle("v2-deprecation", true),
    Idle("client-cert-file", true),
    Idle("client-key-file", true),
    Idle("peer-client-cert-auth", false),
    Idle("peer-skip-client-san-verification", false),
    Idle("self-signed-cert-validity", true),
    Idle("enable-pprof", false),
    Idle("metrics", true),
    Idle("log-outputs", true),
    Idle("enable-log-rotation", false),
    Idle("log-rotation-config-json", true),
    Idle("enable-distributed-tracing", false),
    Idle("distributed-tracing-address", true),
    Idle("distributed-tracing-service-name", true),
    Idle("distributed-tracing-instance-id", true),
    Idle("distributed-tracing-sampling-rate", true),
    Idle("compaction-batch-limit", true),
    Idle("compaction-sleep-interval", true),
    Idle("bootstrap-defrag-threshold-megabytes", true),
    Idle("downgrade-check-time", true),
    // These say how to reach a discovery service, and nothing without one.
    Idle("discovery-cacert", true),
    Idle("discovery-cert", true),
    Idle("discovery-key", true),
    Idle("discovery-user", true),
    Idle("discovery-password", true),
    Idle("discovery-dial-timeout", true),
    Idle("discovery-request-timeout", true),
    Idle("discovery-keepalive-time", true),
    Idle("discovery-keepalive-timeout", true),
    Idle("discovery-insecure-transport", false),
    Idle("discovery-insecure-skip-tls-verify", false),
    Idle("discovery-fallback", true),
];

/// Flags about the log, their variables, and what they are in etcd when not given.
const LOG_DEFAULTS: &[(&str, &str, &str)] =
    &[("log-format", "ETCD_LOG_FORMAT", "json"), ("log-level", "ETCD_LOG_LEVEL", "info")];

/// What etcd says of flags that it will have no more.
const DEPRECATED: &[(&str, &str)] = &[
    ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
    ("max-wals", "--max-wals is deprecated in 3.6 and will be decommissioned in 3.8."),
    (
        "v2-deprecation",
        "--v2-deprecation is deprecated and scheduled for removal in v3.8. \
         The default value is enforced, ignoring user input.",
    ),
];

/// A flag that would be dangerous to pass over, and what to do instead. With an empty value, or
/// one of etcd's defaults, it is only idle.
struct Missing(&'static str, bool, &'static str);

const NO_DISCOVERY: &str = "there is no discovery; name all members with --initial-cluster";

const MISSING: &[Missing] = &[
    Missing("wal-dir", true, "the log lies in --data-dir; mount another disk at DIR/raft"),
    Missing("unsafe-no-fsync", false, "every write is on disk before it is answered"),
    Missing("discovery", true, NO_DISCOVERY),
    Missing("discovery-token", true, NO_DISCOVERY),
    Missing("discovery-endpoints", true, NO_DISCOVERY),
    Missing("discovery-srv", true, NO_DISCOVERY),
    Missing("discovery-srv-name", true, NO_DISCOVERY),
    Missing("discovery-proxy", true, NO_DISCOVERY),
];

/// Values under which a flag of [`MISSING`] asks for nothing.
const NOTHING: &[&str] = &["", "false", "*"];

/// A command line that the parser of all commands understands.
pub(crate) struct Prepared {
    /// The arguments, the binary's name first.
    pub(crate) args: Vec<OsString>,
    /// Whether the environment counts: a config file counts alone.
    pub(crate) uses_environment: bool,
    /// Whether nothing is wanted but etcd's version.
    pub(crate) wants_version: bool,
    /// What is to be said of the flags.
    pub(crate) remarks: Vec<&'static str>,
}

impl Prepared {
    /// Arguments as they are.
    fn plain(args: Vec<OsString>) -> Self {
        Self { args, uses_environment: true, wants_version: false, remarks: Vec::new() }
    }
}

/// Prepares a command line, whichever command it is for.
pub(crate) fn prepare(mut args: Vec<OsString>) -> Result<Prepared> {
    let name = args.first().map(Path::new).and_then(Path::file_name).map(ToOwned::to_owned);
    let is_etcd = name.is_some_and(|name| name == ETCD);
    if is_etcd {
        args.insert(1, COMMAND.into());
        let is_version = |arg: &OsString| arg == "--version" || arg == "-version";
        if args.get(2).is_some_and(is_version) {
            return Ok(Prepared { wants_version: true, ..Prepared::plain(args) });
        }
    }
    let at = args.iter().skip(1).position(|arg| !arg.to_string_lossy().starts_with('-'));
    let behind = match at {
        Some(at) if args[at + 1] == COMMAND => at + 2,
        _ => return Ok(Prepared::plain(args)),
    };
    let given = args.split_off(behind);
    let mut flags = given.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let file = take_config_file(&mut flags)?;
    let uses_environment = file.is_none();
    if let Some(path) = file {
        flags = config_file::read(Path::new(&path))?;
    }
    let has_command = flags.first().is_some_and(|first| !first.starts_with('-'));
    if is_etcd && !has_command {
        args.extend(log_defaults(uses_environment).map(OsString::from));
    }
    let remarks = remarks(&flags);
    args.extend(clean(flags)?.into_iter().map(OsString::from));
    Ok(Prepared { uses_environment, remarks, ..Prepared::plain(args) })
}

/// How an etcd logs when no flag says it.
fn log_defaults(uses_environment: bool) -> impl Iterator<Item = String> {
    LOG_DEFAULTS.iter().map(move |(flag, variable, default)| {
        let set = uses_environment.then(|| std::env::var(variable).ok()).flatten();
        format!(
            "--{flag}={}",
            set.filter(|value| !value.is_empty()).unwrap_or((*default).to_owned())
        )
    })
}

/// What is to be said of flags.
fn remarks(flags: &[String]) -> Vec<&'static str> {
    let names = || flags.iter().filter_map(|flag| Some(split(flag)?.0));
    DEPRECATED
        .iter()
        .filter(|(old, _)| names().any(|name| name == *old))
        .map(|(_, text)| *text)
        .collect()
}

/// The file that `--config-file` names, and only that flag's place in the list is gone.
fn take_config_file(flags: &mut Vec<String>) -> Result<Option<String>> {
    let name = "config-file";
    let is_it = |flag: &String| split(flag).is_some_and(|(known, _)| known == name);
    let Some(at) = flags.iter().position(is_it) else {
        return Ok(std::env::var("ETCD_CONFIG_FILE").ok().filter(|path| !path.is_empty()));
    };
    let flag = flags.remove(at);
    match split(&flag) {
        Some((_, Some(path))) => Ok(Some(path.to_owned())),
        _ if at < flags.len() => Ok(Some(flags.remove(at))),
        _ => bail!("--config-file needs the path of a YAML file with settings"),
    }
}

/// A flag's name, and its value if it stands in the same argument.
fn split(arg: &str) -> Option<(&str, Option<&str>)> {
    let flag = arg.strip_prefix("--").or_else(|| {
        let flag = arg.strip_prefix('-')?;
        // One dash and one letter is a short flag.
        (flag.split('=').next().unwrap_or(flag).len() > 1).then_some(flag)
    })?;
    Some(match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    })
}

/// Drops what means nothing here, and gives the rest two dashes.
fn clean(flags: Vec<String>) -> Result<Vec<String>> {
    let mut cleaned = Vec::new();
    let mut flags = flags.into_iter().peekable();
    while let Some(arg) = flags.next() {
        let Some((name, value)) = split(&arg) else {
            cleaned.push(arg);
            continue;
        };
        let idle = IDLE.iter().find(|idle| idle.0 == name).map(|idle| (idle.1, None));
        let missing = MISSING.iter().find(|missing| missing.0 == name);
        let missing = missing.map(|missing| (missing.1, Some(missing.2)));
        let Some((takes_value, instead)) = idle.or(missing) else {
            cleaned.push(match value {
                Some(value) => format!("--{name}={value}"),
                None => format!("--{name}"),
            });
            continue;
        };
        let value = match value {
            Some(value) => value.to_owned(),
            None if takes_value => match flags.next() {
                Some(value) => value,
                None => bail!("--{name} needs a value"),
            },
            None => "true".to_owned(),
        };
        if let Some(instead) = instead
            && !NOTHING.contains(&value.as_str())
        {
            bail!("--{name} is not supported: {instead}");
        }
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(args: &[&str]) -> Result<Vec<String>> {
        let prepared = prepare(args.iter().map(OsString::from).collect())?;
        Ok(prepared.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_binary_called_etcd_is_the_store() {
        let args = prepared(&["/x/etcd", "-name", "a", "--pre-vote=true", "--snapshot-count", "5"]);
        let log = ["--log-format=json", "--log-level=info"];
        assert_eq!(
            args.expect("fine"),
            [&["/x/etcd", "store"][..], &log, &["--name", "a"]].concat()
        );
        let dump = ["etcd", "dump-log", "--data-dir", "d"];
        assert_eq!(
            prepared(&dump).expect("fine"),
            ["etcd", "store", "dump-log", "--data-dir", "d"]
        );
        let version = prepare(vec!["etcd".into(), "--version".into()]).expect("fine");
        assert!(version.wants_version);
    }

    #[test]
    fn other_commands_keep_their_arguments() {
        let args = ["trireme", "--log", "info", "server", "-h", "--metrics", "x"];
        assert_eq!(prepared(&args).expect("fine"), args);
    }

    #[test]
    fn what_is_missing_says_what_to_do_unless_it_asks_for_nothing() {
        let refused = prepared(&["trireme", "store", "--wal-dir", "/w"]).expect_err("refused");
        assert!(refused.to_string().contains("--wal-dir is not supported: the log lies in"));
        let args = prepared(&["trireme", "store", "--wal-dir=", "--discovery", "", "--x=1"]);
        assert_eq!(args.expect("fine"), ["trireme", "store", "--x=1"]);
        assert!(prepared(&["trireme", "store", "--metrics"]).is_err());
    }

    #[test]
    fn flags_that_etcd_will_drop_are_remarked_on() {
        let args = ["etcd", "--max-snapshots=10", "--name", "a"].map(OsString::from);
        let remarks = prepare(args.into()).expect("fine").remarks;
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].starts_with("--max-snapshots is deprecated"));
    }

    #[test]
    fn a_config_file_counts_alone() {
        let path = std::env::temp_dir().join(format!("trireme-etcd-{}", std::process::id()));
        std::fs::write(&path, "name: a\nsnapshot-count: 5\n").expect("written");
        let args = ["trireme", "store", "--name=b", "--config-file"].map(OsString::from);
        let args = args.into_iter().chain([path.clone().into_os_string()]).collect();
        let prepared = prepare(args).expect("fine");
        std::fs::remove_file(path).expect("there");
        assert!(!prepared.uses_environment);
        assert_eq!(prepared.args, ["trireme", "store", "--name=a"]);
    }
}
