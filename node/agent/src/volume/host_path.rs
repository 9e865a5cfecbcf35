//! Paths of the node itself, checked against the type that the Pod asks for.

use k8s_openapi::api::core::v1::HostPathVolumeSource;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Checks (or makes) the path of a volume; `Err` is the text for the event.
pub(crate) fn check(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let wanted = source.type_.as_deref().unwrap_or_default();
    let made = match wanted {
        "DirectoryOrCreate" => fs::DirBuilder::new().recursive(true).mode(0o755).create(path),
        "FileOrCreate" if !path.exists() => {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map(|_| ())
        }
        _ => Ok(()),
    };
    made.map_err(|error| format!("hostPath type check failed: {}: {error}", source.path))?;
    if wanted.is_empty() {
        return Ok(());
    }
    let kind = fs::metadata(path).map(|meta| meta.file_type());
    let (fits, what) = match (wanted, &kind) {
        ("Directory" | "DirectoryOrCreate", Ok(kind)) => (kind.is_dir(), "a directory"),
        ("File" | "FileOrCreate", Ok(kind)) => (kind.is_file(), "a file"),
        ("Socket", Ok(kind)) => (kind.is_socket(), "a socket file"),
        ("CharDevice", Ok(kind)) => (kind.is_char_device(), "a character device"),
        ("BlockDevice", Ok(kind)) => (kind.is_block_device(), "a block device"),
        (_, Ok(_)) => return Err(format!("{wanted} is an invalid volume type")),
        ("Directory", Err(_)) => (false, "a directory"),
        ("Socket", Err(_)) => (false, "a socket file"),
        ("CharDevice", Err(_)) => (false, "a character device"),
        ("BlockDevice", Err(_)) => (false, "a block device"),
        (_, Err(_)) => (false, "a file"),
    };
    match fits {
        true => Ok(()),
        false => Err(format!("hostPath type check failed: {} is not {what}", source.path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_and_made_as_asked() {
        let dir = crate::testing::Dir::new("host-path");
        let of = |name: &str, kind: &str| {
            let path = dir.path().join(name).to_string_lossy().into_owned();
            check(&HostPathVolumeSource { path, type_: Some(kind.into()) })
        };
        assert!(of("no", "").is_ok());
        let text = of("no", "Directory").unwrap_err();
        assert!(text.ends_with("/no is not a directory"), "{text}");
        assert!(of("made/deep", "DirectoryOrCreate").is_ok());
        assert!(of("made/file", "FileOrCreate").is_ok());
        assert!(of("made/file", "File").is_ok());
        assert!(of("made/file", "Directory").is_err());
    }
}
