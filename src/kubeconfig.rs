//! Kubeconfig files of ours: one user, all masters, so that a client can turn to any of them.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;

/// What a kubeconfig says.
pub(crate) struct Kubeconfig<'a> {
    /// Name of the user's entry.
    pub user: &'a str,
    /// The user's certificate, PEM.
    pub cert: &'a str,
    /// Its key, PEM.
    pub key: &'a str,
    /// Authority of the servers, PEM.
    pub ca: &'a str,
    /// Context name and URL of each server; the first one is the current context.
    pub servers: &'a [(String, String)],
}

impl Kubeconfig<'_> {
    /// The file's text: JSON, which is YAML too.
    fn text(&self) -> String {
        let data = |pem: &str| STANDARD.encode(pem);
        let cluster = |(name, url): &(String, String)| {
            json!({"name": name, "cluster": {
                "server": url, "certificate-authority-data": data(self.ca)}})
        };
        let context = |(name, _): &(String, String)| json!({"name": name, "context": {"cluster": name, "user": self.user}});
        let user = json!({"name": self.user, "user": {
            "client-certificate-data": data(self.cert), "client-key-data": data(self.key)}});
        let all = |one: &dyn Fn(&(String, String)) -> Value| -> Vec<Value> {
            self.servers.iter().map(one).collect()
        };
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "preferences": {},
            "clusters": all(&cluster),
            "contexts": all(&context),
            "current-context": self.servers.first().map(|(name, _)| name),
            "users": [user],
        });
        serde_yaml_ng::to_string(&document).unwrap_or_else(|_| document.to_string())
    }

    /// Writes the file, readable by its owner alone.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        stdx::pki::write_secret(path, self.text().as_bytes())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_is_a_context_and_the_first_is_current() {
        let servers = [
            ("trireme".to_owned(), "https://127.0.0.1:6443".to_owned()),
            ("master-1".to_owned(), "https://10.0.0.11:6443".to_owned()),
        ];
        let file = Kubeconfig { user: "admin", cert: "C", key: "K", ca: "A", servers: &servers };
        let read: Value = serde_yaml_ng::from_str(&file.text()).expect("yaml");
        assert_eq!(read["current-context"], "trireme");
        assert_eq!(read["contexts"][1]["context"]["cluster"], "master-1");
        assert_eq!(read["clusters"][1]["cluster"]["server"], "https://10.0.0.11:6443");
        assert_eq!(read["users"][0]["user"]["client-key-data"], STANDARD.encode("K"));
    }
}
