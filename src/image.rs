//! `trireme image`: container images of nodes.

use anyhow::{Context, Result, bail};
use runtime::image::Store;
use std::path::{Path, PathBuf};

use crate::dev::layout::{Cluster, Dir};
use crate::{dev, node, term};

/// Import and list container images of a dev cluster's nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    action: Action,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Import an archive (docker save or OCI layout, plain or gzip) or a directory (OCI layout) on
    /// every node.
    Import {
        /// The archive or directory.
        archive: PathBuf,
        /// Name for images that are only tagged in the archive: `NAME:tag`.
        #[arg(long, value_name = "NAME")]
        base_name: Option<String>,
        /// The cluster's directory.
        #[arg(long, env = "TRIREME_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// List the images of every node.
    List {
        /// The cluster's directory.
        #[arg(long, env = "TRIREME_DATA_DIR", value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Build the demo image from a static busybox, as an archive.
    Demo {
        /// Where to write the archive.
        #[arg(long, short, default_value = "demo.tar")]
        output: PathBuf,
        /// The busybox to put in.
        #[arg(long, default_value = "/bin/busybox")]
        busybox: PathBuf,
    },
}

/// Does it.
pub(crate) async fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Import { archive, base_name, data_dir } => {
            let (dir, cluster) = dev::open(&data_dir)?;
            if !archive.is_file() && !archive.is_dir() {
                bail!("{} is no file and no directory", archive.display());
            }
            import(&dir, &cluster, &archive, base_name.as_deref())
        }
        Action::List { data_dir } => {
            let (dir, cluster) = dev::open(&data_dir)?;
            list(&dir, &cluster)
        }
        Action::Demo { output, busybox } => {
            runtime::image::build_busybox(&busybox, &output).context("building the demo image")?;
            term::line(format!("{} ({})", output.display(), runtime::image::DEMO));
            Ok(())
        }
    }
}

fn import(dir: &Dir, cluster: &Cluster, archive: &Path, base: Option<&str>) -> Result<()> {
    for (name, store) in stores(dir, cluster)? {
        let images = store.import_named(archive, base);
        let images =
            images.with_context(|| format!("importing {} on {name}", archive.display()))?;
        for image in images {
            term::line(format!("{name}\t{}\t{}", image.tags.join(","), image.id));
        }
    }
    Ok(())
}

fn list(dir: &Dir, cluster: &Cluster) -> Result<()> {
    for (name, store) in stores(dir, cluster)? {
        for image in store.list() {
            term::line(format!("{name}\t{}\t{}\t{}", image.tags.join(","), image.id, image.size));
        }
    }
    Ok(())
}

/// Every node's images. Running agents see what changes; their containers are not touched.
fn stores(dir: &Dir, cluster: &Cluster) -> Result<Vec<(String, Store)>> {
    if cluster.simulated() {
        bail!("the nodes of this cluster are simulated: they have no images");
    }
    let open = |host: &dev::layout::Host| {
        let config = node::runtime_config(
            &host.name,
            &dir.host(&host.name).join("data"),
            &dir.run_dir(),
            &format!("{}/{}", dir.cgroup(), host.name),
        );
        Ok((host.name.clone(), Store::open(&config.images())?))
    };
    cluster.nodes().map(open).collect()
}
