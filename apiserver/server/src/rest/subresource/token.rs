//! `serviceaccounts/token`: a new token of an account, bound to it and perhaps to a Pod, Secret or Node.

use api::facts::{Gvk, registry};
use api::status::{FieldError, Status};
use serde_json::{Value, json};

use crate::access::tokens::{Grant, Private, Ref};
use crate::admission::{self, Operation};
use crate::document;
use crate::fields;
use crate::rest::write_options::{self, WriteOptions};
use crate::rest::{Answer, Call, input};
use crate::storage::keys;

const GVK: Gvk<'static> =
    Gvk { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };
/// Seconds of a token that does not say.
const DEFAULT: i64 = 3600;
/// Fewest seconds.
const SHORTEST: i64 = 600;
/// Most seconds.
const LONGEST: i64 = 1 << 32;

/// Answers with a token.
pub(super) async fn request(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Create)?;
    let ty = registry().kind(GVK.group, GVK.version, GVK.kind);
    let ty = ty.ok_or_else(|| Status::internal("no type for TokenRequest"))?;
    let mut request = input::decode(call, ty, GVK, options.strictness)?;
    fields::set(&mut request, "/apiVersion", GVK.api_version());
    fields::set(&mut request, "/kind", GVK.kind);
    input::check_namespace(call, &mut request)?;
    if !fields::has(&request, "/spec/expirationSeconds") {
        fields::set(&mut request, "/spec/expirationSeconds", DEFAULT);
    }
    admission::mutate(call, Operation::Create, Some(&mut request), None, options.dry_run).await?;
    let account = read(call, "serviceaccounts", call.namespace(), &call.info.name).await?;
    check_name(call, &request)?;
    let manager = options.manager_or(call.user_agent());
    let api_version = GVK.api_version();
    fields::remove(&mut request, "/status");
    let recorder = api::patch::Update {
        manager: &manager,
        subresource: "token",
        time: &fields::now(),
        ty,
        api_version: &api_version,
        door: api::patch::Door::Whole,
        convert: api::patch::no_other_version,
    };
    recorder.record(None, &mut request);
    let owned = request.pointer("/metadata/managedFields").cloned();
    admission::validate(call, Operation::Create, Some(&request), None, options.dry_run).await?;
    check_spec(&request)?;
    let private = private(call, &request, &account).await?;
    issue(call, request, private, owned)
}

fn issue(
    call: &Call,
    mut request: Value,
    private: Private,
    owned: Option<Value>,
) -> Result<Answer, Status> {
    let tokens = &call.server.access.tokens;
    let seconds = fields::integer(&request, "/spec/expirationSeconds").unwrap_or(DEFAULT);
    let mut audiences: Vec<String> =
        fields::texts(&request, "/spec/audiences").into_iter().map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(tokens.issuer().to_owned());
    }
    let grant = Grant { private, audiences: audiences.clone(), seconds };
    let (token, ends) = tokens.issue(grant).map_err(|why| Status::internal(&why))?;
    let ends = jiff::Timestamp::from_second(ends).map_err(|e| Status::internal(&e.to_string()))?;
    let ends = ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let bound = request.pointer("/spec/boundObjectRef").cloned().unwrap_or_default();
    let mut metadata = json!({
        "name": call.info.name, "namespace": call.namespace(),
        "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": fields::now(),
    });
    if let Some(owned) = owned {
        metadata["managedFields"] = owned;
    }
    fields::set(&mut request, "/metadata", metadata);
    let spec =
        json!({"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": bound});
    fields::set(&mut request, "/spec", spec);
    fields::set(&mut request, "/status", json!({"token": token, "expirationTimestamp": ends}));
    Ok(Answer::object(request).code(201))
}

fn invalid(name: &str, error: FieldError) -> Status {
    Status::invalid(GVK.group, GVK.kind, name, vec![error])
}

/// A name in the request must be the account's.
fn check_name(call: &Call, request: &Value) -> Result<(), Status> {
    let given = fields::text(request, "/metadata/name");
    let wanted = &call.info.name;
    if given.is_empty() || given == wanted {
        return Ok(());
    }
    let text = "must match the service account name if specified";
    Err(invalid(wanted, FieldError::invalid("metadata.name", given, text)))
}

fn check_spec(request: &Value) -> Result<(), Status> {
    let seconds = fields::integer(request, "/spec/expirationSeconds").unwrap_or(DEFAULT);
    let text = match seconds {
        SHORTEST..=LONGEST => return Ok(()),
        ..SHORTEST => "may not specify a duration less than 10 minutes",
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    Err(invalid("", FieldError::invalid("spec.expirationSeconds", seconds, text)))
}

async fn read(call: &Call, resource: &str, namespace: &str, name: &str) -> Result<Value, Status> {
    let key = keys::object(&keys::folder("", resource), namespace, name);
    call.server.storage.barrier().await?;
    let item = call.server.storage.get(&key).await?.item;
    let item = item.ok_or_else(|| Status::not_found("", resource, name))?;
    document::decode(&item.value, item.revision).map_err(|e| Status::internal(&e.to_string()))
}

/// What the token will say about the account and what it is bound to.
async fn private(call: &Call, request: &Value, account: &Value) -> Result<Private, Status> {
    let namespace = call.namespace().to_owned();
    let reference = |object: &Value| Ref {
        name: fields::text(object, "/metadata/name").to_owned(),
        uid: fields::text(object, "/metadata/uid").to_owned(),
    };
    let serviceaccount = reference(account);
    let mut private = Private { namespace, serviceaccount, ..Private::default() };
    let Some(bound) = request.pointer("/spec/boundObjectRef").filter(|bound| !bound.is_null())
    else {
        return Ok(private);
    };
    let text = |path: &str| fields::text(bound, path);
    let (kind, name) = (text("/kind"), text("/name"));
    let object = match (text("/apiVersion"), kind) {
        ("v1", "Pod") => read(call, "pods", call.namespace(), name).await?,
        ("v1", "Secret") => read(call, "secrets", call.namespace(), name).await?,
        ("v1", "Node") => read(call, "nodes", "", name).await?,
        (version, kind) => {
            let (group, version) = api::facts::split_api_version(version);
            let text =
                format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(&text));
        }
    };
    let (given, real) = (text("/uid"), fields::text(&object, "/metadata/uid"));
    if !given.is_empty() && given != real {
        let text = format!(
            "the UID in the bound object reference ({given}) does not match the UID in record. The \
             object might have been deleted and then recreated"
        );
        return Err(Status::conflict("", kind, name, &text));
    }
    match kind {
        "Pod" => {
            bind_pod(call, &object, &mut private).await?;
            private.pod = Some(reference(&object));
        }
        "Secret" => private.secret = Some(reference(&object)),
        _ => private.node = Some(reference(&object)),
    }
    Ok(private)
}

/// A Pod must use the account; its node goes into the token too.
async fn bind_pod(call: &Call, pod: &Value, private: &mut Private) -> Result<(), Status> {
    if fields::text(pod, "/spec/serviceAccountName") != call.info.name {
        let text = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount \
             name.",
            call.info.name
        );
        return Err(Status::bad_request(&text));
    }
    let node = fields::text(pod, "/spec/nodeName");
    if !node.is_empty() {
        let found = read(call, "nodes", "", node).await.ok();
        let uid = found.map(|node| fields::text(&node, "/metadata/uid").to_owned());
        private.node = Some(Ref { name: node.to_owned(), uid: uid.unwrap_or_default() });
    }
    Ok(())
}
