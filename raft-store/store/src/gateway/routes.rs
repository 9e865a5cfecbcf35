//! Which path stands for which call. Names are etcd's.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{DescriptorPool, MethodDescriptor};

/// A service, and its calls by what follows `/v3/` in the path.
struct Paths {
    service: &'static str,
    calls: &'static [(&'static str, &'static str)],
}

const PATHS: &[Paths] = &[
    Paths {
        service: "etcdserverpb.KV",
        calls: &[
            ("kv/range", "Range"),
            ("kv/put", "Put"),
            ("kv/deleterange", "DeleteRange"),
            ("kv/txn", "Txn"),
            ("kv/compaction", "Compact"),
        ],
    },
    Paths { service: "etcdserverpb.Watch", calls: &[("watch", "Watch")] },
    Paths {
        service: "etcdserverpb.Lease",
        calls: &[
            ("lease/grant", "LeaseGrant"),
            ("lease/revoke", "LeaseRevoke"),
            ("kv/lease/revoke", "LeaseRevoke"),
            ("lease/keepalive", "LeaseKeepAlive"),
            ("lease/timetolive", "LeaseTimeToLive"),
            ("kv/lease/timetolive", "LeaseTimeToLive"),
            ("lease/leases", "LeaseLeases"),
            ("kv/lease/leases", "LeaseLeases"),
        ],
    },
    Paths {
        service: "etcdserverpb.Cluster",
        calls: &[
            ("cluster/member/add", "MemberAdd"),
            ("cluster/member/remove", "MemberRemove"),
            ("cluster/member/update", "MemberUpdate"),
            ("cluster/member/list", "MemberList"),
            ("cluster/member/promote", "MemberPromote"),
        ],
    },
    Paths {
        service: "etcdserverpb.Maintenance",
        calls: &[
            ("maintenance/alarm", "Alarm"),
            ("maintenance/status", "Status"),
            ("maintenance/defragment", "Defragment"),
            ("maintenance/hash", "Hash"),
            ("maintenance/hashkv", "HashKV"),
            ("maintenance/snapshot", "Snapshot"),
            ("maintenance/transfer-leadership", "MoveLeader"),
            ("maintenance/downgrade", "Downgrade"),
        ],
    },
    Paths {
        service: "etcdserverpb.Auth",
        calls: &[
            ("auth/enable", "AuthEnable"),
            ("auth/disable", "AuthDisable"),
            ("auth/status", "AuthStatus"),
            ("auth/authenticate", "Authenticate"),
            ("auth/user/add", "UserAdd"),
            ("auth/user/get", "UserGet"),
            ("auth/user/list", "UserList"),
            ("auth/user/delete", "UserDelete"),
            ("auth/user/changepw", "UserChangePassword"),
            ("auth/user/grant", "UserGrantRole"),
            ("auth/user/revoke", "UserRevokeRole"),
            ("auth/role/add", "RoleAdd"),
            ("auth/role/get", "RoleGet"),
            ("auth/role/list", "RoleList"),
            ("auth/role/delete", "RoleDelete"),
            ("auth/role/grant", "RoleGrantPermission"),
            ("auth/role/revoke", "RoleRevokePermission"),
        ],
    },
    Paths { service: "v3lockpb.Lock", calls: &[("lock/lock", "Lock"), ("lock/unlock", "Unlock")] },
    Paths {
        service: "v3electionpb.Election",
        calls: &[
            ("election/campaign", "Campaign"),
            ("election/proclaim", "Proclaim"),
            ("election/leader", "Leader"),
            ("election/observe", "Observe"),
            ("election/resign", "Resign"),
        ],
    },
];

/// All calls by their paths without the prefix.
static METHODS: LazyLock<HashMap<&'static str, MethodDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the build has made them");
    let mut methods = HashMap::new();
    for paths in PATHS {
        let service = pool.get_service_by_name(paths.service).expect("a test looks for each");
        for (path, name) in paths.calls {
            let method = service.methods().find(|method| method.name() == *name);
            methods.insert(*path, method.expect("a test looks for each"));
        }
    }
    methods
});

/// The call that a path stands for.
pub(super) fn find(path: &str) -> Option<MethodDescriptor> {
    METHODS.get(path.strip_prefix(super::PREFIX)?).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_call_and_every_call_but_range_stream_a_path() {
        let range = find("/v3/kv/range").expect("there");
        assert_eq!(range.full_name(), "etcdserverpb.KV.Range");
        assert!(find("/v3/kv/rangestream").is_none());
        for paths in PATHS {
            let pool = METHODS["watch"].parent_pool().clone();
            let service = pool.get_service_by_name(paths.service).expect("there");
            for method in service.methods().filter(|method| method.name() != "RangeStream") {
                assert!(paths.calls.iter().any(|call| call.1 == method.name()), "{method:?}");
            }
        }
    }
}
