//! Volumes and the claims to them.

pub(crate) mod ephemeral_volume;
pub(crate) mod persistentvolume_binder;
pub(crate) mod persistentvolume_expander;
