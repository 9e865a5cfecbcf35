//! kubectl as users run it.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

/// kubectl for one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    /// Which cluster.
    pub kubeconfig: PathBuf,
    /// Which of its masters; any living one when not given.
    pub context: Option<String>,
}

/// What a run printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// Whether it succeeded.
    pub ok: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Kubectl {
    fn command(&self, args: &[&str]) -> Command {
        let program = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".into());
        let mut command = Command::new(program);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        // Its cache of discovery must not outlive the cluster.
        command.env("KUBECACHEDIR", self.kubeconfig.with_file_name("kubectl-cache"));
        command
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> Result<Output> {
        let output = self.command(args).output();
        let limit = crate::patience() * 2;
        let output = tokio::time::timeout(limit, output)
            .await
            .with_context(|| format!("kubectl {} took longer than {limit:?}", args.join(" ")))?
            .context("running kubectl")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok(Output { ok: output.status.success(), stdout, stderr })
    }

    /// Runs it to its end with this input.
    pub async fn pipe(&self, args: &[&str], input: &[u8]) -> Result<Output> {
        let mut child = self.spawn(args)?;
        let mut stdin = child.stdin.take().context("its input")?;
        let feeding = async move {
            // It may end before it has read everything; its output says why.
            let _ = stdin.write_all(input).await;
        };
        let limit = crate::patience() * 2;
        let ended = async { tokio::join!(feeding, child.wait_with_output()).1 };
        let output = tokio::time::timeout(limit, ended)
            .await
            .with_context(|| format!("kubectl {} took longer than {limit:?}", args.join(" ")))?
            .context("running kubectl")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok(Output { ok: output.status.success(), stdout, stderr })
    }

    /// Runs it and wants success; gives its standard output.
    pub async fn get(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args).await?;
        if !output.ok {
            bail!("kubectl {}: {}{}", args.join(" "), output.stdout, output.stderr);
        }
        Ok(output.stdout)
    }

    /// Starts it and leaves it running; it ends when the handle is dropped.
    pub fn spawn(&self, args: &[&str]) -> Result<Child> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::piped());
        command.spawn().context("starting kubectl")
    }
}
