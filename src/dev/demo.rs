//! Images of a dev cluster: the demo image, built from Debian's busybox-static without any registry, and what the
//! user brings.

use anyhow::{Context, Result, bail};
use runtime::image::Store;
use std::path::{Path, PathBuf};

use super::layout::{Cluster, Dir};
use crate::node;

/// Where Debian's package busybox-static puts its program.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Imports the demo image into every node.
pub(super) async fn demo(dir: &Dir, cluster: &Cluster) -> Result<()> {
    if cluster.runtime != "oci" {
        return Ok(());
    }
    let Some(busybox) = BUSYBOX.iter().map(Path::new).find(|path| path.exists()) else {
        bail!(
            "busybox is not installed, the demo image is made of it: apt-get install busybox-static"
        );
    };
    let demo = dir.file("demo-image.tar");
    if !demo.exists() {
        runtime::image::build_busybox(busybox, &demo).context("building the demo image")?;
    }
    import(dir, cluster, &[demo]).await
}

/// Imports archives into every node, into all nodes at once.
pub(super) async fn import(dir: &Dir, cluster: &Cluster, archives: &[PathBuf]) -> Result<()> {
    if cluster.runtime != "oci" || archives.is_empty() {
        return Ok(());
    }
    let nodes = cluster.nodes().map(|host| async move {
        let config = node::runtime_config(
            &host.name,
            &dir.host(&host.name).join("data"),
            &dir.run_dir(),
            &format!("{}/{}", dir.cgroup(), host.name),
        );
        let archives = archives.to_vec();
        // Only its images are opened: an agent may be running there.
        tokio::task::spawn_blocking(move || {
            let store = Store::open(&config.images())?;
            for archive in archives {
                let imported = store.import(&archive);
                imported.with_context(|| format!("importing {}", archive.display()))?;
            }
            Ok(())
        })
        .await?
    });
    futures::future::try_join_all(nodes).await.map(drop)
}
