//! Who a container's process is: `--user` and `--group` resolved against the image's own passwd and
//! group files, with runc's rules (an unknown number is used as it is, an unknown name is an error).

use crate::error::UserError;

const MAX_ID: u32 = i32::MAX as u32;

/// The image's account files, empty where it has none (scratch images).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Without the primary group, ascending.
    pub(crate) additional_gids: Vec<u32>,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

/// `user` is empty for root, else `name`, `uid`, `name:group`, `uid:gid`.
pub(crate) fn resolve(
    accounts: &Accounts,
    user: &str,
    groups: &[String],
) -> Result<ResolvedUser, UserError> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    let entry = accounts
        .passwd
        .lines()
        .filter_map(passwd_entry)
        .find(|entry| entry.name == user_part || user_part.parse() == Ok(entry.uid));
    let (uid, mut gid) = ids(entry.as_ref(), user_part)?;
    let mut additional_gids = Vec::new();
    match group_part.filter(|group| !group.is_empty()) {
        Some(group) => gid = group_id(accounts, group)?,
        // Without an explicit group the user gets every group that lists it, as a login would.
        None => {
            if let Some(entry) = &entry {
                additional_gids.extend(groups_of(accounts, entry.name));
            }
        }
    }
    for group in groups {
        additional_gids.push(group_id(accounts, group)?);
    }
    additional_gids.sort_unstable();
    additional_gids.dedup();
    additional_gids.retain(|additional| *additional != gid);
    Ok(ResolvedUser {
        uid,
        gid,
        additional_gids,
    })
}

/// User and primary group: the account's, else the number itself with root's group.
fn ids(entry: Option<&PasswdEntry<'_>>, user: &str) -> Result<(u32, u32), UserError> {
    match (entry, user.parse::<i64>()) {
        (Some(entry), _) => Ok((entry.uid, entry.gid)),
        (None, Ok(number)) => Ok((in_range(number, user)?, 0)),
        (None, Err(_)) => Err(UserError::NoSuchUser {
            name: user.to_owned(),
        }),
    }
}

fn passwd_entry(line: &str) -> Option<PasswdEntry<'_>> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(PasswdEntry { name, uid, gid })
}

/// Name, number and members of one line of the group file.
fn group_entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let gid = fields.nth(1)?.parse().ok()?;
    Some((name, gid, fields.next().unwrap_or("")))
}

fn group_id(accounts: &Accounts, group: &str) -> Result<u32, UserError> {
    let known = accounts
        .group
        .lines()
        .filter_map(group_entry)
        .find(|(name, _, _)| *name == group);
    match (known, group.parse::<i64>()) {
        (Some((_, gid, _)), _) => Ok(gid),
        (None, Ok(number)) => in_range(number, group),
        (None, Err(_)) => Err(UserError::NoSuchGroup {
            name: group.to_owned(),
        }),
    }
}

fn groups_of<'a>(accounts: &'a Accounts, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    let entries = accounts.group.lines().filter_map(group_entry);
    entries
        .filter(move |(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
}

fn in_range(number: i64, text: &str) -> Result<u32, UserError> {
    u32::try_from(number)
        .ok()
        .filter(|id| *id <= MAX_ID)
        .ok_or_else(|| UserError::OutOfRange {
            text: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/srv:/bin/sh\nbroken\n".into(),
            group: "root:x:0:root\nwheel:x:10:root,web\nstaff:x:50:web\nempty:x:60:\n".into(),
        }
    }

    #[test]
    fn users_resolve_as_runc_does() {
        for (user, groups, expected) in [
            ("", &[][..], (0, 0, vec![10])),
            ("web", &[], (33, 44, vec![10, 50])),
            ("33", &[], (33, 44, vec![10, 50])),
            ("web:staff", &[], (33, 50, vec![])),
            ("web:7", &[], (33, 7, vec![])),
            ("1000", &[], (1000, 0, vec![])),
            ("1000:1000", &["staff", "60"], (1000, 1000, vec![50, 60])),
            ("web", &["44", "staff"], (33, 44, vec![10, 50])),
        ] {
            let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
            let resolved = resolve(&accounts(), user, &groups).unwrap();
            let found = (resolved.uid, resolved.gid, resolved.additional_gids);
            assert_eq!(found, expected, "{user}");
        }
    }

    #[test]
    fn unknown_names_and_wild_numbers_are_refused() {
        let none = Accounts::default();
        for (user, text) in [
            (
                "nobody",
                "unable to find user nobody: no matching entries in passwd file",
            ),
            (
                "0:wheel",
                "unable to find group wheel: no matching entries in group file",
            ),
            ("-1", "uids and gids must be in range 0-2147483647"),
            ("4294967295", "uids and gids must be in range 0-2147483647"),
        ] {
            assert_eq!(resolve(&none, user, &[]).unwrap_err().to_string(), text);
        }
        assert_eq!(resolve(&none, "", &[]).unwrap().uid, 0);
    }
}
