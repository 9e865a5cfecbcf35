//! Kinds as types: where a kind's objects live under the API server's root.

use k8s_openapi::{
    ClusterResourceScope, Metadata, NamespaceResourceScope, SubResourceScope,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::borrow::Cow;

/// What a path segment may not hold unescaped.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'/').add(b'?').add(b'#').add(b'%').add(b'"').add(b'<').add(b'>');

/// Whether a scope has namespaces.
pub trait Scoped {
    /// Objects live in namespaces.
    const NAMESPACED: bool;
}

impl Scoped for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl Scoped for ClusterResourceScope {
    const NAMESPACED: bool = false;
}

impl Scoped for SubResourceScope {
    const NAMESPACED: bool = true;
}

/// A kind with a type: every object kind of `k8s_openapi` is one.
pub trait Kind:
    k8s_openapi::Resource
    + Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Objects live in namespaces.
    const NAMESPACED: bool;

    /// Where the kind's objects live.
    fn resource() -> Resource {
        Resource {
            group: Self::GROUP.into(),
            version: Self::VERSION.into(),
            plural: Self::URL_PATH_SEGMENT.into(),
            namespaced: Self::NAMESPACED,
        }
    }
}

impl<K> Kind for K
where
    K: k8s_openapi::Resource
        + Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + 'static,
    K::Scope: Scoped,
{
    const NAMESPACED: bool = <K::Scope as Scoped>::NAMESPACED;
}

/// A resource by name: what discovery tells, and what paths are made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// Version in the group.
    pub version: Cow<'static, str>,
    /// Plural name.
    pub plural: Cow<'static, str>,
    /// Objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// The path of all objects, or of those of one namespace.
    pub fn collection(&self, namespace: &str) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.extend(utf8_percent_encode(namespace, SEGMENT));
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// The path of one object.
    pub fn object(&self, namespace: &str, name: &str) -> String {
        let mut path = self.collection(namespace);
        path.push('/');
        path.extend(utf8_percent_encode(name, SEGMENT));
        path
    }
}

/// An object of any kind reduced to its metadata, for those who care for nothing else: the
/// garbage collector, namespace deletion, quota.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Partial {
    /// The metadata.
    pub metadata: ObjectMeta,
}

impl k8s_openapi::Resource for Partial {
    const API_VERSION: &'static str = "meta.k8s.io/v1";
    const GROUP: &'static str = "meta.k8s.io";
    const KIND: &'static str = "PartialObjectMetadata";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "partialobjectmetadata";
    type Scope = NamespaceResourceScope;
}

impl Metadata for Partial {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::Node};

    #[test]
    fn paths_follow_group_and_scope() {
        let nodes = Node::resource();
        assert_eq!(nodes.collection("ignored"), "/api/v1/nodes");
        assert_eq!(nodes.object("", "a b"), "/api/v1/nodes/a%20b");
        let deployments = Deployment::resource();
        assert_eq!(deployments.collection(""), "/apis/apps/v1/deployments");
        let wanted = "/apis/apps/v1/namespaces/shop/deployments/web";
        assert_eq!(deployments.object("shop", "web"), wanted);
    }
}
