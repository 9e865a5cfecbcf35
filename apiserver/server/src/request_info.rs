//! What a request is about, read from its path and query alone: the verb, the resource and the object, before
//! anything is decoded. Authorization, audit and dispatch all go by it.

use http::Method;
use percent_encoding::percent_decode_str;

/// Subresources of namespaces; anything else after a namespace's name is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// A request's target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource, as against a path like `/healthz`.
    pub is_resource: bool,
    /// The path, decoded.
    pub path: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the HTTP method in
    /// lower case for paths that are no resources.
    pub verb: String,
    /// `api` or `apis`.
    pub prefix: String,
    /// Group; empty is core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace; empty is none or all.
    pub namespace: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource; empty is none.
    pub subresource: String,
    /// Object; empty is none or all.
    pub name: String,
    /// What comes after the subresource, as in `pods/x/proxy/some/path`.
    pub rest: String,
    /// The query's parameters, decoded, in order.
    pub query: Query,
}

/// Decoded query parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Parses the text after `?`. A pair that can't be decoded, or that contains a semicolon, is dropped.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
        Self(
            pairs
                .filter_map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    Some((unescape(key)?, unescape(value)?))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// The first value, or an empty text.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// A boolean parameter: there, and neither `false` nor `0`.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }
}

/// Undoes percent-encoding, and plus signs for blanks. `None` for what is not encoded well.
fn unescape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, byte)| {
        let hex = |n| bytes.get(at + n).is_some_and(u8::is_ascii_hexdigit);
        *byte == b'%' && !(hex(1) && hex(2))
    });
    if broken {
        return None;
    }
    let text = text.replace('+', " ");
    Some(percent_decode_str(&text).decode_utf8_lossy().into_owned())
}

impl RequestInfo {
    /// Reads a request's method, path and query.
    pub fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let query = Query::parse(query.unwrap_or_default());
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let mut info = Self { path, query, ..Self::default() };
        info.verb = method.as_str().to_ascii_lowercase();
        let path = info.path.clone();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let parts = match parts[..] {
            ["api", version, ref rest @ ..] => {
                info.prefix = "api".into();
                info.version = version.into();
                rest
            }
            ["apis", group, version, ref rest @ ..] => {
                info.prefix = "apis".into();
                info.group = group.into();
                info.version = version.into();
                rest
            }
            _ => return info,
        };
        if parts.is_empty() {
            return info;
        }
        info.is_resource = true;
        info.verb = verb(method).into();
        info.resource_parts(parts);
        info.settle_verb(method);
        info
    }

    /// Reads what comes after the version.
    fn resource_parts(&mut self, mut parts: &[&str]) {
        match *parts {
            ["watch", ref rest @ ..] if !rest.is_empty() => {
                self.verb = "watch".into();
                parts = rest;
            }
            ["proxy", ref rest @ ..] if !rest.is_empty() => {
                self.verb = "proxy".into();
                parts = rest;
            }
            _ => {}
        }
        if let ["namespaces", namespace, ref rest @ ..] = *parts {
            self.namespace = namespace.into();
            match rest {
                [first, ..] if !NAMESPACE_SUBRESOURCES.contains(first) => parts = rest,
                _ => {}
            }
        }
        let mut parts = parts.iter().copied();
        self.resource = parts.next().unwrap_or_default().into();
        self.name = parts.next().unwrap_or_default().into();
        self.subresource = parts.next().unwrap_or_default().into();
        self.rest = parts.collect::<Vec<_>>().join("/");
    }

    /// GET without a name lists or watches; DELETE without a name deletes a collection.
    fn settle_verb(&mut self, method: &Method) {
        if self.name.is_empty() && self.verb == "get" {
            self.verb = "list".into();
        }
        if matches!(self.verb.as_str(), "list" | "watch") {
            if self.verb == "list" && self.query.flag("watch") {
                self.verb = "watch".into();
            }
            if self.name.is_empty() {
                self.name = only_name(self.query.text("fieldSelector")).unwrap_or_default();
            }
        }
        if self.name.is_empty() && *method == Method::DELETE {
            self.verb = "deletecollection".into();
        }
    }

    /// Whether answering takes as long as the client wants: no time limit then.
    pub fn long_running(&self) -> bool {
        self.verb == "watch"
            || self.verb == "proxy"
            || matches!(self.subresource.as_str(), "exec" | "attach" | "portforward" | "proxy")
            || (self.subresource == "log" && self.query.flag("follow"))
    }

    /// `resource/subresource`, or the resource alone.
    pub fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The verb of a method on a named object.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// The name that a field selector pins down.
fn only_name(selector: &str) -> Option<String> {
    let name = selector.split(',').find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value))
    })?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:_".contains(&b));
    (plain && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').map_or((uri, None), |(p, q)| (p, Some(q)));
        RequestInfo::parse(&method, path, query)
    }

    #[test]
    fn a_path_names_verb_resource_and_object() {
        let cases = [
            (Method::GET, "/api/v1/pods", "list", "", "pods", "", ""),
            (Method::GET, "/api/v1/pods?watch=", "watch", "", "pods", "", ""),
            (Method::GET, "/api/v1/watch/pods", "watch", "", "pods", "", ""),
            (Method::GET, "/api/v1/namespaces/a/pods/x/log", "get", "a", "pods", "x", "log"),
            (Method::GET, "/api/v1/namespaces/a", "get", "a", "namespaces", "a", ""),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize",
                "update",
                "a",
                "namespaces",
                "a",
                "finalize",
            ),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "a",
                "deployments",
                "",
                "",
            ),
            (
                Method::GET,
                "/api/v1/pods?fieldSelector=metadata.name%3Dx",
                "list",
                "",
                "pods",
                "x",
                "",
            ),
        ];
        for (method, uri, verb, namespace, resource, name, subresource) in cases {
            let info = parse(method, uri);
            let got =
                (&*info.verb, &*info.namespace, &*info.resource, &*info.name, &*info.subresource);
            assert_eq!(got, (verb, namespace, resource, name, subresource), "{uri}");
            assert!(info.is_resource);
        }
        assert!(!parse(Method::GET, "/healthz").is_resource);
        assert!(!parse(Method::GET, "/apis/apps/v1").is_resource);
    }

    #[test]
    fn only_false_and_zero_are_false() {
        let query = Query::parse("a=false&b=0&c&d=abc&e=FALSE&f=%zz");
        let flags: Vec<bool> = ["a", "b", "c", "d", "e", "f"].map(|key| query.flag(key)).into();
        assert_eq!(flags, [false, false, true, true, false, false]);
    }
}
