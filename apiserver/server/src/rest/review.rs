//! Reviews: questions about identity and access, asked as objects that nobody stores.

mod access;
mod identity;
mod rules;

use api::status::Status;
use serde_json::Value;

use super::write_options::{self, WriteOptions};
use super::{Answer, Call, input, not_allowed};
use crate::admission::{self, Operation};
use crate::fields;
use crate::managers;

/// Answers a review.
pub async fn create(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.info.query, write_options::Write::Create)?;
    let mut review = input::object(call, options.strictness)?;
    input::check_namespace(call, &mut review)?;
    admission::mutate(call, Operation::Create, Some(&mut review), None, options.dry_run).await?;
    let manager = options.manager_or(call.user_agent());
    let kind = call.kind.resource.kind;
    if kind != "SelfSubjectReview" {
        managers::updated(&call.ctx(options.dry_run), None, &mut review, &manager);
    }
    admission::validate(call, Operation::Create, Some(&review), None, options.dry_run).await?;
    let review = match kind {
        "TokenReview" => identity::token(call, review).await?,
        "SelfSubjectReview" => identity::own(call, review),
        "SubjectAccessReview" => access::of_subject(call, review).await?,
        "LocalSubjectAccessReview" => access::local(call, review).await?,
        "SelfSubjectAccessReview" => access::own(call, review).await?,
        "SelfSubjectRulesReview" => rules::own(call, review)?,
        _ => return Err(not_allowed()),
    };
    Ok(Answer::object(review).code(201))
}

/// The review with its answer.
fn answered(mut review: Value, status: Value) -> Value {
    fields::set(&mut review, "/status", status);
    review
}
