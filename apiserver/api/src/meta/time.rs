//! The current time in the forms that objects show it. The one place in this crate that reads a
//! clock; callers that need another time format it themselves.

/// `2006-01-02T15:04:05Z`
pub fn now_rfc3339() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2006-01-02T15:04:05.000000Z`
pub fn now_micro() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
