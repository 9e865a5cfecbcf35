//! Stable names for templates: the hash in a ReplicaSet's or a ControllerRevision's name.
//!
//! The hash is taken over the template as JSON with sorted keys, so that it does not depend on
//! field order, and over the count of collisions seen so far. It is written in the letters that
//! names can't spell words with.

use serde::Serialize;
use serde_json::Value;

/// The letters of hashes in names: no vowels, no digits that look like letters.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template after so many collisions.
pub(crate) fn of<T: Serialize>(template: &T, collisions: Option<i32>) -> String {
    let value = serde_json::to_value(template).expect("API types have string keys only");
    let mut hash = Fnv::default();
    feed(&mut hash, &value);
    if let Some(collisions) = collisions {
        hash.write(&collisions.to_le_bytes());
    }
    letters(hash.0)
}

/// A number as it appears in names.
fn letters(number: u32) -> String {
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    number.to_string().bytes().map(letter).collect()
}

/// 32-bit FNV-1a.
struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}

/// Feeds a value; maps by sorted key, every piece with its kind and length, so that no two values
/// read alike.
fn feed(hash: &mut Fnv, value: &Value) {
    match value {
        Value::Object(map) => {
            hash.write(b"{");
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            for key in keys {
                hash.write(key.as_bytes());
                hash.write(b"\0:");
                feed(hash, &map[key]);
            }
            hash.write(b"}");
        }
        Value::Array(list) => {
            hash.write(b"[");
            for one in list {
                feed(hash, one);
            }
            hash.write(b"]");
        }
        Value::String(text) => {
            hash.write(b"\"");
            hash.write(text.as_bytes());
            hash.write(b"\0");
        }
        other => hash.write(other.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn field_order_does_not_matter_but_content_and_collisions_do() {
        let one: Value = serde_json::from_str(r#"{"a": 1, "b": [2]}"#).expect("json");
        let two: Value = serde_json::from_str(r#"{"b": [2], "a": 1}"#).expect("json");
        assert_eq!(of(&one, None), of(&two, None));
        assert_ne!(of(&one, None), of(&json!({"a": 1, "b": [3]}), None));
        assert_ne!(of(&one, None), of(&one, Some(1)));
        assert!(of(&one, None).bytes().all(|byte| LETTERS.contains(&byte)));
    }

    #[test]
    fn the_hash_never_changes_between_versions() {
        assert_eq!(letters(0), "4");
        assert_eq!(of(&json!({"a": "b"}), None), of(&json!({"a": "b"}), None));
        assert_eq!(of(&json!({}), None), letters(Fnv::pinned(b"{}")));
    }

    impl Fnv {
        fn pinned(bytes: &[u8]) -> u32 {
            let mut hash = Self::default();
            hash.write(bytes);
            hash.0
        }
    }
}
