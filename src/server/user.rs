//! Becoming an ordinary user once everything is open that takes a right to open.
//!
//! Done while the process has one thread: the kernel keeps these rights per thread, and threads have
//! those of the one that made them. There is no way back: real, effective and saved ids are all
//! replaced, with which the capabilities go, and `no_new_privs` keeps any program that might be started
//! from getting others.

use std::{fs, io};

use rustix::{
    process::{Gid, Uid, geteuid},
    thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

/// Why the process could not become another user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is not one of this machine.
    #[error("--user: there is no user '{0}' here (see /etc/passwd); name one, or a number")]
    Unknown(String),
    /// The user is root, which is no less than it was.
    #[error("--user: '{0}' is root; name an ordinary user, like nobody")]
    Root(String),
    /// Only root may become somebody else.
    #[error("--user: only root can become '{0}'; start as root, or leave --user away")]
    NotRoot(String),
    /// There are threads already, which would keep their rights.
    #[error("--user: {0} threads run already, and would keep their rights")]
    Threads(usize),
    /// The kernel does not know `no_new_privs`, or forbids it.
    #[error("setting no_new_privs failed: {0}")]
    Privileges(io::Error),
    /// The kernel refused.
    #[error("--user: becoming '{user}' failed: {error}")]
    Refused {
        /// Who was to be become.
        user: String,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// A user with all their groups.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// The user and the group that this user is, where we can give something to them.
pub fn owner(name: &str) -> Option<(u32, u32)> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let is_asked = !name.is_empty() && geteuid().is_root();
    let account = is_asked.then(|| Account::find(name, &read("/etc/passwd"), &read("/etc/group")));
    account.flatten().map(|account| (account.uid, account.gid))
}

/// Becomes this user, whoever it is where the name is empty, and takes the way to new rights from the
/// process and all that it starts.
pub fn drop_rights(user: &str) -> Result<(), UserError> {
    become_user(user)?;
    set_no_new_privs(true).map_err(|error| UserError::Privileges(error.into()))
}

fn become_user(name: &str) -> Result<(), UserError> {
    if name.is_empty() {
        return Ok(());
    }
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let account = Account::find(name, &read("/etc/passwd"), &read("/etc/group"))
        .ok_or_else(|| UserError::Unknown(name.to_owned()))?;
    if account.uid == 0 || account.gid == 0 {
        return Err(UserError::Root(name.to_owned()));
    }
    if !geteuid().is_root() {
        return Err(UserError::NotRoot(name.to_owned()));
    }
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(UserError::Threads(threads));
    }
    let refused = |error: rustix::io::Errno| UserError::Refused {
        user: name.to_owned(),
        error: error.into(),
    };
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups: Vec<Gid> = account.groups.iter().map(|&group| Gid::from_raw(group)).collect();
    // The user last: it is what allows the others.
    set_thread_groups(&groups).map_err(refused)?;
    set_thread_res_gid(gid, gid, gid).map_err(refused)?;
    set_thread_res_uid(uid, uid, uid).map_err(refused)
}

impl Account {
    /// The user of this name or number; a number that nobody has is a user without other groups.
    fn find(user: &str, passwd: &str, group: &str) -> Option<Account> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let known = passwd
            .lines()
            .map(fields)
            .find(|fields| fields.len() >= 4 && (fields[0] == user || fields[2] == user));
        let Some(known) = known else {
            let number = user.parse().ok()?;
            return Some(Account { uid: number, gid: number, groups: vec![number] });
        };
        let (uid, gid) = (known[2].parse().ok()?, known[3].parse().ok()?);
        let mut groups = vec![gid];
        for fields in group.lines().map(fields).filter(|fields| fields.len() >= 4) {
            let is_member = fields[3].split(',').any(|member| member == known[0]);
            groups.extend(fields[2].parse::<u32>().ok().filter(|&id| is_member && id != gid));
        }
        Some(Account { uid, gid, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nedge:x:999:998::/:/bin/false\nbad\n";
    const GROUP: &str = "root:x:0:\nedge:x:998:\ncerts:x:50:www,edge\nnone:x:51:edges\nbad\n";

    /// A user is found by name or number, with the groups that name it and no others.
    #[test]
    fn users_are_found_with_their_groups() {
        let find = |user| Account::find(user, PASSWD, GROUP);
        let edge = Account { uid: 999, gid: 998, groups: vec![998, 50] };
        assert_eq!(find("edge"), Some(edge));
        assert_eq!(find("999"), find("edge"));
        assert_eq!(find("12345"), Some(Account { uid: 12345, gid: 12345, groups: vec![12345] }));
        assert_eq!(find("0").map(|root| root.uid), Some(0));
        for nobody in ["edg", "bad", "-1", "x", "4294967296"] {
            assert_eq!(find(nobody), None, "{nobody}");
        }
    }
}
