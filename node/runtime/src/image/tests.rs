//! Tests of the image store: good archives unpack, bad ones are refused and leave nothing.

use super::*;
use std::io::Cursor;
use tar::{Builder, EntryType, Header};

fn scratch(name: &str) -> PathBuf {
    let dir =
        std::env::temp_dir().join(format!("trireme-image-{name}-{:08x}", rand::random::<u32>()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

enum Item<'a> {
    File(&'a str, &'a str),
    Dir(&'a str),
    Symlink(&'a str, &'a str),
    Hard(&'a str, &'a str),
}

fn tar_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for item in items {
        let (name, kind, data, link) = match item {
            Item::File(name, data) => (*name, EntryType::Regular, *data, ""),
            Item::Dir(name) => (*name, EntryType::Directory, "", ""),
            Item::Symlink(name, link) => (*name, EntryType::Symlink, "", *link),
            Item::Hard(name, link) => (*name, EntryType::Link, "", *link),
        };
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        // Written raw: the builder itself refuses paths that climb out.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, data.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn docker_archive(path: &Path, tag: &str, layers: &[Vec<u8>], diff_ids: Option<Vec<String>>) {
    let ids = diff_ids.unwrap_or_else(|| layers.iter().map(|layer| digest(layer)).collect());
    let config =
        serde_json::json!({"config": {"Cmd": ["sh"]}, "rootfs": {"diff_ids": ids}}).to_string();
    let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}.tar")).collect();
    let manifest =
        serde_json::json!([{"Config": "config.json", "RepoTags": [tag], "Layers": names}])
            .to_string();
    let mut tar = Builder::new(fs::File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, Cursor::new(bytes)).unwrap();
    };
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("config.json", config.as_bytes());
    add("manifest.json", manifest.as_bytes());
    tar.finish().unwrap();
}

#[test]
fn references_are_written_out_in_full() {
    let full = |name: &str| reference::normalize(name).unwrap();
    assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
    assert_eq!(full("me/app:2"), "docker.io/me/app:2");
    assert_eq!(full("trireme.local/demo:1"), "trireme.local/demo:1");
    assert_eq!(full("localhost:5000/a/b"), "localhost:5000/a/b:latest");
    for bad in ["", "Busybox", "a b", "a//b", "x@sha256:12", "app:"] {
        assert!(reference::normalize(bad).is_err(), "{bad:?} was taken");
    }
    assert!(reference::is_latest("busybox") && !reference::is_latest("busybox:1"));
}

#[test]
fn layers_stack_with_whiteouts_and_opaque_directories() {
    if !root() {
        return;
    }
    let dir = scratch("stack");
    let store = Store::open(&dir.join("store")).unwrap();
    let lower = tar_of(&[
        Item::Dir("etc/"),
        Item::File("etc/a", "a"),
        Item::File("etc/b", "b"),
        Item::Dir("opt/"),
        Item::File("opt/old", "old"),
        Item::Hard("etc/c", "etc/a"),
    ]);
    let upper = tar_of(&[
        Item::File("etc/.wh.b", ""),
        Item::File("opt/.wh..wh..opq", ""),
        Item::File("opt/new", "new"),
        Item::Symlink("link", "/etc/a"),
    ]);
    let archive = dir.join("app.tar");
    docker_archive(&archive, "app:1", &[lower, upper], None);
    let images = store.import(&archive).unwrap();
    assert_eq!(images[0].tags, ["docker.io/library/app:1"]);
    let record = store.resolve("app:1").unwrap();
    let dirs = store.lower_dirs(&record);
    let (top, bottom) = (&dirs[0], &dirs[1]);
    assert_eq!(fs::read_to_string(bottom.join("etc/c")).unwrap(), "a");
    for hidden in ["etc/b", "opt/old"] {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let meta = fs::symlink_metadata(top.join(hidden)).unwrap();
        assert!(meta.file_type().is_char_device() && meta.rdev() == 0, "{hidden} is not hidden");
    }
    assert_eq!(fs::read_link(top.join("link")).unwrap(), Path::new("/etc/a"));
    assert_eq!(Store::open(&dir.join("store")).unwrap().list(), store.list());
    store.remove("app:1").unwrap();
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(dir.join("store/layers")).unwrap().count(), 0);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn entries_that_lead_out_of_the_image_are_refused_or_kept_inside() {
    if !root() {
        return;
    }
    let dir = scratch("escape");
    let store = Store::open(&dir.join("store")).unwrap();
    let archive = dir.join("bad.tar");
    docker_archive(&archive, "bad:1", &[tar_of(&[Item::File("../../evil", "x")])], None);
    let error = store.import(&archive).unwrap_err().to_string();
    assert!(error.contains("leaves the image"), "{error}");
    let outside = dir.join("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.to_string_lossy().into_owned();
    let layer = tar_of(&[Item::Symlink("way", &target), Item::File("way/evil", "x")]);
    docker_archive(&archive, "bad:2", &[layer], None);
    let _ = store.import(&archive);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "a link led out");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn broken_archives_say_what_is_broken_and_leave_nothing() {
    if !root() {
        return;
    }
    let dir = scratch("broken");
    let store = Store::open(&dir.join("store")).unwrap();
    let archive = dir.join("bad.tar");
    let says = |part: &str| {
        let error = store.import(&archive).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("bad.tar"), "{error}");
    };
    fs::write(&archive, tar_of(&[Item::File("x", "y")])).unwrap();
    says("neither manifest.json");
    fs::write(&archive, "not a tar at all, only text").unwrap();
    says("");
    let layer = tar_of(&[Item::File("x", "y")]);
    docker_archive(&archive, "bad:1", &[layer], Some(vec![format!("sha256:{}", "0".repeat(64))]));
    says("damaged");
    fs::write(&archive, tar_of(&[Item::File("manifest.json", "[{")])).unwrap();
    says("manifest.json is not valid");
    assert!(store.list().is_empty());
    assert_eq!(fs::read_dir(dir.join("store/layers")).unwrap().count(), 0);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_demo_image_is_built_from_a_static_busybox() {
    let busybox = Path::new("/usr/bin/busybox");
    if !root() || !busybox.exists() {
        return;
    }
    let dir = scratch("demo");
    let archive = dir.join("demo.tar");
    build_busybox(busybox, &archive).unwrap();
    let store = Store::open(&dir.join("store")).unwrap();
    store.import(&archive).unwrap();
    store.import(&archive).unwrap();
    assert_eq!(store.list().len(), 1);
    let record = store.resolve(DEMO).unwrap();
    let layer = &store.lower_dirs(&record)[0];
    assert_eq!(fs::read_link(layer.join("bin/sh")).unwrap(), Path::new("busybox"));
    assert!(build_busybox(Path::new("/etc/passwd"), &archive).is_err());
    fs::remove_dir_all(dir).unwrap();
}

/// Writes an OCI layout of one image into a directory.
fn oci_layout(dir: &Path, name: &str, layer: &[u8]) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let name = digest(bytes);
        fs::write(blobs.join(name.trim_start_matches("sha256:")), bytes).unwrap();
        serde_json::json!({"mediaType": "", "digest": name, "size": bytes.len()})
    };
    let config = serde_json::json!({"config": {"Cmd": ["sh"], "User": "7:8"},
        "rootfs": {"diff_ids": [digest(layer)]}});
    let manifest = serde_json::json!({"schemaVersion": 2,
        "config": put(config.to_string().as_bytes()), "layers": [put(layer)]});
    let mut image = put(manifest.to_string().as_bytes());
    image["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    image["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [image]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
}

#[test]
fn an_oci_layout_is_taken_as_directory_and_as_archive() {
    if !root() {
        return;
    }
    let dir = scratch("oci");
    let layout = dir.join("layout");
    let layer = tar_of(&[Item::File("hello", "world")]);
    oci_layout(&layout, "1.0", &layer);
    let store = Store::open(&dir.join("store")).unwrap();
    let plain = store.import(&layout).unwrap();
    assert!(plain[0].tags.is_empty(), "a tag alone is no name");
    let named = store.import_named(&layout, Some("example.org/app")).unwrap();
    assert_eq!(named[0].tags, ["example.org/app:1.0"]);
    assert_eq!((named[0].user.as_str(), &named[0].id), ("7:8", &plain[0].id));
    let by_digest = format!("example.org/app@{}", named[0].digest);
    let record = store.resolve(&by_digest).unwrap();
    let file = store.lower_dirs(&record)[0].join("hello");
    assert_eq!(fs::read_to_string(file).unwrap(), "world");

    let archive = dir.join("layout.tar");
    let mut tar = Builder::new(fs::File::create(&archive).unwrap());
    tar.append_dir_all(".", &layout).unwrap();
    tar.finish().unwrap();
    let other = Store::open(&dir.join("other")).unwrap();
    assert_eq!(other.import(&archive).unwrap()[0].id, named[0].id);

    // A blob that is not what its name says, and an archive that ends early.
    let blob = layout.join("blobs/sha256").join(digest(&layer).trim_start_matches("sha256:"));
    fs::write(&blob, tar_of(&[Item::File("hello", "w0rld")])).unwrap();
    let third = Store::open(&dir.join("third")).unwrap();
    let error = third.import(&layout).unwrap_err().to_string();
    assert!(error.contains("the archive is damaged"), "{error}");
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    assert!(third.import(&archive).is_err());
    assert!(third.list().is_empty());
    assert_eq!(fs::read_dir(dir.join("third/layers")).unwrap().count(), 0);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_another_process_imports_is_seen_at_once_and_kept() {
    if !root() {
        return;
    }
    let dir = scratch("two");
    let root = dir.join("store");
    let (agent, command) = (Store::open(&root).unwrap(), Store::open(&root).unwrap());
    let archive = dir.join("image.tar");
    for (number, store) in [(1, &command), (2, &agent), (3, &command)] {
        let layer = tar_of(&[Item::File("number", &number.to_string())]);
        docker_archive(&archive, &format!("example.org/image:{number}"), &[layer], None);
        store.import(&archive).unwrap();
        for (which, other) in [("agent", &agent), ("command", &command)] {
            assert_eq!(other.list().len(), number, "{which}");
            assert!(other.resolve(&format!("example.org/image:{number}")).is_some(), "{which}");
        }
    }
    // Whoever opens the store during an import leaves its half-made files alone.
    let lock = agent.lock_file(FlockArg::LockExclusive).unwrap();
    fs::create_dir(root.join(".import-1")).unwrap();
    drop(Store::open(&root).unwrap());
    assert!(root.join(".import-1").exists());
    drop(lock);
    drop(Store::open(&root).unwrap());
    assert!(!root.join(".import-1").exists());
    fs::remove_dir_all(dir).unwrap();
}
