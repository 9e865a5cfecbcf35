//! TokenReview: whose token is this? SelfSubjectReview: who am I?

use api::status::Status;
use serde_json::{Map, Value, json};

use super::answered;
use crate::access::tokens::Refused;
use crate::fields;
use crate::rest::Call;

/// Answers with the user that a token belongs to.
pub(super) async fn token(call: &Call, review: Value) -> Result<Value, Status> {
    let token = fields::text(&review, "/spec/token");
    if token.is_empty() {
        let text = "token is required for TokenReview in authentication";
        return Err(Status::bad_request(text));
    }
    let audiences: Vec<String> =
        fields::texts(&review, "/spec/audiences").into_iter().map(str::to_owned).collect();
    let access = &call.server.access;
    let found = match access.static_tokens.user(token) {
        Some(user) => Ok((user, Vec::new())),
        None => access.tokens.review(token, &audiences).await.map(|r| (r.user, r.audiences)),
    };
    let status = match found {
        Ok((user, audiences)) => {
            let mut status = Map::new();
            status.insert("authenticated".into(), true.into());
            status.insert("user".into(), user.authenticated().to_value());
            if !audiences.is_empty() {
                status.insert("audiences".into(), json!(audiences));
            }
            Value::Object(status)
        }
        Err(refused) => refusal(&refused),
    };
    Ok(answered(review, status))
}

fn refusal(refused: &Refused) -> Value {
    json!({"user": {}, "error": refused.to_string()})
}

/// Answers with the user who asks.
pub(super) fn own(call: &Call, mut review: Value) -> Value {
    fields::set(&mut review, "/metadata", json!({"creationTimestamp": fields::now()}));
    answered(review, json!({"userInfo": call.user.to_value()}))
}
