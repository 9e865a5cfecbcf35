//! PATCH: an object changed in part, by one of four sorts of patch, against its latest version.
//!
//! The body is read before the object, but what is wrong with it is only told once the object was
//! found: a patch of nothing is 404 whatever it says. Server-side apply makes what is missing.

use api::codec::{self, ContentType, Strictness};
use api::facts::{registry, split_api_version};
use api::patch::{self, Apply, JsonPatch, strategic, text};
use api::status::{Details, FieldError, Status};
use http::header;
use serde_json::{Map, Value};

use super::update::{self, Transform};
use super::write_options::{self, WriteOptions};
use super::{Answer, Call, create, input};
use crate::fields;
use crate::managers;

/// A patch as it was read.
enum Patch {
    /// RFC 6902.
    Json(JsonPatch),
    /// RFC 7386.
    Merge(Value),
    /// Merge by types.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

/// A patch on its way to its object.
struct Patcher<'a> {
    call: &'a Call,
    options: &'a WriteOptions,
    manager: String,
    /// The patch, or what is wrong with it.
    patch: Result<Patch, Status>,
    /// Duplicate and unknown fields of the patch itself.
    problems: Vec<String>,
}

/// Patches the object.
pub async fn patch(call: &Call) -> Result<Answer, Status> {
    if call.info.name.is_empty() {
        return Err(super::not_allowed());
    }
    let media = media_type(call);
    let apply = media == "application/apply-patch+yaml";
    let built_in = call.kind.is_built_in();
    let known = match media {
        "application/json-patch+json" | "application/merge-patch+json" => true,
        "application/strategic-merge-patch+json" => built_in,
        _ => apply,
    };
    if !known {
        let text = "415: Unsupported Media Type";
        let mut status = Status::new(415, "UnsupportedMediaType", text);
        status.details = Some(Details::default());
        return Err(status);
    }
    let write = if apply { write_options::Write::Apply } else { write_options::Write::Patch };
    let options = WriteOptions::parse(&call.info.query, write)?;
    let mut problems = Vec::new();
    let patch = read(call, media, &mut problems);
    let manager = options.manager_or(call.user_agent());
    let patcher = Patcher { call, options: &options, manager, patch, problems };
    match update::run(call, &patcher, &options).await {
        Err(status) if status.code == 404 && apply && call.info.subresource.is_empty() => {
            patcher.create().await
        }
        other => other,
    }
}

/// The media type as it was sent: patches are matched letter by letter.
fn media_type(call: &Call) -> &str {
    let value = call.headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Reads the body.
fn read(call: &Call, media: &str, problems: &mut Vec<String>) -> Result<Patch, Status> {
    let body = &call.body;
    match media {
        "application/json-patch+json" => {
            let patch = JsonPatch::parse(body).map_err(refused)?;
            let doubled = duplicates(body).into_iter().map(|text| format!("json patch {text}"));
            problems.extend(doubled.chain(patch.unknown()));
            Ok(Patch::Json(patch))
        }
        "application/merge-patch+json" => {
            let patch = patch::merge::parse(body).map_err(refused)?;
            problems.extend(duplicates(body));
            Ok(Patch::Merge(patch))
        }
        "application/strategic-merge-patch+json" => {
            let (patch, doubled) = strategic::parse(body).map_err(refused)?;
            problems.extend(doubled);
            Ok(Patch::Strategic(patch))
        }
        _ => read_applied(call, problems).map(Patch::Apply),
    }
}

fn duplicates(body: &[u8]) -> Vec<String> {
    codec::parse(body, ContentType::Json).map(|(_, problems)| problems).unwrap_or_default()
}

/// Reads an applied document: YAML or JSON, of the path's kind.
fn read_applied(call: &Call, problems: &mut Vec<String>) -> Result<Value, Status> {
    let empty = call.body.iter().all(u8::is_ascii_whitespace);
    let value = if empty {
        Value::Object(Map::new())
    } else {
        let (value, found) = codec::parse(&call.body, ContentType::Yaml)
            .map_err(|error| Status::bad_request(&format!("error encoding patch: {error}")))?;
        problems.extend(found);
        value
    };
    if !value.is_object() && !value.is_null() {
        let what = match &value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Bool(_) => "bool",
            _ => "number",
        };
        return Err(Status::bad_request(&format!(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot \
             unmarshal {what} into Go value of type map[string]interface {{}}"
        )));
    }
    let (api_version, kind) = (fields::text(&value, "/apiVersion"), fields::text(&value, "/kind"));
    let gvk = call.kind.gvk();
    if api_version != gvk.api_version() || kind != gvk.kind {
        let what = patch::printed_kind(api_version, kind);
        return Err(Status::bad_request(&format!("invalid object type: {what}")));
    }
    Ok(value)
}

/// A patch error as an answer.
pub(super) fn refused(error: patch::Error) -> Status {
    let message = error.to_string();
    match error {
        patch::Error::BadRequest(_) => Status::bad_request(&message),
        patch::Error::TooLarge(_) => Status::new(413, "RequestEntityTooLarge", &message),
        patch::Error::Unprocessable => Status::new(422, "Invalid", &message),
        patch::Error::Failed(_) => Status::new(500, "", &message),
        patch::Error::Conflict(conflicts) => {
            let mut status = Status::new(409, "Conflict", &message);
            for conflict in conflicts {
                let path = conflict.path.to_string();
                status.add_cause("FieldManagerConflict", &conflict.message(), &path);
            }
            status
        }
    }
}

impl Transform for Patcher<'_> {
    fn apply(&self, current: &Value) -> Result<Value, Status> {
        let mut new = self.patched(Some(current))?;
        self.check_identity(&mut new)?;
        Ok(new)
    }

    fn pinned(&self) -> bool {
        match &self.patch {
            Ok(Patch::Json(patch)) => {
                let whole = ["", "/metadata", "/metadata/resourceVersion"];
                patch.pointers().any(|pointer| whole.contains(&pointer))
            }
            Ok(Patch::Merge(patch) | Patch::Strategic(patch) | Patch::Apply(patch)) => {
                !fields::text(patch, "/metadata/resourceVersion").is_empty()
            }
            Err(_) => false,
        }
    }

    fn manager(&self) -> Option<&str> {
        match &self.patch {
            Ok(Patch::Apply(_)) => None,
            _ => Some(&self.manager),
        }
    }
}

impl Patcher<'_> {
    /// The object after the patch, canonical and with defaults.
    fn patched(&self, current: Option<&Value>) -> Result<Value, Status> {
        let null = Value::Null;
        let live = current.unwrap_or(&null);
        let ty = self.call.kind.ty();
        let new = match self.patch.as_ref().map_err(Clone::clone)? {
            Patch::Json(patch) => {
                let new = patch.apply(live).map_err(refused)?;
                if !new.is_object() {
                    return Err(refused(patch::Error::Unprocessable));
                }
                let quote = |new: &Value| {
                    let touched = text::through_pointers(patch.pointers());
                    text::document(self.call.kind.is_built_in().then_some(ty), new, &touched)
                };
                self.decode(new, &quote)?
            }
            Patch::Merge(patch) => {
                let new = patch::merge::apply(live, patch);
                let quote = |new: &Value| {
                    let touched = text::through_objects(live, patch);
                    text::document(self.call.kind.is_built_in().then_some(ty), new, &touched)
                };
                self.decode(new, &quote)?
            }
            Patch::Strategic(patch) => {
                let mut new = strategic::apply(ty, live, patch).map_err(refused)?;
                // The type, not the patch, says what the object is.
                for key in ["/apiVersion", "/kind"] {
                    fields::copy(&mut new, live, key);
                }
                let quote = |_: &Value| patch::printed(patch);
                patch::convertible(ty, &new).map_err(|why| unfit(&patch::printed(patch), &why))?;
                self.decode(new, &quote)?
            }
            Patch::Apply(config) => self.applied(current, config)?,
        };
        let mut new = new;
        self.settle(&mut new);
        Ok(new)
    }

    fn settle(&self, new: &mut Value) {
        let entries = new.pointer("/metadata/managedFields").cloned();
        input::settle(new, self.call.kind.gvk());
        if let Some(entries) = entries {
            fields::set(new, "/metadata/managedFields", entries);
        }
    }

    /// Decodes a patched document; what does not fit is quoted with the document.
    fn decode(&self, new: Value, quote: &dyn Fn(&Value) -> String) -> Result<Value, Status> {
        if let Some(why) = self.wrong_kind(&new) {
            return Err(unfit(&quote(&new), &why));
        }
        let entries = new.pointer("/metadata/managedFields").and_then(Value::as_array);
        let emptied = entries.is_some_and(Vec::is_empty);
        let strictness = match self.options.strictness {
            Strictness::Ignore => Strictness::Ignore,
            _ => Strictness::Warn,
        };
        let decoded = codec::decode_value(self.call.kind.ty(), new.clone(), Vec::new(), strictness);
        let decoded = decoded.map_err(|error| unfit(&quote(&new), &error.to_string()))?;
        let problems: Vec<String> = self.problems.iter().cloned().chain(decoded.warnings).collect();
        if self.options.strictness == Strictness::Strict && !problems.is_empty() {
            let error = codec::Error::Strict(problems);
            return Err(unfit(&quote(&new), &error.to_string()));
        }
        if self.options.strictness == Strictness::Warn {
            problems.into_iter().for_each(|problem| self.call.warn(problem));
        }
        let mut value = decoded.value;
        if emptied {
            // An empty list is gone by now; it asks for a fresh start, as one empty entry does.
            fields::set(&mut value, "/metadata/managedFields", serde_json::json!([{}]));
        }
        Ok(value)
    }

    /// Why a document that calls itself something else can't be decoded.
    fn wrong_kind(&self, new: &Value) -> Option<String> {
        if !self.call.kind.is_built_in() {
            return None;
        }
        let (api_version, kind) = (fields::text(new, "/apiVersion"), fields::text(new, "/kind"));
        let gvk = self.call.kind.gvk();
        if (api_version, kind) == (&gvk.api_version(), gvk.kind) || api_version.is_empty() {
            return None;
        }
        let (group, version) = split_api_version(api_version);
        let Some(ty) = registry().kind(group, version, kind) else {
            return Some(format!(
                "no kind {kind:?} is registered for version {api_version:?} in scheme \
                 \"pkg/runtime/scheme.go:111\""
            ));
        };
        let decoded = codec::decode_value(ty, new.clone(), Vec::new(), Strictness::Ignore);
        let fits = || format!("unable to convert {kind} to {}", gvk.kind);
        Some(decoded.map_or_else(|error| error.to_string(), |_| fits()))
    }

    /// The object after server-side apply.
    fn applied(&self, current: Option<&Value>, config: &Value) -> Result<Value, Status> {
        let call = self.call;
        let subresource = &call.info.subresource;
        let now = fields::now();
        let apply = Apply {
            manager: &self.manager,
            subresource,
            time: &now,
            ty: call.kind.ty(),
            api_version: &call.kind.resource.api_version(),
            door: managers::door(&call.kind, subresource),
            force: self.options.force.unwrap_or(false),
            convert: crate::conversion::in_version,
        };
        let new = apply.apply(current, config).map_err(refused)?;
        let unconvertible = |why: &str| {
            let (who, gvk) = (patch::printed_object(config), call.kind.gvk());
            let kind = patch::printed_kind(&gvk.api_version(), gvk.kind);
            let text = format!(
                "failed to convert new object ({who}) to proper version: unable to convert \
                 unstructured object to {kind}: {why}"
            );
            Status::new(500, "", &text)
        };
        if call.kind.is_built_in() {
            patch::convertible(call.kind.ty(), &new).map_err(|why| unconvertible(&why))?;
        }
        let decoded = codec::decode_value(call.kind.ty(), new, Vec::new(), Strictness::Ignore);
        let decoded = decoded.map_err(|error| unconvertible(&error.to_string()))?;
        match self.options.strictness {
            Strictness::Strict if !self.problems.is_empty() => {
                let text = self.problems.join("\n  ");
                let text = format!("error strict decoding YAML: yaml: unmarshal errors:\n  {text}");
                return Err(Status::bad_request(&text));
            }
            Strictness::Ignore => {}
            _ => {
                for problem in self.problems.iter().flat_map(|problem| problem.lines()) {
                    let problem = problem.trim();
                    if problem != "yaml: unmarshal errors:" {
                        call.warn(problem);
                    }
                }
            }
        }
        Ok(decoded.value)
    }

    /// The patched object must still be the one of the path.
    fn check_identity(&self, new: &mut Value) -> Result<(), Status> {
        let wanted = &self.call.info.name;
        if fields::text(new, "/metadata/name").is_empty() {
            return Err(Status::bad_request(&format!(
                "the name of the object ({wanted} based on URL) was undeterminable: name must be \
                 provided"
            )));
        }
        input::check_name(self.call, new)?;
        input::check_namespace(self.call, new)
    }

    /// Makes the object that an apply did not find.
    async fn create(&self) -> Result<Answer, Status> {
        let call = self.call;
        if let Ok(Patch::Apply(config)) = &self.patch
            && let uid = fields::text(config, "/metadata/uid")
            && !uid.is_empty()
        {
            let resource = &call.kind.resource;
            let text = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was \
                 found"
            );
            return Err(Status::conflict(resource.group, resource.plural, &call.info.name, &text));
        }
        let mut new = self.patched(None)?;
        self.check_identity(&mut new)?;
        call.server.access.check(&call.user, &creation(call)).await?;
        let (object, revision) = create::store_owned(call, new, self.options).await?;
        Ok(create::created(object, revision, self.options.dry_run))
    }
}

/// What must be allowed for an apply to make an object.
fn creation(call: &Call) -> crate::access::Attributes<'_> {
    let mut wanted = crate::access::Attributes::of(&call.info);
    wanted.verb = "create";
    wanted
}

/// 422 with the document that could not be decoded.
pub(super) fn unfit(document: &str, why: &str) -> Status {
    Status::invalid("", "", "", vec![FieldError::invalid("patch", document, why)])
}
