//! `$(NAME)` in commands, arguments, environment and sub paths.
//!
//! `$$` stands for one `$`, so `$$(NAME)` stays text. A name that is not known stays as it is
//! written.

/// Replaces all references that `lookup` knows.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut made = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        made.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            made.push('$');
            rest = after;
        } else if let Some((name, after)) = reference(rest) {
            match lookup(name) {
                Some(value) => made.push_str(&value),
                None => made.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            made.push('$');
        }
    }
    made.push_str(rest);
    made
}

/// The name of a reference that starts after its dollar, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('(')?.split_once(')')
}

/// References of a text that `lookup` does not know.
pub(crate) fn unknown(text: &str, lookup: impl Fn(&str) -> bool) -> Vec<String> {
    let missing = std::cell::RefCell::new(Vec::new());
    expand(text, |name| {
        if !lookup(name) {
            missing.borrow_mut().push(name.to_owned());
        }
        None
    });
    missing.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        expand(text, |name| (name == "A").then(|| "1".to_owned()))
    }

    #[test]
    fn references_are_replaced_and_escapes_kept() {
        assert_eq!(of("x$(A)y$(A)"), "x1y1");
        assert_eq!(of("$(B)"), "$(B)");
        assert_eq!(of("$$(A)"), "$(A)");
        assert_eq!(of("$$$(A)"), "$1");
        assert_eq!(of("$A $( $"), "$A $( $");
        assert_eq!(of("$(A"), "$(A");
    }
}
