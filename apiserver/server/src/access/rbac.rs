//! Roles and bindings, kept in memory by watches on the store and indexed by subject, so that a question looks
//! only at the bindings of the one who asks.
//!
//! A ClusterRole with an aggregation rule also has, for our purposes, the rules of all roles that it selects: so
//! `admin`, `edit` and `view` work before the controller has written those rules down.

use parking_lot::RwLock;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use stdx::Shutdown;

use super::rules::Rule;
use super::{Attributes, Opinion};
use crate::document;
use crate::fields;
use crate::identity::UserInfo;
use crate::storage::follow::{Follower, follow};
use crate::storage::{Event, Item, Shared, keys};

/// Group of all four kinds.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The four kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    ClusterRoles,
    Roles,
    ClusterRoleBindings,
    RoleBindings,
}

impl Part {
    const ALL: [Self; 4] =
        [Self::ClusterRoles, Self::Roles, Self::ClusterRoleBindings, Self::RoleBindings];

    fn plural(self) -> &'static str {
        match self {
            Self::ClusterRoles => "clusterroles",
            Self::Roles => "roles",
            Self::ClusterRoleBindings => "clusterrolebindings",
            Self::RoleBindings => "rolebindings",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::ClusterRoles => 1,
            Self::Roles => 2,
            Self::ClusterRoleBindings => 4,
            Self::RoleBindings => 8,
        }
    }
}

/// Who a binding is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Subject {
    User(String),
    Group(String),
    Account(String, String),
}

impl Subject {
    fn read(value: &Value, namespace: &str) -> Option<Self> {
        let name = fields::text(value, "/name").to_owned();
        match fields::text(value, "/kind") {
            "User" => Some(Self::User(name)),
            "Group" => Some(Self::Group(name)),
            "ServiceAccount" => {
                let own = fields::text(value, "/namespace");
                let namespace = if own.is_empty() { namespace } else { own };
                Some(Self::Account(namespace.to_owned(), name))
            }
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => user.name == *name,
            Self::Group(name) => user.is_in(name),
            Self::Account(namespace, name) => user.account() == Some((namespace, name)),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::User(name) => format!("User {name:?}"),
            Self::Group(name) => format!("Group {name:?}"),
            Self::Account(namespace, name) => {
                format!("ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
        }
    }
}

#[derive(Debug)]
struct Role {
    rules: Arc<Vec<Rule>>,
    labels: BTreeMap<String, String>,
    /// Label selectors of other roles whose rules are added.
    selectors: Vec<Value>,
}

#[derive(Debug)]
struct Binding {
    subjects: Vec<Subject>,
    role_kind: String,
    role_name: String,
}

/// Bindings of one namespace or of the cluster, by name, and the names by subject.
#[derive(Debug, Default)]
struct Bindings {
    by_name: BTreeMap<String, Arc<Binding>>,
    by_subject: HashMap<Subject, Vec<String>>,
}

impl Bindings {
    fn set(&mut self, name: &str, binding: Option<Binding>) {
        if let Some(old) = self.by_name.remove(name) {
            for subject in &old.subjects {
                if let Some(names) = self.by_subject.get_mut(subject) {
                    names.retain(|own| own != name);
                    if names.is_empty() {
                        self.by_subject.remove(subject);
                    }
                }
            }
        }
        let Some(binding) = binding else { return };
        for subject in &binding.subjects {
            self.by_subject.entry(subject.clone()).or_default().push(name.to_owned());
        }
        self.by_name.insert(name.to_owned(), Arc::new(binding));
    }

    /// The bindings of a user, in the order of their names.
    fn of(&self, user: &UserInfo) -> Vec<(String, Arc<Binding>)> {
        let mut subjects = vec![Subject::User(user.name.clone())];
        subjects.extend(user.groups.iter().cloned().map(Subject::Group));
        let account = user.account();
        subjects.extend(account.map(|(ns, name)| Subject::Account(ns.to_owned(), name.to_owned())));
        let mut names: Vec<&String> =
            subjects.iter().filter_map(|subject| self.by_subject.get(subject)).flatten().collect();
        names.sort();
        names.dedup();
        names.into_iter().filter_map(|n| Some((n.clone(), self.by_name.get(n)?.clone()))).collect()
    }
}

#[derive(Debug, Default)]
struct State {
    cluster_roles: HashMap<String, Role>,
    roles: HashMap<(String, String), Arc<Vec<Rule>>>,
    cluster: Bindings,
    namespaced: HashMap<String, Bindings>,
}

/// The index.
#[derive(Debug, Default)]
pub struct Rbac {
    state: RwLock<State>,
    /// Bits of the kinds that have been read once.
    read: AtomicU8,
}

/// A rule with where it comes from.
struct Held {
    rule: Rule,
    because: String,
}

impl Rbac {
    /// Begins to follow the store.
    pub fn start(self: &Arc<Self>, storage: &Shared, shutdown: &Shutdown) {
        for part in Part::ALL {
            let prefix = keys::prefix(&keys::folder(GROUP, part.plural()), None);
            let follower = Feed { rbac: self.clone(), part };
            let task = follow(storage.clone(), prefix, follower, shutdown.clone());
            stdx::task::spawn("rbac", task);
        }
    }

    /// Whether all four kinds have been read.
    pub fn ready(&self) -> bool {
        self.read.load(Ordering::Acquire) == 15
    }

    /// What roles and bindings say.
    pub fn decide(&self, user: &UserInfo, wanted: &Attributes<'_>) -> Opinion {
        let namespace = if wanted.is_resource { wanted.namespace } else { "" };
        let mut errors = Vec::new();
        let allowed = self.visit(user, namespace, &mut errors, |held| {
            held.rule.allows(wanted).then(|| format!("RBAC: allowed by {}", held.because))
        });
        match allowed {
            Some(reason) => Opinion::Allow(reason),
            None if errors.is_empty() => Opinion::None,
            None => Opinion::Because(format!("RBAC: {}", aggregate(&errors))),
        }
    }

    /// All rules that a user has in a namespace, and what could not be resolved.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let mut errors = Vec::new();
        let mut rules = Vec::new();
        self.visit(user, namespace, &mut errors, |held| {
            rules.push(held.rule.clone());
            None::<()>
        });
        (rules, errors)
    }

    /// The rules of a role; `None` when there is no such role.
    pub fn role(&self, kind: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        self.state.read().resolve(kind, namespace, name).map(|rules| (*rules).clone())
    }

    /// Walks a user's rules until one gives an answer.
    fn visit<T>(
        &self,
        user: &UserInfo,
        namespace: &str,
        errors: &mut Vec<String>,
        mut ask: impl FnMut(&Held) -> Option<T>,
    ) -> Option<T> {
        let state = self.state.read();
        let cluster = state.cluster.of(user).into_iter().map(|(name, binding)| (name, binding, ""));
        let own = state.namespaced.get(namespace).map(|bindings| bindings.of(user));
        let own = own.into_iter().flatten().filter(|_| !namespace.is_empty());
        let all = cluster.chain(own.map(|(name, binding)| (name, binding, namespace)));
        for (name, binding, namespace) in all {
            let Binding { subjects, role_kind, role_name } = &*binding;
            let Some(rules) = state.resolve(role_kind, namespace, role_name) else {
                let kind = role_kind.to_lowercase();
                errors.push(format!("{kind}.{GROUP} {role_name:?} not found"));
                continue;
            };
            let subject = subjects.iter().find(|s| s.is(user)).map(Subject::describe);
            let subject = subject.unwrap_or_default();
            let binding = match namespace {
                "" => format!("ClusterRoleBinding {name:?}"),
                _ => format!("RoleBinding {:?}", format!("{name}/{namespace}")),
            };
            let because = format!("{binding} of {role_kind} {role_name:?} to {subject}");
            for rule in rules.iter() {
                let held = Held { rule: rule.clone(), because: because.clone() };
                if let Some(answer) = ask(&held) {
                    return Some(answer);
                }
            }
        }
        None
    }
}

/// Several errors as one text.
fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl State {
    fn resolve(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Vec<Rule>>> {
        if kind == "Role" {
            return self.roles.get(&(namespace.to_owned(), name.to_owned())).cloned();
        }
        let role = self.cluster_roles.get(name)?;
        if role.selectors.is_empty() {
            return Some(role.rules.clone());
        }
        let mut rules = (*role.rules).clone();
        self.aggregate(role, &mut rules, 0);
        Some(Arc::new(rules))
    }

    /// Adds the rules of the roles that this one selects, and of those that they select.
    fn aggregate(&self, role: &Role, rules: &mut Vec<Rule>, depth: usize) {
        if depth > 4 {
            return;
        }
        let mut names: Vec<&String> = self
            .cluster_roles
            .iter()
            .filter(|(_, other)| role.selectors.iter().any(|s| selects(s, &other.labels)))
            .map(|(name, _)| name)
            .collect();
        names.sort();
        for other in names.into_iter().filter_map(|name| self.cluster_roles.get(name)) {
            for rule in other.rules.iter() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            self.aggregate(other, rules, depth + 1);
        }
    }

    fn set(&mut self, part: Part, namespace: &str, name: &str, object: Option<&Value>) {
        match part {
            Part::ClusterRoles => match object {
                Some(object) => {
                    self.cluster_roles.insert(name.to_owned(), Role::read(object));
                }
                None => {
                    self.cluster_roles.remove(name);
                }
            },
            Part::Roles => {
                let key = (namespace.to_owned(), name.to_owned());
                match object {
                    Some(object) => self.roles.insert(key, Arc::new(Rule::all(object))),
                    None => self.roles.remove(&key),
                };
            }
            Part::ClusterRoleBindings => {
                self.cluster.set(name, object.map(|object| Binding::read(object, "")));
            }
            Part::RoleBindings => {
                let bindings = self.namespaced.entry(namespace.to_owned()).or_default();
                bindings.set(name, object.map(|object| Binding::read(object, namespace)));
                if bindings.by_name.is_empty() {
                    self.namespaced.remove(namespace);
                }
            }
        }
    }

    fn clear(&mut self, part: Part) {
        match part {
            Part::ClusterRoles => self.cluster_roles.clear(),
            Part::Roles => self.roles.clear(),
            Part::ClusterRoleBindings => self.cluster = Bindings::default(),
            Part::RoleBindings => self.namespaced.clear(),
        }
    }
}

impl Role {
    fn read(object: &Value) -> Self {
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
        Self {
            rules: Arc::new(Rule::all(object)),
            labels: labels.collect(),
            selectors: fields::list(object, "/aggregationRule/clusterRoleSelectors").to_vec(),
        }
    }
}

impl Binding {
    fn read(object: &Value, namespace: &str) -> Self {
        let subjects = fields::list(object, "/subjects").iter();
        Self {
            subjects: subjects.filter_map(|subject| Subject::read(subject, namespace)).collect(),
            role_kind: fields::text(object, "/roleRef/kind").to_owned(),
            role_name: fields::text(object, "/roleRef/name").to_owned(),
        }
    }
}

/// Whether a label selector object chooses these labels.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    api::selector::Labels::from_selector(selector).is_ok_and(|selector| selector.matches(labels))
}

/// Feeds one kind into the index.
struct Feed {
    rbac: Arc<Rbac>,
    part: Part,
}

impl Feed {
    /// Namespace and name of a key.
    fn names(&self, key: &[u8]) -> Option<(String, String)> {
        let prefix = keys::prefix(&keys::folder(GROUP, self.part.plural()), None);
        let rest = std::str::from_utf8(key.strip_prefix(&prefix[..])?).ok()?;
        match self.part {
            Part::ClusterRoles | Part::ClusterRoleBindings => {
                Some((String::new(), rest.to_owned()))
            }
            _ => rest.split_once('/').map(|(ns, name)| (ns.to_owned(), name.to_owned())),
        }
    }
}

impl Follower for Feed {
    fn replace(&self, items: Vec<Item>) {
        let mut state = self.rbac.state.write();
        state.clear(self.part);
        for item in &items {
            let object = document::decode(&item.value, item.revision).ok();
            if let Some((namespace, name)) = self.names(&item.key) {
                state.set(self.part, &namespace, &name, object.as_ref());
            }
        }
        self.rbac.read.fetch_or(self.part.bit(), Ordering::AcqRel);
    }

    fn change(&self, event: Event) {
        let object = event.value.as_ref().and_then(|v| document::decode(v, event.revision).ok());
        if let Some((namespace, name)) = self.names(&event.key) {
            self.rbac.state.write().set(self.part, &namespace, &name, object.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index() -> Rbac {
        let rbac = Rbac::default();
        let mut state = rbac.state.write();
        let view =
            json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"v": "1"}}]}});
        state.set(Part::ClusterRoles, "", "view", Some(&view));
        let part = json!({"metadata": {"labels": {"v": "1"}},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
        state.set(Part::ClusterRoles, "", "part", Some(&part));
        let binding = json!({"subjects": [{"kind": "User", "name": "alice"}],
            "roleRef": {"kind": "ClusterRole", "name": "view"}});
        state.set(Part::RoleBindings, "a", "b", Some(&binding));
        let lost = json!({"subjects": [{"kind": "Group", "name": "g"}],
            "roleRef": {"kind": "Role", "name": "none"}});
        state.set(Part::RoleBindings, "a", "c", Some(&lost));
        drop(state);
        rbac
    }

    fn pods(namespace: &str) -> Attributes<'_> {
        Attributes {
            verb: "get",
            is_resource: true,
            resource: "pods",
            namespace,
            ..Attributes::default()
        }
    }

    #[test]
    fn a_binding_in_a_namespace_grants_there_and_says_so() {
        let alice = UserInfo::new("alice", &[]);
        let because =
            "RBAC: allowed by RoleBinding \"b/a\" of ClusterRole \"view\" to User \"alice\"";
        assert_eq!(index().decide(&alice, &pods("a")), Opinion::Allow(because.into()));
        assert_eq!(index().decide(&alice, &pods("b")), Opinion::None);
    }

    #[test]
    fn a_missing_role_is_named() {
        let bob = UserInfo::new("bob", &["g"]);
        let because = "RBAC: role.rbac.authorization.k8s.io \"none\" not found";
        assert_eq!(index().decide(&bob, &pods("a")), Opinion::Because(because.into()));
    }
}
