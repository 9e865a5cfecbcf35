//! Which pages may ask, and under which name this member is asked: etcd's `--cors` and `--host-whitelist`. Both are about
//! browsers, and so about plain HTTP and JSON alone.

use http::{
    HeaderMap, HeaderValue,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, HOST, ORIGIN},
};

/// Stands for everybody.
const ANY: &str = "*";

/// Origins and host names that are let in.
#[derive(Debug, Clone)]
pub struct Access {
    /// Origins of pages that may ask; `*` is all, and so is an empty list.
    pub origins: Vec<String>,
    /// Host names under which this member may be asked without TLS; `*` is all, and so is an empty list. A page of
    /// somebody else's cannot pass as one of ours under a name that is not in it.
    pub hosts: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self { origins: vec![ANY.to_owned()], hosts: vec![ANY.to_owned()] }
    }
}

impl Access {
    /// The host that a request names, if it may not be asked under that name.
    pub(crate) fn unknown_host(&self, request: &http::request::Parts) -> Option<String> {
        let named = request.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = named.or(request.uri.authority().map(http::uri::Authority::as_str));
        let host = without_port(host.unwrap_or_default());
        (!is_in(&self.hosts, host)).then(|| host.to_owned())
    }

    /// Says which pages may read the answer.
    pub(crate) fn mark(&self, request: &HeaderMap, response: &mut HeaderMap) {
        let origin = if is_in(&self.origins, ANY) {
            HeaderValue::from_static(ANY)
        } else {
            let origin = request.get(ORIGIN).cloned();
            let is_allowed = |origin: &HeaderValue| {
                origin.to_str().is_ok_and(|origin| is_in(&self.origins, origin))
            };
            let Some(origin) = origin.filter(is_allowed) else { return };
            origin
        };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        for (name, value) in CORS {
            response.insert(*name, HeaderValue::from_static(value));
        }
    }
}

const CORS: &[(&str, &str)] = &[
    ("access-control-allow-headers", "accept, content-type, authorization"),
    ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
];

fn is_in(list: &[String], one: &str) -> bool {
    list.is_empty() || list.iter().any(|known| known == ANY || known == one)
}

fn without_port(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match host.rsplit_once(':') {
        // An address of IP version 6 stands in brackets before a port.
        Some((name, port)) if is_port(port) && (!name.contains(':') || name.ends_with(']')) => {
            name.trim_start_matches('[').trim_end_matches(']')
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str) -> http::request::Parts {
        http::Request::get("/").header(HOST, host).body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts_are_known_without_their_ports() {
        let access = Access { hosts: vec!["here".into(), "::1".into()], ..Access::default() };
        for known in ["here", "here:2379", "[::1]:2379"] {
            assert_eq!(access.unknown_host(&named(known)), None, "{known}");
        }
        assert_eq!(access.unknown_host(&named("there:2379")).as_deref(), Some("there"));
        assert_eq!(Access::default().unknown_host(&named("there")), None);
    }

    #[test]
    fn an_answer_says_which_pages_may_read_it() {
        let marked = |origins: &[&str], origin: &str| {
            let origins = origins.iter().map(ToString::to_string).collect();
            let access = Access { origins, ..Access::default() };
            let (mut request, mut response) = (HeaderMap::new(), HeaderMap::new());
            request.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            access.mark(&request, &mut response);
            let marked = response.get(ACCESS_CONTROL_ALLOW_ORIGIN);
            marked.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(marked(&["*"], "https://a").as_deref(), Some("*"));
        assert_eq!(marked(&["https://a"], "https://a").as_deref(), Some("https://a"));
        assert_eq!(marked(&["https://a"], "https://b"), None);
    }
}
