//! What a simulated container does: how it starts, what it says, when and how it ends.
//!
//! The first of these that says anything about the end holds:
//!
//! 1. The container's environment: `TRIREME_RUN_FOR=2s`, `TRIREME_EXIT_CODE=1`,
//!    `TRIREME_START_ERROR=text`.
//! 2. The notes on its sandbox, where an agent puts the pod's annotations: `trireme.io/run-for`,
//!    `trireme.io/exit-code`, `trireme.io/start-error`, or for one container of several
//!    `run-for.trireme.io/NAME` and so on.
//! 3. The image's tag: `exit-1` ends with code 1 at once, `run-2s` with code 0 after two seconds.
//! 4. The command, when it is a simple one: `sleep 5`, `true`, `false`, or a shell script of
//!    `echo`, `sleep`, `exit`, `true` and `false`.

use crate::ContainerConfig;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a `sleep infinity` lasts: nobody waits for its end.
const FOREVER: f64 = 1e9;

/// What a container does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// Why it cannot start.
    pub(super) start_error: Option<String>,
    /// What it writes to its log when it starts.
    pub(super) says: String,
    /// When it ends by itself, and with which code.
    pub(super) ends: Option<(Duration, i32)>,
}

impl Behaviour {
    /// What this container shall do, in a sandbox with these notes.
    pub(super) fn of(config: &ContainerConfig, notes: Option<&BTreeMap<String, String>>) -> Self {
        let wish = |env: &str, note: &str| {
            let in_env = config.env.iter().find(|(key, _)| key == env).map(|(_, value)| value);
            let own = format!("{note}.trireme.io/{}", config.name);
            let noted = |key: &str| notes.and_then(|notes| notes.get(key));
            in_env.or_else(|| noted(&own)).or_else(|| noted(&format!("trireme.io/{note}"))).cloned()
        };
        let words: Vec<String> = config.command.iter().chain(&config.args).cloned().collect();
        let script = script(&words);
        let code = wish("TRIREME_EXIT_CODE", "exit-code").and_then(|code| code.parse().ok());
        let time = wish("TRIREME_RUN_FOR", "run-for").and_then(|text| time(&text));
        let wished = (code.is_some() || time.is_some())
            .then(|| (time.unwrap_or_default(), code.unwrap_or_default()));
        let by_script = script.as_ref().and_then(|script| script.ends);
        let started = format!("simulated container {} started\n", config.name);
        Self {
            start_error: wish("TRIREME_START_ERROR", "start-error"),
            ends: wished.or_else(|| by_image(&config.image)).or(by_script),
            says: script.map(|script| script.says).filter(|s| !s.is_empty()).unwrap_or(started),
        }
    }
}

/// What the tag of an image asks for.
fn by_image(image: &str) -> Option<(Duration, i32)> {
    let (_, tag) = image.rsplit_once(':')?;
    if let Some(code) = tag.strip_prefix("exit-") {
        return Some((Duration::ZERO, code.parse().ok()?));
    }
    Some((time(tag.strip_prefix("run-")?)?, 0))
}

/// What a simple command does; `None` for one that is not simple.
pub(super) fn script(words: &[String]) -> Option<Behaviour> {
    let name = words.first()?.rsplit('/').next()?;
    let text = match (name, words) {
        ("sh" | "bash" | "ash", [_, flag, text, ..]) if flag.ends_with('c') => text.clone(),
        ("sh" | "bash" | "ash", _) => return None,
        _ => [&[name.to_owned()], &words[1..]].concat().join(" "),
    };
    let mut behaviour = Behaviour::default();
    let (mut passed, mut code) = (Duration::ZERO, 0);
    for step in text.split([';', '\n']).flat_map(|line| line.split("&&")).map(str::trim) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let rest = rest.trim();
        match verb {
            "" => {}
            "true" => code = 0,
            "false" => code = 1,
            "echo" => {
                behaviour.says.push_str(rest.trim_matches(['"', '\'']));
                behaviour.says.push('\n');
                code = 0;
            }
            "sleep" => passed = passed.saturating_add(time(rest)?),
            "exit" => {
                code = if rest.is_empty() { code } else { rest.parse().ok()? };
                break;
            }
            _ => return None,
        }
    }
    behaviour.ends = Some((passed, code));
    Some(behaviour)
}

/// A time such as `250ms`, `2s`, `1m`, `3` or `infinity`.
fn time(text: &str) -> Option<Duration> {
    let (number, factor) = match text {
        "infinity" | "inf" => ("1", FOREVER),
        _ => match text.strip_suffix("ms") {
            Some(number) => (number, 0.001),
            None => match text.split_at_checked(text.len().checked_sub(1)?) {
                Some((number, "s")) => (number, 1.0),
                Some((number, "m")) => (number, 60.0),
                Some((number, "h")) => (number, 3600.0),
                _ => (text, 1.0),
            },
        },
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    Duration::try_from_secs_f64(seconds.min(FOREVER)).ok()
}
