//! Tokens from a file (`--token-auth-file`): lines of `token,user,uid,"group,group"`.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Error;
use crate::identity::UserInfo;

/// Users by token.
#[derive(Debug, Default)]
pub struct StaticTokens(HashMap<String, UserInfo>);

impl StaticTokens {
    /// Reads the file, if there is one.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(Self::default()) };
        let bad = |why: String| Error::TokenFile { path: path.display().to_string(), why };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let mut users = HashMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let cells = cells(line);
            let [token, name, rest @ ..] = &cells[..] else {
                return Err(bad(format!("line {} has no user", at + 1)));
            };
            let uid = rest.first().cloned().unwrap_or_default();
            let groups = rest.get(1).map(String::as_str).unwrap_or_default().split(',');
            let groups = groups.map(str::trim).filter(|group| !group.is_empty()).map(str::to_owned);
            let user = UserInfo {
                name: name.clone(),
                uid,
                groups: groups.collect(),
                ..UserInfo::default()
            };
            users.insert(token.clone(), user);
        }
        Ok(Self(users))
    }

    /// The user that a token belongs to.
    pub fn user(&self, token: &str) -> Option<UserInfo> {
        self.0.get(token).cloned()
    }
}

/// The cells of a line, separated by commas, some of them in double quotes.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.trim().chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            _ => cells.last_mut().expect("begins with one").push(c),
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_groups_together() {
        assert_eq!(cells("t,admin,1,\"a,b\""), ["t", "admin", "1", "a,b"]);
        assert_eq!(cells("t,admin"), ["t", "admin"]);
    }
}
