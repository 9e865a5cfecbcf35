//! The files of a volume as a value: path → bytes, mode, owner. Pure.

use crate::pod::fields::{self, Place};
use crate::pod::{security, spec};
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret};
use std::collections::BTreeMap;

/// Mode of a file when nobody says one.
const MODE: u32 = 0o644;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// The user that owns it; `None` for root.
    pub(crate) user: Option<u32>,
}

/// All files of a volume by relative path.
pub(crate) type Payload = BTreeMap<String, File>;

/// Which keys become which files.
#[derive(Clone, Copy)]
pub(crate) struct Sheet<'a> {
    /// Chosen keys; without, all under their own names.
    pub(crate) items: Option<&'a [KeyToPath]>,
    /// Mode of files that have none of their own.
    pub(crate) mode: Option<i32>,
}

/// A mode of the API.
fn mode_of(own: Option<i32>, default: Option<i32>) -> u32 {
    own.or(default).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(MODE) & 0o777
}

/// The files of a ConfigMap; of one that is not there: none.
pub(crate) fn config_map(
    map: Option<&ConfigMap>,
    sheet: Sheet,
    optional: bool,
) -> Result<Payload, String> {
    let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    if let Some(map) = map {
        let text = map.data.iter().flatten();
        data.extend(text.map(|(key, value)| (key.clone(), value.clone().into_bytes())));
        let binary = map.binary_data.iter().flatten();
        data.extend(binary.map(|(key, value)| (key.clone(), value.0.clone())));
    }
    chosen(&data, sheet, optional, "config")
}

/// The files of a Secret; of one that is not there: none.
pub(crate) fn secret(
    secret: Option<&Secret>,
    sheet: Sheet,
    optional: bool,
) -> Result<Payload, String> {
    let data = secret.and_then(|secret| secret.data.clone()).unwrap_or_default();
    let data = data.into_iter().map(|(key, value)| (key, value.0)).collect();
    chosen(&data, sheet, optional, "secret")
}

/// Applies the choice of keys.
fn chosen(
    data: &BTreeMap<String, Vec<u8>>,
    sheet: Sheet,
    optional: bool,
    word: &str,
) -> Result<Payload, String> {
    let mut made = Payload::new();
    let Some(items) = sheet.items.filter(|items| !items.is_empty()) else {
        for (key, bytes) in data {
            let file = File { bytes: bytes.clone(), mode: mode_of(None, sheet.mode), user: None };
            made.insert(key.clone(), file);
        }
        return Ok(made);
    };
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                let mode = mode_of(item.mode, sheet.mode);
                made.insert(item.path.clone(), File { bytes: bytes.clone(), mode, user: None });
            }
            None if optional => {}
            None => return Err(format!("references non-existent {word} key: {}", item.key)),
        }
    }
    Ok(made)
}

/// The files of the downward API.
pub(crate) fn downward(
    pod: &Pod,
    place: &Place,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
) -> Result<Payload, String> {
    let mut made = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(selector), _) => fields::field(pod, place, selector)?,
            (None, Some(selector)) => {
                let name = selector.container_name.as_deref().unwrap_or_default();
                let container = spec::container(pod, name);
                let (_, container) = container
                    .ok_or_else(|| format!("couldn't find container {name:?} of the pod"))?;
                fields::resource(&container, place, selector)?
            }
            (None, None) => String::new(),
        };
        let mode = mode_of(item.mode, mode);
        made.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, user: None });
    }
    Ok(made)
}

/// The file of a token: readable for the Pod's group or its one user, else for all.
pub(crate) fn token(pod: &Pod, token: String, mode: Option<i32>) -> File {
    let user = security::common_user(pod);
    let (mode, user) = match (security::fs_group(pod), user) {
        (Some(_), _) => (0o600, None),
        (None, Some(user)) => (0o600, Some(user)),
        (None, None) => (mode_of(None, mode), None),
    };
    File { bytes: token.into_bytes(), mode, user }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_become_files_as_the_items_say() {
        let map: ConfigMap = serde_json::from_value(json!({
            "data": {"a": "1", "b": "2"}, "binaryData": {"c": "AAE="},
        }))
        .unwrap();
        let all = Sheet { items: None, mode: Some(0o400) };
        let made = config_map(Some(&map), all, false).unwrap();
        assert_eq!(made.len(), 3);
        assert_eq!((made["c"].bytes.as_slice(), made["c"].mode), ([0, 1].as_slice(), 0o400));
        let items: Vec<KeyToPath> = serde_json::from_value(json!([
            {"key": "a", "path": "dir/x", "mode": 0o600}, {"key": "no", "path": "y"},
        ]))
        .unwrap();
        let some = Sheet { items: Some(&items), mode: None };
        let text = config_map(Some(&map), some, false).unwrap_err();
        assert_eq!(text, "references non-existent config key: no");
        let made = config_map(Some(&map), some, true).unwrap();
        assert_eq!((made["dir/x"].bytes.as_slice(), made["dir/x"].mode), (b"1".as_slice(), 0o600));
        assert!(config_map(None, all, true).unwrap().is_empty());
    }
}
