//! `scale`: how many replicas an object wants and has, in one form for all kinds that have replicas.

use api::facts::{Gvk, registry};
use api::patch::{self, Apply, Door, JsonPatch, merge, text};
use api::selector::Labels;
use api::status::{FieldError, Status};
use serde_json::{Map, Value, json};

use super::scale_owners;
use crate::fields;
use crate::negotiate::content_type;
use crate::rest::patch::{refused, unfit};
use crate::rest::update::{self, Transform, stored};
use crate::rest::write_options::{self, WriteOptions};
use crate::rest::{Answer, Call, Payload, get, input, not_allowed};

const GVK: Gvk<'static> = Gvk { group: "autoscaling", version: "v1", kind: "Scale" };

/// Answers a request for a scale.
pub(super) async fn serve(call: &Call) -> Result<Answer, Status> {
    match call.info.verb.as_str() {
        "get" => {
            let item = get::read(call).await?;
            Ok(Answer::object(view(&stored(call, &item)?)))
        }
        "update" => replace(call).await,
        "patch" => patch(call).await,
        _ => Err(not_allowed()),
    }
}

/// An object's scale.
fn view(object: &Value) -> Value {
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{key}")) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let wanted = fields::integer(object, "/spec/replicas").unwrap_or(0);
    let spec = if wanted == 0 { json!({}) } else { json!({"replicas": wanted}) };
    let mut status = Map::new();
    let running = fields::integer(object, "/status/replicas").unwrap_or(0);
    status.insert("replicas".into(), running.into());
    let selector = selector(object);
    if !selector.is_empty() {
        status.insert("selector".into(), selector.into());
    }
    json!({"kind": GVK.kind, "apiVersion": GVK.api_version(), "metadata": metadata,
        "spec": spec, "status": status})
}

/// The selector as text: a map of labels in the oldest kind, a selector in the others.
fn selector(object: &Value) -> String {
    let Some(selector) = object.pointer("/spec/selector") else { return String::new() };
    let labels = if fields::text(object, "/kind") == "ReplicationController" {
        let map = selector.as_object().into_iter().flatten();
        Labels::from_map(map.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
    } else {
        Labels::from_selector(selector).unwrap_or_else(|_| Labels::everything())
    };
    labels.to_string()
}

/// What becomes of a scale.
enum Change {
    /// It is replaced.
    Replace(Value),
    /// It is patched.
    Json(JsonPatch),
    /// It is merged with.
    Merge(Value),
    /// It is applied to; or what is wrong with that.
    Apply { config: Result<Value, Status>, force: bool },
}

struct Rescale {
    change: Change,
    /// The version of the scaled object.
    api_version: String,
    /// The name in the path.
    name: String,
    manager: String,
}

impl Transform for Rescale {
    fn apply(&self, current: &Value) -> Result<Value, Status> {
        let before = view(current);
        let failed = |error: api::patch::Error| match error {
            api::patch::Error::Unprocessable => Status::new(422, "Invalid", &error.to_string()),
            other => Status::bad_request(&other.to_string()),
        };
        let scale = match &self.change {
            Change::Replace(scale) => scale.clone(),
            Change::Json(patch) => patch.apply(&before).map_err(failed)?,
            Change::Merge(patch) => merge::apply(&before, patch),
            Change::Apply { config, force } => {
                let config = config.as_ref().map_err(Clone::clone)?;
                self.applied(current, before, config, *force)?
            }
        };
        let (name, wanted) = (fields::text(&scale, "/metadata/name"), &self.name);
        if name != wanted {
            return Err(Status::bad_request(&format!(
                "the name of the object ({name}) does not match the name on the URL ({wanted})"
            )));
        }
        let (api_version, kind) =
            (fields::text(&scale, "/apiVersion"), fields::text(&scale, "/kind"));
        if matches!(self.change, Change::Merge(_) | Change::Json(_))
            && (api_version, kind) != (&GVK.api_version(), GVK.kind)
        {
            let ty = registry().kind(GVK.group, GVK.version, GVK.kind);
            let shown = text::document(ty, &scale, &text::through_pointers(std::iter::empty()));
            let why = format!(
                "no kind {kind:?} is registered for version {api_version:?} in scheme \
                 \"pkg/runtime/scheme.go:111\""
            );
            return Err(unfit(&shown, &why));
        }
        let replicas = fields::integer(&scale, "/spec/replicas").unwrap_or(0);
        if replicas < 0 {
            let text = "must be greater than or equal to 0";
            let error = FieldError::invalid("spec.replicas", replicas, text);
            let name = fields::text(current, "/metadata/name");
            return Err(Status::invalid(GVK.group, GVK.kind, name, vec![error]));
        }
        let mut new = current.clone();
        fields::set(&mut new, "/spec/replicas", replicas);
        if matches!(self.change, Change::Apply { .. }) {
            let owners = scale_owners::of_object(current, &scale, &self.api_version);
            fields::set(&mut new, "/metadata/managedFields", owners);
        }
        for path in ["/metadata/uid", "/metadata/resourceVersion"] {
            let given = fields::text(&scale, path);
            if !given.is_empty() {
                fields::set(&mut new, path, given);
            }
        }
        Ok(new)
    }

    fn pinned(&self) -> bool {
        match &self.change {
            Change::Replace(scale) => !fields::text(scale, "/metadata/resourceVersion").is_empty(),
            Change::Merge(patch) => fields::has(patch, "/metadata/resourceVersion"),
            Change::Apply { config: Ok(config), .. } => {
                !fields::text(config, "/metadata/resourceVersion").is_empty()
            }
            Change::Json(_) | Change::Apply { .. } => false,
        }
    }

    fn replaces(&self) -> bool {
        matches!(self.change, Change::Replace(_))
    }

    fn manager(&self) -> Option<&str> {
        (!matches!(self.change, Change::Apply { .. })).then_some(&self.manager)
    }
}

impl Rescale {
    /// The scale after server-side apply, with the entries of those who own its replicas.
    fn applied(
        &self,
        current: &Value,
        mut before: Value,
        config: &Value,
        force: bool,
    ) -> Result<Value, Status> {
        let ty = registry().kind(GVK.group, GVK.version, GVK.kind);
        let scale_version = GVK.api_version();
        let owners = scale_owners::of_scale(current, &self.api_version, &scale_version);
        fields::set(&mut before, "/metadata/managedFields", owners);
        let apply = Apply {
            manager: &self.manager,
            subresource: "scale",
            time: &fields::now(),
            ty: ty.ok_or_else(|| Status::internal("no type for Scale"))?,
            api_version: &scale_version,
            door: Door::Whole,
            force,
            convert: patch::no_other_version,
        };
        apply.apply(Some(&before), config).map_err(refused)
    }
}

/// Reads an applied scale.
fn read_applied(call: &Call) -> Result<Value, Status> {
    let (value, _) = api::codec::parse(&call.body, api::codec::ContentType::Yaml)
        .map_err(|error| Status::bad_request(&format!("error encoding patch: {error}")))?;
    let (api_version, kind) = (fields::text(&value, "/apiVersion"), fields::text(&value, "/kind"));
    if (api_version, kind) != (&GVK.api_version(), GVK.kind) {
        let what = patch::printed_kind(api_version, kind);
        return Err(Status::bad_request(&format!("invalid object type: {what}")));
    }
    Ok(value)
}

async fn replace(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Update)?;
    let ty = registry().kind(GVK.group, GVK.version, GVK.kind);
    let ty = ty.ok_or_else(|| Status::internal("no type for Scale"))?;
    let mut scale = input::decode(call, ty, GVK, options.strictness)?;
    input::check_namespace(call, &mut scale)?;
    input::check_name(call, &mut scale)?;
    run(call, Change::Replace(scale), &options).await
}

async fn patch(call: &Call) -> Result<Answer, Status> {
    let media = content_type(&call.headers);
    let apply = media.starts_with("application/apply-patch+");
    let write = if apply { write_options::Write::Apply } else { write_options::Write::Patch };
    let options = WriteOptions::parse(&call.info.query, write)?;
    let bad = |error: api::patch::Error| Status::bad_request(&error.to_string());
    let change = match media.as_str() {
        "application/json-patch+json" => Change::Json(JsonPatch::parse(&call.body).map_err(bad)?),
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            Change::Merge(merge::parse(&call.body).map_err(bad)?)
        }
        "application/apply-patch+yaml" => {
            Change::Apply { config: read_applied(call), force: options.force.unwrap_or(false) }
        }
        _ => return Err(Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")),
    };
    run(call, change, &options).await
}

async fn run(call: &Call, change: Change, options: &WriteOptions) -> Result<Answer, Status> {
    let rescale = Rescale {
        change,
        api_version: call.kind.resource.api_version(),
        name: call.info.name.clone(),
        manager: options.manager_or(call.user_agent()),
    };
    let answer = update::run(call, &rescale, options).await?;
    Ok(match answer.payload {
        Payload::Object(object) => Answer::object(view(&object)),
        payload => Answer { code: answer.code, payload },
    })
}
