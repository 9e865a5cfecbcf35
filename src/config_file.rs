//! `--config FILE`: flags of a command as YAML, one key per flag. What the command line says wins.
//!
//! ```yaml
//! data-dir: /var/lib/trireme
//! secure-port: 6443
//! server: [https://10.0.0.1:6443, https://10.0.0.2:6443]
//! ```

use anyhow::{Context, Result, bail};
use serde_yaml_ng::Value;
use std::ffi::OsString;
use std::path::Path;

/// Puts the flags of a config file, if one is named, behind the command, before the flags given by hand.
pub(crate) fn expand(args: Vec<OsString>) -> Result<Vec<OsString>> {
    let Some(at) = args.iter().position(|arg| {
        arg == "--config" || arg.to_str().is_some_and(|text| text.starts_with("--config="))
    }) else {
        return Ok(args);
    };
    let mut args = args;
    let flag = args.remove(at);
    let path = match flag.to_str().and_then(|text| text.strip_prefix("--config=")) {
        Some(path) => OsString::from(path),
        None if at < args.len() => args.remove(at),
        None => bail!("--config needs the path of a YAML file with flags"),
    };
    let flags = read(Path::new(&path))?;
    let command = args.iter().skip(1).position(|arg| !arg.to_string_lossy().starts_with('-'));
    let behind = command.map_or(args.len(), |at| at + 2);
    args.splice(behind..behind, flags);
    Ok(args)
}

fn read(path: &Path) -> Result<Vec<OsString>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading config file {}", path.display()))?;
    parse(&text).with_context(|| format!("config file {}", path.display()))
}

/// The flags that a YAML text stands for.
fn parse(text: &str) -> Result<Vec<OsString>> {
    let value: Value = serde_yaml_ng::from_str(text)?;
    let map = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(map) => map,
        _ => bail!("must be a map from flags to values, such as `data-dir: /var/lib/trireme`"),
    };
    let mut flags = Vec::new();
    for (key, value) in map {
        let Some(key) = key.as_str() else { bail!("a flag's name must be text, not {key:?}") };
        match value {
            Value::Sequence(items) => {
                for item in &items {
                    push(&mut flags, key, item)?;
                }
            }
            value => push(&mut flags, key, &value)?,
        }
    }
    Ok(flags)
}

fn push(flags: &mut Vec<OsString>, key: &str, value: &Value) -> Result<()> {
    let key = key.trim_start_matches('-');
    let text = match value {
        Value::Bool(true) => {
            return {
                flags.push(format!("--{key}").into());
                Ok(())
            };
        }
        Value::Bool(false) | Value::Null => return Ok(()),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => bail!("the value of {key} must be a text, a number, a boolean or a list of them"),
    };
    flags.push(format!("--{key}={text}").into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_becomes_flags_and_lists_repeat_them() {
        let flags =
            parse("data-dir: /d\nsecure-port: 1\nv: true\nserver: [a, b]\n").expect("flags");
        let flags: Vec<&str> = flags.iter().filter_map(|flag| flag.to_str()).collect();
        assert_eq!(flags, ["--data-dir=/d", "--secure-port=1", "--v", "--server=a", "--server=b"]);
        assert!(parse("- a").is_err());
    }

    #[test]
    fn the_file_comes_before_what_is_given_by_hand() {
        let file = std::env::temp_dir().join(format!("trireme-config-{}", std::process::id()));
        std::fs::write(&file, "secure-port: 1").expect("written");
        let args =
            ["trireme", "server", "--config", file.to_str().expect("utf-8"), "--secure-port=2"];
        let args = expand(args.iter().map(OsString::from).collect()).expect("expanded");
        let _ = std::fs::remove_file(file);
        let args: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
        assert_eq!(args, ["trireme", "server", "--secure-port=1", "--secure-port=2"]);
    }
}
