//! What a container has to say about its end: its message file, or the last lines of its log.

use runtime::Container;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a message that are kept.
const MAX_MESSAGE: u64 = 4096;
/// Bytes of a log that serve as message.
const MAX_LOG: u64 = 2048;
/// Lines of a log that serve as message.
const MAX_LINES: usize = 80;

/// The message of an ended container; `None` when it has none.
pub(crate) fn message(container: &Container) -> Option<String> {
    let labels = &container.config.labels;
    let file = labels.get(crate::names::MESSAGE_FILE);
    let text = file.and_then(|file| tail(Path::new(file), MAX_MESSAGE)).unwrap_or_default();
    if !text.is_empty() {
        return Some(text);
    }
    let policy = labels.get(crate::names::MESSAGE_POLICY).map(String::as_str);
    let failed = super::seen::exit_code(container) != Some(0);
    let log = container.config.log_path.as_deref().filter(|_| failed);
    match (policy, log) {
        (Some("FallbackToLogsOnError"), Some(log)) => {
            // Records are longer than their text.
            let records = tail(log, 2 * MAX_LOG)?;
            Some(plain(&records)).filter(|text| !text.is_empty())
        }
        _ => None,
    }
}

/// The last bytes of a file as text.
fn tail(path: &Path, most: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most))).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The texts of the last log records.
fn plain(records: &str) -> String {
    let texts: Vec<&str> = records
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(4, ' ');
            let (_, stream, _, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            matches!(stream, "stdout" | "stderr").then_some(text)
        })
        .collect();
    let last = &texts[texts.len().saturating_sub(MAX_LINES)..];
    let mut text = last.iter().map(|line| format!("{line}\n")).collect::<String>();
    let most = usize::try_from(MAX_LOG).unwrap_or_default();
    if text.len() > most {
        let mut from = text.len() - most;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        text.drain(..from);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_records_become_their_texts() {
        let records = "cut off line\n2026-01-01T00:00:00.0Z stdout F one two\n\
                       2026-01-01T00:00:00.0Z stderr F three\n";
        assert_eq!(plain(records), "one two\nthree\n");
    }
}
