//! Kubeconfig files: who talks to which masters, with which credentials.
//!
//! A cluster of ours has several masters, a cluster of a kubeconfig has one server. So the file
//! that we write holds one cluster and one context per master, for tools that know one server
//! only; and what we read are all clusters with the same authority as the current context's.

use crate::{Config, Error, Tls};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use url::Url;

/// The file, as far as it matters here.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    clusters: Vec<Named<Cluster>>,
    users: Vec<Named<User>>,
    contexts: Vec<Named<Context>>,
    current_context: String,
}

/// A row of one of its lists.
#[derive(Debug, Serialize, Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "cluster", alias = "user", alias = "context", rename = "value")]
    value: T,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    certificate_authority_data: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    certificate_authority: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    insecure_skip_tls_verify: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate_data: String,
    client_certificate: String,
    client_key_data: String,
    client_key: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(..)")
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

/// Reads a file.
pub fn load(path: &Path) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::File { path: path.display().to_string(), source })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&text, folder).map_err(|error| match error {
        Error::Config(text) => Error::Config(format!("{}: {text}", path.display())),
        other => other,
    })
}

/// Reads a file's text; paths in it are relative to `folder`.
pub fn read(text: &str, folder: &Path) -> Result<Config, Error> {
    let file: File = serde_yaml_ng::from_str(text)
        .map_err(|error| Error::Config(format!("not a kubeconfig: {error}")))?;
    let context = find(&file.contexts, &file.current_context, "context")?;
    let cluster = find(&file.clusters, &context.cluster, "cluster")?;
    if cluster.insecure_skip_tls_verify {
        let text = "insecure-skip-tls-verify: name the certificate-authority instead";
        return Err(Error::Config(text.into()));
    }
    let mut servers = vec![server(&cluster.server)?];
    for other in file.clusters.iter().map(|other| &other.value) {
        let same = other.certificate_authority_data == cluster.certificate_authority_data
            && other.certificate_authority == cluster.certificate_authority;
        let url = server(&other.server)?;
        if same && !servers.contains(&url) {
            servers.push(url);
        }
    }
    let none = User::default();
    let user = match context.user.as_str() {
        "" => &none,
        name => find(&file.users, name, "user")?,
    };
    let config = Config { servers, ..Config::default() };
    credentials(config, cluster, user, folder)
}

fn find<'a, T>(list: &'a [Named<T>], name: &str, what: &str) -> Result<&'a T, Error> {
    let found = list.iter().find(|one| one.name == name);
    found.map(|one| &one.value).ok_or_else(|| Error::Config(format!("no {what} {name:?}")))
}

fn server(text: &str) -> Result<Url, Error> {
    text.parse().map_err(|error| Error::Config(format!("server {text:?}: {error}")))
}

fn credentials(
    mut config: Config,
    cluster: &Cluster,
    user: &User,
    folder: &Path,
) -> Result<Config, Error> {
    let file = |name: &str| (!name.is_empty()).then(|| folder.join(name));
    config.token = (!user.token.is_empty()).then(|| user.token.clone());
    config.token_file = file(&user.token_file);
    let data =
        [&cluster.certificate_authority_data, &user.client_certificate_data, &user.client_key_data];
    if data.iter().all(|data| data.is_empty()) {
        config.tls = Tls::Files(stdx::tls::ClientTls {
            ca: file(&cluster.certificate_authority),
            cert: file(&user.client_certificate),
            key: file(&user.client_key),
            ..stdx::tls::ClientTls::default()
        });
        return Ok(config);
    }
    let ca = part(data[0], file(&cluster.certificate_authority))?.unwrap_or_default();
    let cert = part(data[1], file(&user.client_certificate))?;
    let key = part(data[2], file(&user.client_key))?;
    config.tls = Tls::Pem { ca, identity: cert.zip(key) };
    Ok(config)
}

/// What a field or a file beside the kubeconfig holds.
fn part(data: &str, file: Option<PathBuf>) -> Result<Option<Vec<u8>>, Error> {
    if !data.is_empty() {
        let bytes = STANDARD.decode(data.trim());
        return bytes.map(Some).map_err(|error| Error::Config(format!("base64: {error}")));
    }
    let Some(path) = file else { return Ok(None) };
    let bytes = std::fs::read(&path);
    bytes.map(Some).map_err(|source| Error::File { path: path.display().to_string(), source })
}

/// What a new kubeconfig shall say.
#[derive(Clone, Default)]
pub struct Contents {
    /// Name of the cluster; the second master's is `<name>-2`, and so on.
    pub cluster: String,
    /// The masters.
    pub servers: Vec<Url>,
    /// Name of the user.
    pub user: String,
    /// The authority of the masters, PEM.
    pub ca_pem: String,
    /// The user's certificate and key, PEM.
    pub identity: Option<(String, String)>,
    /// The user's token.
    pub token: Option<String>,
}

impl Contents {
    /// The text of the file.
    pub fn to_yaml(&self) -> String {
        let name = |index: usize| match index {
            0 => self.cluster.clone(),
            _ => format!("{}-{}", self.cluster, index + 1),
        };
        let names: Vec<String> = (0..self.servers.len()).map(name).collect();
        let ca = STANDARD.encode(&self.ca_pem);
        let cluster = |(name, url): (&String, &Url)| {
            let server = url.as_str().trim_end_matches('/');
            let mut cluster = serde_json::json!({"server": server});
            if !ca.is_empty() {
                cluster["certificate-authority-data"] = ca.as_str().into();
            }
            serde_json::json!({"name": name, "cluster": cluster})
        };
        let context = |name: &String| {
            let context = serde_json::json!({"cluster": name, "user": self.user});
            serde_json::json!({"name": name, "context": context})
        };
        let mut user = serde_json::Map::new();
        if let Some((cert, key)) = &self.identity {
            user.insert("client-certificate-data".into(), STANDARD.encode(cert).into());
            user.insert("client-key-data".into(), STANDARD.encode(key).into());
        }
        if let Some(token) = &self.token {
            user.insert("token".into(), token.as_str().into());
        }
        let file = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": names.iter().zip(&self.servers).map(cluster).collect::<Vec<_>>(),
            "contexts": names.iter().map(context).collect::<Vec<_>>(),
            "current-context": self.cluster,
            "users": [{"name": self.user, "user": user}],
        });
        serde_yaml_ng::to_string(&file).expect("plain maps and strings can be written")
    }

    /// Writes the file so that only its owner may read it.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        stdx::pki::write_secret(path, self.to_yaml().as_bytes())
            .map_err(|source| Error::File { path: path.display().to_string(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_with_all_masters() {
        let servers: Vec<Url> = ["https://10.0.0.1:6443", "https://10.0.0.2:6443"]
            .iter()
            .map(|text| text.parse().expect("a URL"))
            .collect();
        let contents = Contents {
            cluster: "trireme".into(),
            servers: servers.clone(),
            user: "admin".into(),
            ca_pem: "authority".into(),
            identity: Some(("certificate".into(), "key".into())),
            token: Some("secret".into()),
        };
        let config = read(&contents.to_yaml(), Path::new("/")).expect("our own file");
        assert_eq!(config.servers, servers);
        assert_eq!(config.token.as_deref(), Some("secret"));
        let Tls::Pem { ca, identity } = config.tls else { panic!("embedded PEM") };
        assert_eq!(ca, b"authority");
        assert_eq!(identity, Some((b"certificate".to_vec(), b"key".to_vec())));
    }

    #[test]
    fn files_are_relative_to_the_kubeconfig() {
        let text = "
apiVersion: v1
kind: Config
current-context: main
contexts: [{name: main, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://a:1', certificate-authority: ca.pem}}]
users: [{name: u, user: {client-certificate: u.pem, client-key: /keys/u.key}}]
";
        let config = read(text, Path::new("/etc/kube")).expect("a kubeconfig");
        let Tls::Files(files) = config.tls else { panic!("files") };
        assert_eq!(files.ca.as_deref(), Some(Path::new("/etc/kube/ca.pem")));
        assert_eq!(files.key.as_deref(), Some(Path::new("/keys/u.key")));
        assert!(read("current-context: x", Path::new("")).is_err());
    }
}
