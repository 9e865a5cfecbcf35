//! Names and order of Go's own fields, where the facts can't tell them.

use crate::facts::{Field, Struct, Ty, registry};

/// Types whose fields Go has in another order than their numbers.
const ORDERS: [(&str, &[&str]); 7] = [
    (
        "PodSecurityContext",
        &[
            "seLinuxOptions",
            "windowsOptions",
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "fsGroup",
            "sysctls",
            "fsGroupChangePolicy",
            "seccompProfile",
            "appArmorProfile",
            "seLinuxChangePolicy",
        ],
    ),
    (
        "SecurityContext",
        &[
            "capabilities",
            "privileged",
            "seLinuxOptions",
            "windowsOptions",
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "readOnlyRootFilesystem",
            "allowPrivilegeEscalation",
            "procMount",
            "seccompProfile",
            "appArmorProfile",
        ],
    ),
    (
        "PodSpec",
        &[
            "volumes",
            "initContainers",
            "containers",
            "ephemeralContainers",
            "restartPolicy",
            "terminationGracePeriodSeconds",
            "activeDeadlineSeconds",
            "dnsPolicy",
            "nodeSelector",
            "serviceAccountName",
            "serviceAccount",
            "automountServiceAccountToken",
            "nodeName",
            "hostNetwork",
            "hostPID",
            "hostIPC",
            "shareProcessNamespace",
            "securityContext",
            "imagePullSecrets",
            "hostname",
            "subdomain",
            "affinity",
            "schedulerName",
            "tolerations",
            "hostAliases",
            "priorityClassName",
            "priority",
            "dnsConfig",
            "readinessGates",
            "runtimeClassName",
            "enableServiceLinks",
            "preemptionPolicy",
            "overhead",
            "topologySpreadConstraints",
            "setHostnameAsFQDN",
            "os",
            "hostUsers",
            "schedulingGates",
            "resourceClaims",
            "resources",
        ],
    ),
    ("Container", CONTAINER),
    ("EphemeralContainer", CONTAINER),
    (
        "VolumeMount",
        &[
            "name",
            "readOnly",
            "recursiveReadOnly",
            "mountPath",
            "subPath",
            "mountPropagation",
            "subPathExpr",
        ],
    ),
    (
        "PersistentVolumeClaimSpec",
        &[
            "accessModes",
            "selector",
            "resources",
            "volumeName",
            "storageClassName",
            "volumeMode",
            "dataSource",
            "dataSourceRef",
            "volumeAttributesClassName",
        ],
    ),
];

/// Fields of all kinds of containers.
const CONTAINER: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "ports",
    "envFrom",
    "env",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "volumeMounts",
    "volumeDevices",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

/// A type's fields in Go's order.
pub(super) fn ordered<'a>(ty: Ty<'a>, s: &'a Struct) -> Vec<&'a Field> {
    let short = short(ty.name());
    let order = ORDERS.iter().find(|(name, _)| *name == short).map_or(&[][..], |row| row.1);
    let mut fields: Vec<&Field> = s.fields.iter().collect();
    fields.sort_by_key(|field| {
        let place = order.iter().position(|name| *name == field.json.as_ref());
        let inlined = !field.embedded.is_empty();
        // Volumes have a name before what they inline; all others begin with that.
        let first = inlined == (short != "Volume");
        (place.unwrap_or(usize::MAX), !first, number(ty, field))
    });
    fields
}

/// A field's number, in the struct that it is inlined from if it is.
fn number(ty: Ty<'_>, field: &Field) -> u32 {
    if field.number != 0 {
        return field.number;
    }
    let Some((package, _)) = ty.name().rsplit_once('.') else { return 0 };
    let owner = field.embedded.rsplit('.').next().unwrap_or_default();
    let owner = registry().find(&format!("{package}.{owner}"));
    let inner = owner.and_then(Ty::as_struct).and_then(|s| s.field(&field.json));
    inner.map_or(u32::MAX, |field| field.number)
}

fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// Go's name of a field.
pub(super) fn go_name(ty: Ty<'_>, field: &Field) -> String {
    let json = field.json.as_ref();
    let special = match (short(ty.name()), json) {
        ("PodSpec", "serviceAccount") => "DeprecatedServiceAccount",
        (_, "cephfs") => "CephFS",
        (_, "storageos") => "StorageOS",
        (_, "tty") => "TTY",
        (_, "wwids") => "WWIDs",
        (_, "seLinuxOptions") => "SELinuxOptions",
        (_, "seLinuxChangePolicy") => "SELinuxChangePolicy",
        (_, "chapAuthDiscovery") => "DiscoveryCHAPAuth",
        (_, "chapAuthSession") => "SessionCHAPAuth",
        (_, "vsphereVolume") => "VsphereVolume",
        _ => "",
    };
    if !special.is_empty() {
        return special.to_owned();
    }
    for (prefix, go) in [
        ("apiV", "APIV"),
        ("apiG", "APIG"),
        ("dns", "DNS"),
        ("fsG", "FSG"),
        ("fsT", "FST"),
        ("gce", "GCE"),
        ("aws", "AWS"),
        ("httpG", "HTTPG"),
        ("httpH", "HTTPH"),
        ("tcp", "TCP"),
        ("pdN", "PDN"),
        ("iscsiI", "ISCSII"),
        ("gmsa", "GMSA"),
        ("uid", "UID"),
        ("pkix", "PKIX"),
    ] {
        if let Some(rest) = json.strip_prefix(prefix) {
            return format!("{go}{rest}");
        }
    }
    match json {
        "nfs" | "rbd" | "iscsi" | "fc" | "csi" | "os" | "ip" | "grpc" | "iqn" => {
            json.to_uppercase()
        }
        _ => {
            let (first, rest) = json.split_at(json.len().min(1));
            format!("{}{rest}", first.to_uppercase())
        }
    }
}
