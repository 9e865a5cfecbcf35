//! `trireme snapshot`: copies of the store as files that etcd's own tools read and write, so that
//! data moves from an etcd to us and back. Flags and output are etcdctl's and etcdutl's.

use anyhow::{Context, Result, bail};
use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{AuthenticateRequest, SnapshotRequest};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::snapshot::Contents;
use tokio::io::AsyncWriteExt;
use tonic::metadata::MetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use url::Url;

use crate::{masters, term};

/// Bytes of the sum at a snapshot's end, and the unit that the rest is a multiple of.
const SUM: u64 = 32;
const SECTOR: u64 = 512;

/// Save, look into and restore snapshots of the store, or of an etcd.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What to do with a snapshot.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Store a running member's snapshot in a file.
    Save(Box<Save>),
    /// Show what a snapshot file holds.
    Status(Status),
    /// Make a member's data directory from a snapshot file.
    Restore(Box<Restore>),
}

/// Flags of `save`; names are etcdctl's.
#[derive(Debug, clap::Args)]
struct Save {
    /// Where the snapshot goes.
    filename: PathBuf,
    /// The member to ask: one.
    #[arg(long, env = "ETCDCTL_ENDPOINTS", default_value = "127.0.0.1:2379")]
    endpoints: String,
    /// Authority of the member's certificate.
    #[arg(long, env = "ETCDCTL_CACERT")]
    cacert: Option<PathBuf>,
    /// Certificate to show.
    #[arg(long, env = "ETCDCTL_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCDCTL_KEY", requires = "cert")]
    key: Option<PathBuf>,
    /// name or name:password, where users count.
    #[arg(long, env = "ETCDCTL_USER", value_name = "NAME[:PASSWORD]")]
    user: Option<String>,
    /// The user's password.
    #[arg(long, env = "ETCDCTL_PASSWORD", requires = "user")]
    password: Option<String>,
    /// Seconds for a connection.
    #[arg(long, env = "ETCDCTL_DIAL_TIMEOUT", default_value_t = 2)]
    dial_timeout: u64,
}

/// Flags of `status`; names are etcdutl's.
#[derive(Debug, clap::Args)]
struct Status {
    /// The snapshot.
    filename: PathBuf,
    /// Form of the answer.
    #[arg(long, short = 'w', default_value = "simple")]
    write_out: Output,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Output {
    Simple,
    Table,
    Json,
    Fields,
}

/// Flags of `restore`; names are etcdutl's.
#[derive(Debug, clap::Args)]
struct Restore {
    /// The snapshot.
    filename: PathBuf,
    /// The member's directory, which must be empty or not be there; NAME.etcd when not given.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The member's name.
    #[arg(long, default_value = "default")]
    name: String,
    /// All members of the new cluster: name=peer-url,name=peer-url,…
    #[arg(long, default_value = "default=http://localhost:2380")]
    initial_cluster: String,
    /// Tells clusters with the same addresses apart.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// Where other members find this one.
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: Vec<Url>,
    /// Believe a file without its sum, as one copied from an etcd's data directory.
    #[arg(long)]
    skip_hash_check: bool,
    /// How much to raise the revision, so that clients that saw later ones notice.
    #[arg(long, default_value_t = 0)]
    bump_revision: u64,
    /// Mark everything up to the raised revision as compacted: goes with --bump-revision.
    #[arg(long)]
    mark_compacted: bool,
}

/// Does it.
pub(crate) async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Save(save) => run_save(*save).await,
        Command::Status(status) => {
            let file = status.filename;
            let read = tokio::task::spawn_blocking(move || store::snapshot::contents(&file));
            show(&read.await??, status.write_out)
        }
        Command::Restore(restore) => run_restore(*restore).await,
    }
}

async fn run_restore(args: Restore) -> Result<()> {
    let data_dir = args.data_dir.unwrap_or_else(|| PathBuf::from(format!("{}.etcd", args.name)));
    let shown = data_dir.display().to_string();
    let restore = store::snapshot::Restore {
        file: args.filename,
        data_dir,
        name: args.name,
        peer_urls: args.initial_advertise_peer_urls.iter().map(masters::text).collect(),
        initial: masters::members(&args.initial_cluster)?,
        token: args.initial_cluster_token,
        skip_hash_check: args.skip_hash_check,
        bump_revision: args.bump_revision,
        mark_compacted: args.mark_compacted,
    };
    store::snapshot::restore(restore).await?;
    term::note(format!("restored snapshot into {shown}"));
    Ok(())
}

async fn run_save(args: Save) -> Result<()> {
    if args.endpoints.contains(',') {
        bail!("snapshot must be requested to one selected node, not multiple {:?}", args.endpoints);
    }
    let part = PathBuf::from(format!("{}.part", args.filename.display()));
    let saved = fetch(&args, &part).await;
    let version = match saved {
        Ok(version) => version,
        Err(error) => {
            if let Err(error) = std::fs::remove_file(&part) {
                tracing::debug!(%error, "unfinished snapshot not removed");
            }
            return Err(error);
        }
    };
    std::fs::rename(&part, &args.filename)
        .with_context(|| format!("could not rename {} to its place", part.display()))?;
    term::line(format!("Snapshot saved at {}", args.filename.display()));
    if !version.is_empty() {
        term::line(format!("Server version {version}"));
    }
    Ok(())
}

/// Streams a snapshot into a file; the member's storage version.
async fn fetch(args: &Save, part: &Path) -> Result<String> {
    let channel = connect(args).await?;
    let mut request = tonic::Request::new(SnapshotRequest {});
    if let Some(token) = token(args, channel.clone()).await? {
        request.metadata_mut().insert("token", MetadataValue::try_from(token)?);
    }
    let mut client = MaintenanceClient::new(channel);
    let mut stream = client.snapshot(request).await.map_err(refused)?.into_inner();
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(part).await;
    let mut file = file.with_context(|| format!("could not open {}", part.display()))?;
    let mut size = 0;
    let mut version = String::new();
    while let Some(message) = stream.message().await.map_err(refused)? {
        file.write_all(&message.blob).await.context("writing the snapshot")?;
        size += message.blob.len() as u64;
        version = message.version;
    }
    if size % SECTOR != SUM {
        bail!("sha256 checksum not found [bytes: {size}]");
    }
    file.sync_all().await.context("writing the snapshot")?;
    Ok(version)
}

async fn connect(args: &Save) -> Result<Channel> {
    let secure = args.cacert.is_some() || args.cert.is_some();
    let url = match args.endpoints.contains("://") {
        true => args.endpoints.clone(),
        false => format!("{}://{}", if secure { "https" } else { "http" }, args.endpoints),
    };
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    let mut endpoint = Endpoint::from_shared(url.clone()).with_context(|| url.clone())?;
    if url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &args.cacert {
            tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        endpoint = endpoint.tls_config(tls)?;
    }
    let endpoint = endpoint.connect_timeout(Duration::from_secs(args.dial_timeout));
    endpoint.connect().await.with_context(|| format!("connecting to {url}"))
}

/// What to show as proof of who asks.
async fn token(args: &Save, channel: Channel) -> Result<Option<String>> {
    let Some(user) = &args.user else { return Ok(None) };
    let (name, password) = match (&args.password, user.split_once(':')) {
        (Some(password), _) => (user.clone(), password.clone()),
        (None, Some((name, password))) => (name.to_owned(), password.to_owned()),
        (None, None) => bail!("--user {user} needs a password: --password, or NAME:PASSWORD"),
    };
    let request = AuthenticateRequest { name, password };
    let answer = AuthClient::new(channel).authenticate(request).await.map_err(refused)?;
    Ok(Some(answer.into_inner().token))
}

fn refused(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

fn show(contents: &Contents, form: Output) -> Result<()> {
    let Contents { hash, revision, total_key, total_size, version } = contents;
    let cells = [
        format!("{hash:x}"),
        revision.to_string(),
        total_key.to_string(),
        size(*total_size),
        version.clone(),
    ];
    match form {
        Output::Simple => term::line(cells.join(", ")),
        Output::Table => term::line(table(&cells)),
        Output::Json => term::line(serde_json::to_string(contents)?),
        Output::Fields => term::line(format!(
            "\"Hash\" : {hash}\n\"Revision\" : {revision}\n\"Keys\" : {total_key}\n\
             \"Size\" : {total_size}\n\"Version\" : {version}"
        )),
    }
    Ok(())
}

/// One row under its headings, in etcdutl's frame.
fn table(cells: &[String; 5]) -> String {
    let heads = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];
    let widths: Vec<usize> =
        heads.iter().zip(cells).map(|(head, cell)| head.len().max(cell.len())).collect();
    let rule = |left: &str, middle: &str, right: &str| {
        let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}", parts.join(middle))
    };
    let head: Vec<String> =
        heads.iter().zip(&widths).map(|(head, width)| format!(" {head:^width$} ")).collect();
    let row: Vec<String> =
        cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:>width$} ")).collect();
    [
        rule("┌", "┬", "┐"),
        format!("│{}│", head.join("│")),
        rule("├", "┼", "┤"),
        format!("│{}│", row.join("│")),
        rule("└", "┴", "┘"),
    ]
    .join("\n")
}

/// A size as a person reads it, in steps of a thousand.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut divisor = 1u64;
    while bytes / divisor >= 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        unit += 1;
    }
    let tenths = (u128::from(bytes) * 10 + u128::from(divisor) / 2) / u128::from(divisor);
    let (whole, rest) = (tenths / 10, tenths % 10);
    // A half goes to the even number, as Go prints it.
    let is_up = rest > 5 || (rest == 5 && whole % 2 == 1);
    match tenths < 100 {
        true => format!("{whole}.{rest} {}", UNITS[unit]),
        false => format!("{} {}", whole + u128::from(is_up), UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_etcdutl_writes_them() {
        for (bytes, text) in
            [(9, "9 B"), (20_480, "20 kB"), (2_100_000, "2.1 MB"), (16_801_792, "17 MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn a_table_has_etcdutls_frame() {
        let cells = ["a15bfc19", "11", "5", "20 kB", "3.7.0"].map(str::to_owned);
        let lines: Vec<_> = table(&cells).lines().map(str::to_owned).collect();
        assert_eq!(lines[1], "│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │");
        assert_eq!(lines[3], "│ a15bfc19 │       11 │          5 │      20 kB │   3.7.0 │");
    }
}
