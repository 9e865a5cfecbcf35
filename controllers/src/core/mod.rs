//! What namespaces, accounts, volumes and quotas need.

pub(crate) mod namespace;
pub(crate) mod persistentvolume_protection;
pub(crate) mod persistentvolumeclaim_protection;
pub(crate) mod pod_garbage_collector;
pub(crate) mod resourcequota;
pub(crate) mod root_ca_certificate_publisher;
pub(crate) mod serviceaccount;
pub(crate) mod serviceaccount_token;
