//! Builds the demo image from a static busybox: real containers on a machine that reaches no
//! registry.

use crate::error::Doing;
use crate::{Error, Result};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use tar::{Builder, EntryType, Header};

/// Name of the demo image.
pub const DEMO: &str = "trireme.local/demo:1";

/// What the image runs by default: a web server, under a shell that ends when it is asked to. (The
/// first process of a container is not ended by a signal that it has no handler for.)
const SERVE: &str = "trap 'exit 0' TERM INT; httpd -f -v -p 8080 -h /www & wait";

/// Directories of the image.
const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/demo", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("var", 0o755),
    ("www", 0o755),
    ("www/cgi-bin", 0o755),
];

/// Small files of the image.
const FILES: &[(&str, &str, u32)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         demo:x:1000:1000:demo:/home/demo:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
        0o644,
    ),
    ("etc/group", "root:x:0:\ndemo:x:1000:\nnogroup:x:65534:\n", 0o644),
    ("etc/nsswitch.conf", "hosts: files dns\n", 0o644),
    ("www/index.html", "<!doctype html><title>Trireme</title><p>It serves.</p>\n", 0o644),
    (
        "www/cgi-bin/hostname",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nhostname\n",
        0o755,
    ),
];

/// Writes the demo image as a docker-archive to `out`. The same busybox gives the same bytes.
pub fn build_busybox(busybox: &Path, out: &Path) -> Result<()> {
    let program = fs::read(busybox).doing(|| format!("read {}", busybox.display()))?;
    if !program.starts_with(b"\x7fELF") {
        return Err(Error::Invalid(format!("{} is not a program", busybox.display())));
    }
    let listed = Command::new(busybox)
        .arg("--list")
        .output()
        .doing(|| format!("run {} --list", busybox.display()))?;
    let applets = String::from_utf8_lossy(&listed.stdout).into_owned();
    if !listed.status.success() || !applets.lines().any(|applet| applet == "sh") {
        return Err(Error::Invalid(format!("{} is not a busybox with sh", busybox.display())));
    }
    let layer = layer(&program, &applets).doing(|| "build the demo layer".into())?;
    let diff_id = super::digest(&layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["sh", "-c", SERVE],
            "WorkingDir": "/",
            "ExposedPorts": {"8080/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = serde_json::to_vec(&config).expect("a literal has string keys");
    let hex = super::digest(&config).replacen("sha256:", "", 1);
    let manifest = json!([{
        "Config": format!("{hex}.json"),
        "RepoTags": [DEMO],
        "Layers": ["layer.tar"],
    }]);
    let manifest = serde_json::to_vec(&manifest).expect("a literal has string keys");
    let write = || -> io::Result<()> {
        let mut tar = Builder::new(File::create(out)?);
        for (name, bytes) in [
            (format!("{hex}.json"), &config),
            ("layer.tar".into(), &layer),
            ("manifest.json".into(), &manifest),
        ] {
            file(&mut tar, &name, bytes, 0o644)?;
        }
        tar.into_inner()?.sync_all()
    };
    write().doing(|| format!("write {}", out.display()))
}

/// The one layer.
fn layer(program: &[u8], applets: &str) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (name, mode) in DIRECTORIES {
        let mut header = header(EntryType::Directory, 0, *mode);
        if *name == "home/demo" {
            header.set_uid(1000);
            header.set_gid(1000);
        }
        tar.append_data(&mut header, format!("{name}/"), io::empty())?;
    }
    file(&mut tar, "bin/busybox", program, 0o755)?;
    for applet in applets.lines().map(str::trim).filter(|name| !name.is_empty()) {
        if applet != "busybox" && !applet.contains('/') {
            let mut header = header(EntryType::Symlink, 0, 0o777);
            tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
        }
    }
    for (name, text, mode) in FILES {
        file(&mut tar, name, text.as_bytes(), *mode)?;
    }
    tar.into_inner()
}

/// Adds a file.
fn file(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut header = header(EntryType::Regular, bytes.len() as u64, mode);
    tar.append_data(&mut header, name, bytes)
}

/// A header that says the same each time.
fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
