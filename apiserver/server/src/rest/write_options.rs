//! The query parameters of creates, updates and patches, with their checks.

use api::codec::Strictness;
use api::status::{FieldError, Status};

use super::delete_options::check_dry_run;
use crate::request_info::Query;

/// Longest name of a field manager.
const MANAGER_BYTES: usize = 128;

/// Decoded write options.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// Who the changed fields belong to; empty is "from the User-Agent".
    pub manager: String,
    /// What unknown fields lead to.
    pub strictness: Strictness,
    /// Apply takes fields from other managers.
    pub force: Option<bool>,
}

/// Which write the options belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, other than apply.
    Patch,
    /// PATCH, apply.
    Apply,
}

impl WriteOptions {
    /// Reads and checks the parameters.
    pub fn parse(query: &Query, write: Write) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let force = query.get("force").map(|_| query.flag("force"));
        let manager = query.text("fieldManager");
        match write {
            Write::Patch if force.is_some() => {
                let text = "may not be specified for non-apply patch";
                errors.push(FieldError::forbidden("force", text));
            }
            Write::Apply if manager.is_empty() => {
                let text = "is required for apply patch";
                errors.push(FieldError::required("fieldManager", text));
            }
            _ => {}
        }
        check_manager(manager, &mut errors);
        let dry_run: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
        check_dry_run(&dry_run, &mut errors);
        let strictness = match query.text("fieldValidation") {
            "" | "Warn" => Strictness::Warn,
            "Ignore" => Strictness::Ignore,
            "Strict" => Strictness::Strict,
            other => {
                let known = ["", "Ignore", "Strict", "Warn"];
                errors.push(FieldError::not_supported("fieldValidation", other, &known));
                Strictness::Warn
            }
        };
        if !errors.is_empty() {
            let kind = match write {
                Write::Create => "CreateOptions",
                Write::Update => "UpdateOptions",
                Write::Patch | Write::Apply => "PatchOptions",
            };
            return Err(Status::invalid("meta.k8s.io", kind, "", errors));
        }
        let dry_run = !dry_run.is_empty();
        Ok(Self { dry_run, manager: manager.to_owned(), strictness, force })
    }

    /// The manager's name, from the User-Agent when the request does not say.
    pub fn manager_or(&self, user_agent: &str) -> String {
        if !self.manager.is_empty() {
            return self.manager.clone();
        }
        let name = user_agent.split('/').next().unwrap_or_default();
        if name.is_empty() {
            return "unknown".to_owned();
        }
        let printable: String = name.chars().filter(|c| !c.is_control()).collect();
        let mut end = printable.len().min(MANAGER_BYTES);
        while !printable.is_char_boundary(end) {
            end -= 1;
        }
        printable[..end].to_owned()
    }
}

fn check_manager(manager: &str, errors: &mut Vec<FieldError>) {
    if manager.len() > MANAGER_BYTES {
        errors.push(FieldError::too_long("fieldManager", MANAGER_BYTES));
    }
    let control = manager.char_indices().find(|(_, c)| c.is_control());
    if let Some((at, c)) = control {
        let text = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(FieldError::invalid("fieldManager", manager, &text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_up_to_its_slash_names_the_manager() {
        let options = WriteOptions::default();
        assert_eq!(options.manager_or("kubectl/v1.37.0 (linux)"), "kubectl");
        assert_eq!(options.manager_or("controller (x) y/z"), "controller (x) y");
        assert_eq!(options.manager_or("/x"), "unknown");
        assert_eq!(options.manager_or(""), "unknown");
        assert_eq!(options.manager_or(&"a".repeat(200)).len(), 128);
    }
}
