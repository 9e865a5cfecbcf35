//! `--config-file`: etcd's settings as YAML. A file counts alone: flags beside it and the
//! environment are not looked at.

use anyhow::{Context, Result, bail};
use serde_yaml_ng::Value;
use std::path::Path;

/// Keys whose values are maps, and what their keys begin with as flags. A file of ours may use
/// etcd's names of both.
const SECTIONS: &[(&str, &str)] =
    &[("client-transport-security", ""), ("peer-transport-security", "peer-")];
/// Numbers that are durations in nanoseconds.
const DURATIONS: &[&str] = &[
    "watch-progress-notify-interval",
    "corrupt-check-time",
    "compact-hash-check-time",
    "grpc-keepalive-min-time",
    "grpc-keepalive-interval",
    "grpc-keepalive-timeout",
    "warning-apply-duration",
    "warning-unary-request-duration",
    "backend-batch-interval",
    "compaction-sleep-interval",
    "downgrade-check-time",
];

/// A file's settings as flags.
pub(super) fn read(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading config file {}", path.display()))?;
    flags(&text).with_context(|| format!("config file {}", path.display()))
}

pub(super) fn flags(text: &str) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    match serde_yaml_ng::from_str(text)? {
        Value::Null => {}
        Value::Mapping(map) => {
            for (key, value) in &map {
                let Some(key) = key.as_str() else { bail!("{key:?} is no name of a setting") };
                match SECTIONS.iter().find(|(name, _)| *name == key) {
                    Some((_, prefix)) => section(&mut flags, key, prefix, value)?,
                    None => push(&mut flags, key, value)?,
                }
            }
        }
        _ => bail!("must be a map from settings to values, such as `name: default`"),
    }
    Ok(flags)
}

fn section(flags: &mut Vec<String>, name: &str, prefix: &str, value: &Value) -> Result<()> {
    let map = match value {
        Value::Null => return Ok(()),
        Value::Mapping(map) => map,
        _ => bail!("{name} must be a map"),
    };
    for (key, value) in map {
        let Some(key) = key.as_str() else { bail!("{key:?} is no name of a setting") };
        let flag = format!("{prefix}{key}");
        push(flags, &flag, value)?;
    }
    Ok(())
}

fn push(flags: &mut Vec<String>, key: &str, value: &Value) -> Result<()> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) if DURATIONS.contains(&key) => format!("{number}ns"),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => return Ok(()),
        Value::String(text) => text.clone(),
        Value::Sequence(items) => {
            let texts = items.iter().map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Number(number) => Ok(number.to_string()),
                _ => bail!("{key} must be a list of texts"),
            });
            texts.collect::<Result<Vec<_>>>()?.join(",")
        }
        _ => bail!("the value of {key} must be a text, a number or a boolean"),
    };
    flags.push(format!("--{key}={text}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_etcd_has_it_becomes_flags() {
        let text = "name: m1\nheartbeat-interval: 100\nwatch-progress-notify-interval: 1000\n\
                    log-outputs: [stderr]\nstrict-reconfig-check: false\ndiscovery:\n\
                    client-transport-security:\n  cert-file: c.pem\n  client-cert-auth: true\n\
                    peer-transport-security:\n  trusted-ca-file: ca.pem\n  auto-tls: false\n";
        let expected = [
            "--name=m1",
            "--heartbeat-interval=100",
            "--watch-progress-notify-interval=1000ns",
            "--log-outputs=stderr",
            "--strict-reconfig-check=false",
            "--cert-file=c.pem",
            "--client-cert-auth=true",
            "--peer-trusted-ca-file=ca.pem",
            "--peer-auto-tls=false",
        ];
        assert_eq!(flags(text).expect("flags"), expected);
        assert!(flags("- a").is_err() && flags("client-transport-security: 1").is_err());
        assert_eq!(flags("").expect("nothing").len(), 0);
    }
}
