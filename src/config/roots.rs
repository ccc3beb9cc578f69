//! Where a repo's worktrees may be: presets by name, and custom globs; and which of them stay.
//!
//! A root is a glob relative to the volume's root in which `*` stays within one directory.
//! Discovery walks what it matches, so it can't lead out of the volume or match at any depth.

use super::policy::{self, Keep};
use super::problem::{KeyPath, Notes};
use super::raw::List;
use super::values::{names, odd, texts};
use crate::fs::volume_path::VolumePath;
use globset::{GlobBuilder, escape};
use std::path::{Path, PathBuf};

/// The layouts of `docs/design/worktrees.md#layouts`: for a runner configured to work on the
/// volume, and for its default place if the volume is the agents' home. `custom` means `roots`
/// only. Superset names directories by branches, which have slashes.
pub(super) const PRESETS: [(&str, &[&str]); 11] = [
    ("afk", &["<repo>/.worktrees/*", "worktrees/<repo>/*"]),
    (
        "t3",
        &[
            "worktrees/<repo-basename>/*",
            ".t3/worktrees/<repo-basename>/*",
        ],
    ),
    ("claude", &["<repo>/.claude/worktrees/*"]),
    (
        "codex",
        &[
            "worktrees/*/<repo-basename>",
            ".codex/worktrees/*/<repo-basename>",
        ],
    ),
    (
        "cursor",
        &[
            "worktrees/<repo-basename>/*",
            ".cursor/worktrees/<repo-basename>/*",
        ],
    ),
    ("grok", &["worktrees/<repo-basename>/*"]),
    (
        "vibe-kanban",
        &[
            "worktrees/*/<repo-basename>",
            "vibe-kanban/worktrees/*/<repo-basename>",
            ".vibe-kanban/worktrees/*/<repo-basename>",
        ],
    ),
    (
        "superset",
        &[
            "worktrees/<repo-basename>/*",
            "worktrees/<repo-basename>/*/*",
            "worktrees/<repo-basename>/*/*/*",
            ".superset/worktrees/<repo-basename>/*",
            ".superset/worktrees/<repo-basename>/*/*",
            ".superset/worktrees/<repo-basename>/*/*/*",
        ],
    ),
    (
        "conductor",
        &[
            "workspaces/<repo-basename>/*",
            "conductor/workspaces/<repo-basename>/*",
        ],
    ),
    ("crystal", &["<repo>/worktrees/*"]),
    ("custom", &[]),
];

/// Notes unknown presets.
pub(super) fn check_presets(typed: Option<&List>, at: &KeyPath, notes: &mut Notes) {
    for (at, name) in typed.map(|list| texts(list, at, notes)).unwrap_or_default() {
        if templates(name).is_none() {
            let known = names(&PRESETS);
            notes.add(&at, format!("`{name}` is unknown; write one of {known}, and give any other layout as a glob in roots"));
        }
    }
}

/// Notes roots that are no globs below the volume's root.
pub(super) fn check_roots(typed: Option<&List>, root: &Path, at: &KeyPath, notes: &mut Notes) {
    for (at, template) in typed.map(|list| texts(list, at, notes)).unwrap_or_default() {
        let depth = if template.contains("**") {
            Err(format!(
                "`{template}` reaches any depth with `**`; write one `*` for each directory"
            ))
        } else {
            check(template, root)
        };
        if let Err(problem) = depth {
            notes.add(&at, problem);
        }
    }
}

/// Notes globs of `worktrees.keep` that name nothing on the volume, or don't mean what they seem to.
pub(super) fn check_keep(typed: Option<&List>, root: &Path, at: &KeyPath, notes: &mut Notes) {
    for (at, glob) in typed.map(|list| texts(list, at, notes)).unwrap_or_default() {
        let checked = match glob.as_bytes().first() {
            Some(b'!') => Err(format!(
                "`{glob}` would take back what other globs keep; list only what stays"
            )),
            Some(b'~') => Err(format!(
                "`{glob}` begins with `~`, which no shell expands here; write the glob from volume.root"
            )),
            _ => check(glob, root),
        };
        if let Err(problem) = checked {
            notes.add(&at, problem);
        }
    }
}

/// Returns a repo's `worktrees.keep`.
pub(super) fn keep(list: Option<&List>, repo: &VolumePath) -> Keep {
    let globs = list.map(typed).unwrap_or_default().into_iter();
    Keep::of(globs.filter_map(|typed| Some((typed, glob_of(typed, repo)?))))
}

/// Checks that a template is a glob below the volume's root.
fn check(template: &str, root: &Path) -> Result<(), String> {
    let glob = below(template, root).ok_or_else(|| {
        format!("`{template}` is not below volume.root; write the glob from there")
    })?;
    let refused = [
        (
            glob.is_empty(),
            "names the volume's root itself; name the directories that worktrees stand in, for instance trees/*",
        ),
        (
            odd(&glob),
            "holds a control character or a backslash; to mean a `*` itself, write [*]",
        ),
        (
            glob.contains(".."),
            "holds `..`; write the glob from the volume's root",
        ),
        (
            filled(&glob, "", "").contains(['<', '>']),
            "holds a placeholder that is unknown; there are <repo> and <repo-basename>",
        ),
    ];
    if let Some((_, why)) = refused.iter().find(|(applies, _)| *applies) {
        return Err(format!("`{template}` {why}"));
    }
    let sample = filled(&glob, "repo", "repo");
    let built = GlobBuilder::new(&sample).literal_separator(true).build();
    built.map(drop).map_err(|cause| {
        format!(
            "`{template}` is no glob ({}); close its brackets",
            cause.kind()
        )
    })
}

/// Returns a template as a glob relative to the volume's root, in its simplest form; none if it is
/// absolute and elsewhere.
fn below(template: &str, root: &Path) -> Option<String> {
    let rest = if template.starts_with('/') {
        Path::new(template).strip_prefix(root).ok()?.to_str()?
    } else {
        template
    };
    Some(
        rest.split('/')
            .filter(|part| !matches!(*part, "" | "."))
            .collect::<Vec<_>>()
            .join("/"),
    )
}

fn filled(glob: &str, repo: &str, basename: &str) -> String {
    glob.replace("<repo-basename>", basename)
        .replace("<repo>", repo)
}

fn templates(preset: &str) -> Option<&'static [&'static str]> {
    PRESETS
        .iter()
        .find(|(name, _)| *name == preset)
        .map(|(_, templates)| *templates)
}

/// Returns a repo's roots: its presets', then its own, each once.
pub(super) fn expanded(
    presets: Option<&List>,
    roots: Option<&List>,
    repo: &VolumePath,
) -> Vec<String> {
    let presets = presets.map_or_else(|| policy::PRESETS.to_vec(), typed);
    let mut all_templates: Vec<&str> = presets
        .into_iter()
        .filter_map(templates)
        .flatten()
        .copied()
        .collect();
    all_templates.extend(roots.map(typed).unwrap_or_default());
    let mut globs = Vec::new();
    for glob in all_templates
        .into_iter()
        .filter_map(|template| glob_of(template, repo))
    {
        if !globs.contains(&glob) {
            globs.push(glob);
        }
    }
    globs
}

/// Returns the places that runners use for a repo's worktrees by themselves, each with the preset
/// that has it. A `worktrees` or `workspaces` directory may be anybody's.
pub fn own_places(repo: &VolumePath) -> Vec<(&'static str, PathBuf)> {
    let (path, name) = (repo.to_string(), repo.relative().file_name());
    let name = name.unwrap_or_default().to_string_lossy();
    let own = |template: &&&str| {
        !["worktrees/", "workspaces/"]
            .iter()
            .any(|any| template.starts_with(any))
    };
    let place = |(preset, templates): &(&'static str, &'static [&'static str])| {
        let preset = *preset;
        let places = templates.iter().filter(own).map(|template| {
            let begins = literal_start(template);
            filled(&begins.to_string_lossy(), &path, &name)
        });
        places
            .map(move |place| (preset, place.into()))
            .collect::<Vec<_>>()
    };
    PRESETS.iter().flat_map(place).collect()
}

/// Returns a repo's glob for a template, relative to the volume's root; none if it is elsewhere.
fn glob_of(template: &str, repo: &VolumePath) -> Option<String> {
    let path = escape(&repo.to_string());
    let basename = path.rsplit('/').next().unwrap_or_default();
    Some(filled(&below(template, repo.root())?, &path, basename))
}

fn typed(list: &List) -> Vec<&str> {
    list.iter().flatten().map(String::as_str).collect()
}

/// Returns the directories at the beginning of a root, before any wildcard.
pub(super) fn literal_start(glob: &str) -> &Path {
    let matched = glob.find(['*', '?', '[', '{']).unwrap_or(glob.len());
    let end = if matched == glob.len() {
        matched
    } else {
        glob[..matched].rfind('/').unwrap_or(0)
    };
    Path::new(&glob[..end])
}
