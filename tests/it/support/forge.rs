//! Objects and refs as no git would write them: what an agent can put into a repo's store with a
//! few lines of code.

use super::repo::Repo;
use super::{ago, write};
use chrono::{DateTime, Utc};
use git2::ObjectType;
use serde_json::Value;

/// Writes an object unchecked, as no git would.
pub(crate) fn raw(repo: &Repo<'_>, kind: ObjectType, bytes: &[u8]) -> String {
    let forge = git2::Repository::open(&repo.path).unwrap();
    forge.odb().unwrap().write(kind, bytes).unwrap().to_string()
}

pub(crate) fn raw_blob(repo: &Repo<'_>, bytes: &[u8]) -> String {
    raw(repo, ObjectType::Blob, bytes)
}

/// Writes a tree of any entries.
pub(crate) fn raw_tree(repo: &Repo<'_>, entries: &[(&str, &[u8], &str)]) -> String {
    let entry = |(mode, name, id): &(&str, &[u8], &str)| {
        let id = (0..20).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap());
        [mode.as_bytes(), b" ", name, b"\0"]
            .concat()
            .into_iter()
            .chain(id)
            .collect::<Vec<u8>>()
    };
    raw(
        repo,
        ObjectType::Tree,
        &entries.iter().flat_map(entry).collect::<Vec<u8>>(),
    )
}

pub(crate) fn raw_commit(
    repo: &Repo<'_>,
    at: DateTime<Utc>,
    parents: &[&str],
    tree: &str,
) -> String {
    let parents = parents
        .iter()
        .fold(String::new(), |all, parent| all + "parent " + parent + "\n");
    let who = format!("An Agent <agent@example.com> {} +0000", at.timestamp());
    raw(
        repo,
        ObjectType::Commit,
        format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\nA rescue\n").as_bytes(),
    )
}

/// Forges a rescue as an agent may: any tree, any manifest. Returns its ref, which is named after
/// the commit's time.
pub(crate) fn forge(
    repo: &Repo<'_>,
    name: &str,
    days: f64,
    tree: &str,
    manifest: &Value,
) -> String {
    let manifest = raw_blob(repo, manifest.to_string().as_bytes());
    let at = ago(days).into();
    let extras = raw_commit(
        repo,
        at,
        &[],
        &raw_tree(repo, &[("100644", b"manifest.json", &manifest)]),
    );
    let main = std::fs::read_to_string(repo.git_dir("refs/heads/main")).unwrap();
    refer(
        repo,
        name,
        at,
        &raw_commit(repo, at, &[main.trim(), &extras], tree),
    )
}

pub(crate) fn refer(repo: &Repo<'_>, name: &str, at: DateTime<Utc>, commit: &str) -> String {
    let name = format!(
        "refs/treewarden/rescue/{name}/{}",
        at.format("%Y%m%dT%H%M%SZ")
    );
    write(&repo.git_dir(&name), format!("{commit}\n"));
    name
}
