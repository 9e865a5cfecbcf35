//! A command in a container, run to its end with a time limit.

use runtime::{Exec, Runtime, session};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Bytes of output that are kept.
const MAX_OUTPUT: usize = 10 << 10;

/// Runs a command; its exit code and output are the answer.
pub(crate) async fn run(
    runtime: &dyn Runtime,
    id: &str,
    command: Vec<String>,
    timeout: Duration,
) -> Result<(i32, String), String> {
    let shown = command.join(" ");
    let exec = Exec { command, stdout: true, stderr: true, ..Exec::default() };
    let whole = async {
        let session = runtime.exec(id, exec).await.map_err(|error| stdx::chain(&error))?;
        let (stdout, stderr) = tokio::join!(read(session.stdout), read(session.stderr));
        let code = match session.exit.await {
            Ok(code) => code.map_err(|error| stdx::chain(&error))?,
            Err(_) => return Err("the command's end was not told".to_owned()),
        };
        Ok((code, format!("{stdout}{stderr}")))
    };
    match tokio::time::timeout(timeout, whole).await {
        Ok(result) => result,
        Err(_) => {
            Err(format!("command timed out: \"{shown}\" timed out after {}s", timeout.as_secs()))
        }
    }
}

/// Reads a stream to its end, and keeps its beginning.
async fn read(stream: Option<session::Reader>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 4 << 10];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        let room = MAX_OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..count.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
