//! A container's environment: Services, then `envFrom`, then `env`, later ones win.
//!
//! The pure part takes what was fetched ([`Sources`]); [`references`] says what must be fetched.

use super::expand::expand;
use super::fields::{self, Place};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Objects that an environment was found to need. `None` for one that does not exist.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// ConfigMaps by name.
    pub(crate) config_maps: HashMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets by name.
    pub(crate) secrets: HashMap<String, Option<Arc<Secret>>>,
    /// Variables of Services.
    pub(crate) services: Vec<(String, String)>,
    /// What is known about node and Pod.
    pub(crate) place: Place,
}

/// Names of ConfigMaps and of Secrets that a container's environment refers to.
pub(crate) fn references(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.iter().map(|source| source.name.clone()));
        secrets.extend(from.secret_ref.iter().map(|source| source.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|var| var.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.iter().map(|source| source.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|source| source.name.clone()));
    }
    (maps, secrets)
}

/// An environment under construction: order kept, last value of a name wins.
#[derive(Default)]
struct Made {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Made {
    /// Sets a variable.
    fn set(&mut self, name: String, value: String) {
        match self.places.get(&name) {
            Some(at) => self.variables[*at].1 = value,
            None => {
                self.places.insert(name.clone(), self.variables.len());
                self.variables.push((name, value));
            }
        }
    }

    /// The value of a variable.
    fn get(&self, name: &str) -> Option<&String> {
        self.places.get(name).map(|at| &self.variables[*at].1)
    }
}

/// The environment of a container; `Err` is the text for its status.
pub(crate) fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
) -> Result<Vec<(String, String)>, String> {
    let mut made = Made::default();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &from.config_map_ref {
            let optional = reference.optional.unwrap_or(false);
            if let Some(map) = sources.config_map(&reference.name, optional)? {
                for (key, value) in map.data.iter().flatten() {
                    made.set(format!("{prefix}{key}"), value.clone());
                }
            }
        }
        if let Some(reference) = &from.secret_ref {
            let optional = reference.optional.unwrap_or(false);
            if let Some(secret) = sources.secret(&reference.name, optional)? {
                for (key, value) in secret.data.iter().flatten() {
                    let value = String::from_utf8_lossy(&value.0).into_owned();
                    made.set(format!("{prefix}{key}"), value);
                }
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => sources.value(pod, namespace, container, source)?,
            None => Some(literal(variable, &made, &sources.services)),
        };
        if let Some(value) = value {
            made.set(variable.name.clone(), value);
        }
    }
    for (name, value) in &sources.services {
        if !made.places.contains_key(name) {
            made.set(name.clone(), value.clone());
        }
    }
    Ok(made.variables)
}

/// The value of a variable that is written in the Pod, with its references replaced.
fn literal(variable: &EnvVar, made: &Made, services: &[(String, String)]) -> String {
    let text = variable.value.as_deref().unwrap_or_default();
    expand(text, |name| {
        let service = || services.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        made.get(name).or_else(service).cloned()
    })
}

impl Sources {
    /// A ConfigMap that should be there.
    fn config_map(&self, name: &str, optional: bool) -> Result<Option<&ConfigMap>, String> {
        let found = self.config_maps.get(name).and_then(Option::as_deref);
        match found {
            None if !optional => Err(format!("configmap \"{name}\" not found")),
            found => Ok(found),
        }
    }

    /// A Secret that should be there.
    fn secret(&self, name: &str, optional: bool) -> Result<Option<&Secret>, String> {
        let found = self.secrets.get(name).and_then(Option::as_deref);
        match found {
            None if !optional => Err(format!("secret \"{name}\" not found")),
            found => Ok(found),
        }
    }

    /// The value that a source gives; `None` leaves the variable out.
    fn value(
        &self,
        pod: &Pod,
        namespace: &str,
        container: &Container,
        source: &EnvVarSource,
    ) -> Result<Option<String>, String> {
        if let Some(selector) = &source.field_ref {
            return fields::field(pod, &self.place, selector).map(Some);
        }
        if let Some(selector) = &source.resource_field_ref {
            let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
            let other = named.and_then(|name| super::spec::container(pod, name));
            let container = other.as_ref().map_or(container, |(_, container)| container.as_ref());
            return fields::resource(container, &self.place, selector).map(Some);
        }
        if let Some(key) = &source.config_map_key_ref {
            let optional = key.optional.unwrap_or(false);
            let Some(map) = self.config_map(&key.name, optional)? else { return Ok(None) };
            let value = map.data.as_ref().and_then(|data| data.get(&key.key)).cloned();
            return match value {
                None if !optional => Err(format!(
                    "couldn't find key {} in ConfigMap {namespace}/{}",
                    key.key, key.name
                )),
                value => Ok(value),
            };
        }
        if let Some(key) = &source.secret_key_ref {
            let optional = key.optional.unwrap_or(false);
            let Some(secret) = self.secret(&key.name, optional)? else { return Ok(None) };
            let value = secret.data.as_ref().and_then(|data| data.get(&key.key));
            return match value.map(|value| String::from_utf8_lossy(&value.0).into_owned()) {
                None if !optional => {
                    Err(format!("couldn't find key {} in Secret {namespace}/{}", key.key, key.name))
                }
                value => Ok(value),
            };
        }
        if source.file_key_ref.is_some() {
            return Err("environment from files of a volume is not supported".into());
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(container: serde_json::Value, sources: &Sources) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [container]},
        }))
        .unwrap();
        let made = environment(&pod, &pod.spec.as_ref().unwrap().containers[0], sources)?;
        let made: Vec<_> = made.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(made.join(" "))
    }

    fn sources() -> Sources {
        let map: ConfigMap = serde_json::from_value(json!({"data": {"a": "1", "b": "2"}})).unwrap();
        Sources {
            config_maps: HashMap::from([("m".into(), Some(Arc::new(map))), ("no".into(), None)]),
            services: vec![("WEB_PORT".into(), "tcp://x".into()), ("S".into(), "s".into())],
            ..Sources::default()
        }
    }

    #[test]
    fn later_variables_win_and_may_refer_to_earlier_ones() {
        let container = json!({
            "name": "c",
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}],
            "env": [
                {"name": "P_a", "value": "own"},
                {"name": "X", "value": "$(P_a)-$(WEB_PORT)-$(none)"},
                {"name": "S", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "K", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "b"}}},
            ],
        });
        let made = of(container, &sources()).unwrap();
        let wanted = "P_a=own P_b=2 X=own-tcp://x-$(none) S=p K=2 WEB_PORT=tcp://x";
        assert_eq!(made, wanted);
    }

    #[test]
    fn missing_sources_are_errors_unless_optional() {
        let key = |name: &str, optional: bool| {
            json!({"name": "c", "env": [{"name": "K", "valueFrom": {"configMapKeyRef": {
                "name": name, "key": "z", "optional": optional,
            }}}]})
        };
        let text = of(key("no", false), &sources()).unwrap_err();
        assert_eq!(text, "configmap \"no\" not found");
        let text = of(key("m", false), &sources()).unwrap_err();
        assert_eq!(text, "couldn't find key z in ConfigMap n/m");
        assert!(!of(key("m", true), &sources()).unwrap().contains("K="));
    }
}
