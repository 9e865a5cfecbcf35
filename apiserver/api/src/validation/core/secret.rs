//! Secrets: keys are names of files, and types need keys of their own.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::super::check::{Errors, Path, at, entries, get, has, text};
use crate::{codec, meta};

/// What is shown instead of a secret.
const REDACTED: &str = "<secret contents redacted>";

/// A new Secret. Its size and immutability are the server's strategy.
pub(in crate::validation) fn create(object: &Value, errors: &mut Errors) {
    let data = Path::new("data");
    for (key, _) in entries(object, "data") {
        errors.complaints(&data.key(key), key, meta::config_map_key(key));
    }
    by_type(object, &data, errors);
}

fn by_type(object: &Value, data: &Path<'_>, errors: &mut Errors) {
    let need = |keys: &[&str], errors: &mut Errors| {
        for key in keys {
            if !has(get(object, "data"), key) {
                errors.required(&data.key(key), "");
            }
        }
    };
    match text(object, "type") {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if at(object, "/metadata/annotations").get(name).is_none_or(|v| v == "") {
                let path = Path::new("metadata");
                errors.required(&path.child("annotations").key(name), "");
            }
        }
        "kubernetes.io/dockercfg" => docker(object, ".dockercfg", data, errors),
        "kubernetes.io/dockerconfigjson" => docker(object, ".dockerconfigjson", data, errors),
        "kubernetes.io/basic-auth" => {
            let either = ["username", "password"];
            if either.iter().all(|key| !has(get(object, "data"), key)) {
                need(&either, errors);
            }
        }
        "kubernetes.io/ssh-auth" => {
            let key = "ssh-privatekey";
            if text(get(object, "data"), key).is_empty() {
                errors.required(&data.key(key), "");
            }
        }
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"], errors),
        _ => {}
    }
}

/// Registry credentials are a JSON object.
fn docker(object: &Value, key: &str, data: &Path<'_>, errors: &mut Errors) {
    let at = data.key(key);
    let Some(encoded) = get(get(object, "data"), key).as_str() else {
        errors.required(&at, "");
        return;
    };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let why = match codec::parse(&bytes, codec::ContentType::Json) {
        Ok((Value::Object(_) | Value::Null, _)) => return,
        Ok((other, _)) => {
            let what = match other {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}")
        }
        Err(codec::Error::Syntax(why)) => why,
        Err(other) => other.to_string(),
    };
    errors.invalid(&at, REDACTED, &why);
}

/// A changed Secret.
pub(in crate::validation) fn update(new: &Value, _old: &Value, errors: &mut Errors) {
    create(new, errors);
}
