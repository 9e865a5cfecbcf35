//! `trireme env`: shell exports for a dev cluster.

use anyhow::Result;
use std::path::PathBuf;

use crate::{dev, term};

/// Print shell exports: eval "$(trireme env --data-dir DIR)".
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster's directory.
    #[arg(long, env = "TRIREME_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
}

/// Prints them.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (dir, cluster) = dev::open(&args.data_dir)?;
    let endpoints: Vec<String> = cluster.masters().map(|host| host.client_url()).collect();
    let etcd = dir.file("pki/etcd");
    let exports = [
        ("KUBECONFIG", dir.file("kubeconfig").display().to_string()),
        ("ETCDCTL_API", "3".to_owned()),
        ("ETCDCTL_ENDPOINTS", endpoints.join(",")),
        ("ETCDCTL_CACERT", etcd.join("ca.crt").display().to_string()),
        ("ETCDCTL_CERT", etcd.join("client.crt").display().to_string()),
        ("ETCDCTL_KEY", etcd.join("client.key").display().to_string()),
        ("TRIREME_DATA_DIR", dir.path().display().to_string()),
    ];
    for (name, value) in exports {
        term::line(format!("export {name}={}", quoted(&value)));
    }
    Ok(())
}

/// A value as a shell reads it back.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn values_survive_the_shell() {
        assert_eq!(super::quoted("a b'c"), "'a b'\\''c'");
    }
}
