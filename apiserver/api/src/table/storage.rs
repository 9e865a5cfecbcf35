//! Volumes, claims and their classes.

use serde_json::Value;

use super::row::{NONE, Row, UNSET, list, plain, text};

/// Access modes with their short names, in the order in which they are shown.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];
/// Old way to name a class.
const BETA_CLASS: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
/// Cells of a PersistentVolume.
pub(super) fn volume(row: &Row<'_>) -> Vec<Value> {
    let claim = match row.text("/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", row.text("/spec/claimRef/namespace")),
    };
    vec![
        row.name(),
        amount(row, "/spec/capacity/storage").into(),
        modes(row, "/spec/accessModes").into(),
        row.text("/spec/persistentVolumeReclaimPolicy").into(),
        phase(row).into(),
        claim.into(),
        class_name(row).into(),
        row.text_or("/spec/volumeAttributesClassName", UNSET).into(),
        row.text("/status/reason").into(),
        row.age(),
        row.text_or("/spec/volumeMode", UNSET).into(),
    ]
}

/// Cells of a PersistentVolumeClaim.
pub(super) fn claim(row: &Row<'_>) -> Vec<Value> {
    let volume = row.text("/spec/volumeName");
    let (capacity, access) = match volume {
        "" => (String::new(), String::new()),
        _ => (amount(row, "/status/capacity/storage"), modes(row, "/status/accessModes")),
    };
    vec![
        row.name(),
        phase(row).into(),
        volume.into(),
        capacity.into(),
        access.into(),
        class_name(row).into(),
        row.text_or("/spec/volumeAttributesClassName", UNSET).into(),
        row.age(),
        row.text_or("/spec/volumeMode", UNSET).into(),
    ]
}

fn phase<'a>(row: &Row<'a>) -> &'a str {
    if row.is_deleted() { "Terminating" } else { row.text("/status/phase") }
}

fn class_name<'a>(row: &Row<'a>) -> &'a str {
    row.text_or(BETA_CLASS, row.text("/spec/storageClassName"))
}

fn amount(row: &Row<'_>, path: &str) -> String {
    row.get(path).map_or_else(|| "0".to_owned(), plain)
}

fn modes(row: &Row<'_>, path: &str) -> String {
    let has = |mode: &str| row.list(path).iter().any(|own| own == mode);
    let all: Vec<&str> =
        MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    all.join(",")
}

/// Cells of a StorageClass.
pub(super) fn class(row: &Row<'_>) -> Vec<Value> {
    vec![
        row.name(),
        row.text("/provisioner").into(),
        row.text_or("/reclaimPolicy", "Delete").into(),
        row.text_or("/volumeBindingMode", "Immediate").into(),
        row.flag("/allowVolumeExpansion").into(),
        row.age(),
    ]
}

/// Cells of a VolumeAttributesClass.
pub(super) fn attributes_class(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.text("/driverName").into(), row.age()]
}

/// Cells of a VolumeAttachment.
pub(super) fn attachment(row: &Row<'_>) -> Vec<Value> {
    vec![
        row.name(),
        row.text("/spec/attacher").into(),
        row.text("/spec/source/persistentVolumeName").into(),
        row.text("/spec/nodeName").into(),
        row.flag("/status/attached").into(),
        row.age(),
    ]
}

/// Cells of a CSINode.
pub(super) fn csi_node(row: &Row<'_>) -> Vec<Value> {
    vec![row.name(), row.count("/spec/drivers").into(), row.age()]
}

/// Cells of a CSIDriver.
pub(super) fn csi_driver(row: &Row<'_>) -> Vec<Value> {
    let attach = row.get("/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true);
    let requests = list(row.object, "/spec/tokenRequests");
    let audiences: Vec<&str> = requests.iter().map(|request| text(request, "/audience")).collect();
    let audiences = if audiences.is_empty() { UNSET.to_owned() } else { audiences.join(",") };
    let modes = row.list("/spec/volumeLifecycleModes").iter().filter_map(Value::as_str);
    let modes: Vec<&str> = modes.collect();
    let modes = if modes.is_empty() { NONE.to_owned() } else { modes.join(",") };
    vec![
        row.name(),
        attach.into(),
        row.flag("/spec/podInfoOnMount").into(),
        row.flag("/spec/storageCapacity").into(),
        audiences.into(),
        row.flag("/spec/requiresRepublish").into(),
        modes.into(),
        row.age(),
    ]
}
