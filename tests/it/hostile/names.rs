//! Names and texts that would control a terminal, begin a new line, or change the reading
//! direction, wherever a report may show them.
//!
//! Every byte of every output is checked (`steering`). Nothing here may change what a run does.

use super::super::support::{age_all, try_git, write};
use super::{Case, FINE, evil::Evil};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// Escape codes of both kinds, a carriage return, a bell, and characters that reverse or hide text.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{85}\r\u{7f}\u{202e}gpj\u{2066}\u{200f}";
/// The same without the characters that git forbids in a ref.
const REF: &str = "\u{9b}31m\u{85}\u{202e}gpj\u{2066}\u{200f}";

/// Returns all cases of this file.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = files();
    cases.extend(texts());
    cases.extend(broken());
    cases
}

#[expect(clippy::too_many_lines, reason = "one world, and what becomes of it")]
fn files() -> Vec<Case> {
    vec![
        Case::new("name-branch", FINE, "", |evil| {
            evil.repo.git(&["branch", "-m", "landed", REF]);
            evil.repo
                .git(&["branch", "-m", "dirty", &format!("deep/{REF}")]);
        }),
        Case::new("name-tree", FINE, "", |evil| {
            for name in [EVIL, "new\nline: landed", "\u{9b}K", "--help", "..."] {
                let path = evil.landed.path.with_file_name(name);
                evil.repo.git(&[
                    "worktree",
                    "add",
                    "-q",
                    "--detach",
                    path.to_str().unwrap(),
                    "origin/main",
                ]);
                write(&path.join(EVIL), "x\n");
                age_all(&path, 31.0);
            }
            for entry in fs::read_dir(evil.git_dir("worktrees")).unwrap() {
                age_all(&entry.unwrap().path(), 31.0);
            }
        }),
        Case::new("name-tree-bytes", FINE, "", |evil| {
            let path = evil
                .landed
                .path
                .with_file_name(OsStr::from_bytes(b"\xff\xfe\x9b31m"));
            evil.repo
                .git(&["worktree", "add", "-q", "--detach", "plain", "origin/main"]);
            fs::rename(evil.repo.path.join("plain"), &path).unwrap();
            let gitdir = [path.as_os_str().as_bytes(), b"/.git\n"].concat();
            write(&evil.git_dir("worktrees/plain/gitdir"), gitdir);
            age_all(&evil.git_dir("worktrees/plain"), 9.0);
        }),
        Case::new("name-admin", FINE, "", |evil| {
            let admin = evil.git_dir("worktrees").join(EVIL);
            fs::rename(&evil.dirty.admin, &admin).unwrap();
            write(
                &evil.dirty.path.join(".git"),
                format!("gitdir: {}\n", admin.display()),
            );
            age_all(&admin, 31.0);
        }),
        Case::new("name-files", FINE, "", |evil| {
            for name in [
                EVIL.as_bytes(),
                b"new\nline",
                b"\xff\xfe\x9b31m",
                b" ",
                b"\t",
                b"-rf",
                b"\\",
                b"\"",
                &[b'x'; 255],
            ] {
                write(&evil.dirty.path.join(OsStr::from_bytes(name)), "x\n");
                write(
                    &evil
                        .dirty
                        .path
                        .join("deep")
                        .join(OsStr::from_bytes(name))
                        .join(OsStr::from_bytes(name)),
                    "x\n",
                );
            }
        }),
        Case::new(
            "name-blocker",
            "Maintained reap keep",
            "nested repo",
            |evil| write(&evil.dirty.path.join(EVIL).join(".git/HEAD"), ""),
        ),
        Case::new("name-stray", FINE, "", |evil| {
            for name in [EVIL, "new\nline"] {
                write(&evil.dirty.path.with_file_name(name).join("file"), "x\n");
                write(
                    &evil
                        .dirty
                        .path
                        .with_file_name(format!("{name}2"))
                        .join(".git"),
                    format!("gitdir: /{name}\n"),
                );
            }
        }),
        Case::new("name-ref", "Maintained reap reap!", "", |evil| {
            let id = evil.repo.git(&["rev-parse", "HEAD"]);
            for name in [
                EVIL,
                "new\nline",
                "x.lock",
                "\u{1b}[31m",
                "refs",
                "HEAD",
                "-x",
                "@{1}",
            ] {
                write(&evil.git_dir("refs/heads").join(name), format!("{id}\n"));
            }
        }),
        Case::new("name-object", FINE, "", |evil| {
            for name in [
                EVIL,
                "tmp_obj_\u{1b}[31m",
                &format!("{}\u{9b}", "1".repeat(36)),
            ] {
                write(&evil.git_dir("objects/11").join(name), "x");
            }
            for name in [
                "tmp_pack_\u{1b}[31m",
                "pack-\u{1b}[31m.keep",
                "tmp_idx_\u{9b}31m",
            ] {
                write(&evil.git_dir("objects/pack").join(name), "x");
                super::super::support::age(&evil.git_dir("objects/pack").join(name), 9.0);
            }
        }),
    ]
}

fn texts() -> Vec<Case> {
    let reason = |name: &str, row: &'static str, text: Vec<u8>| {
        Case::new(name, row, "", move |evil: &Evil<'_>| {
            write(&evil.landed.admin.join("locked"), &text);
        })
    };
    vec![
        reason(
            "text-lock-reason",
            "Maintained keep reap",
            format!("{EVIL}\nsecond line\n").into_bytes(),
        ),
        reason(
            "text-lock-reason-bytes",
            "Maintained unknown reap",
            b"\xff\xfe\x9b31m\n".to_vec(),
        ),
        reason(
            "text-lock-reason-long",
            "Maintained unknown reap",
            vec![b'x'; 1 << 20],
        ),
        Case::new("text-commit", FINE, "", |evil| {
            let (code, _, _) = try_git(
                &evil.dirty.path,
                60.0,
                &[
                    "commit",
                    "-q",
                    "--allow-empty",
                    "-m",
                    EVIL,
                    "--author",
                    &format!("{REF} <{REF}>"),
                ],
            );
            assert_eq!(code, Some(0));
        }),
        Case::new("text-config", "Refused", "core.worktree", |evil| {
            evil.configure(
                &evil.git_dir("config"),
                &[&format!("core.worktree=/{EVIL}")],
            );
        }),
        Case::new("text-extension", "Refused", "extension", |evil| {
            evil.configure(
                &evil.git_dir("config"),
                &[&format!("extensions.{REF}.x={EVIL}")],
            );
        }),
        Case::new("text-alternates", "Refused", "outside", |evil| {
            write(
                &evil.git_dir("objects/info/alternates"),
                format!("/{EVIL}\n"),
            );
        }),
        Case::new("text-git-file", "Maintained unknown reap", "", |evil| {
            write(&evil.landed.path.join(".git"), format!("gitdir: /{EVIL}\n"));
        }),
        Case::new("text-gitdir", "Maintained keep reap", "", |evil| {
            write(&evil.landed.admin.join("gitdir"), format!("/{EVIL}\n"));
        }),
        Case::new(
            "text-gitdir-outside",
            "Maintained keep reap",
            "outside the volume",
            |evil| {
                write(&evil.landed.admin.join("gitdir"), format!("/{EVIL}/.git\n"));
            },
        ),
        Case::new("text-tree-head", "Maintained unknown reap", "", |evil| {
            write(
                &evil.landed.admin.join("HEAD"),
                format!("ref: refs/heads/{EVIL}\n"),
            );
        }),
        Case::new("text-head", FINE, "", |evil| {
            write(&evil.git_dir("HEAD"), format!("ref: refs/heads/{REF}\n"));
        }),
        Case::new("text-stash", FINE, "", |evil| {
            write(
                &evil.git_dir("logs/refs/stash"),
                format!(
                    "{0} {0} {EVIL} <> 1 +0000\tWIP on {EVIL}: x\n",
                    "1".repeat(40)
                ),
            );
        }),
    ]
}

/// Returns cases with content that git complains about, in words of the repo's own.
fn broken() -> Vec<Case> {
    vec![
        Case::new(
            "complaint-packed-refs",
            "Failed",
            "has a line that names no ref",
            |evil| {
                write(
                    &evil.git_dir("packed-refs"),
                    format!("{EVIL}\n{EVIL} refs/heads/x\n"),
                );
            },
        ),
        Case::new("complaint-config", "Refused", "is malformed", |evil| {
            write(&evil.git_dir("config"), format!("[core \"{EVIL}\n"));
        }),
        Case::new("complaint-object", "Failed", "damaged: ", |evil| {
            // A loose object of a type that git doesn't know, stored uncompressed.
            let text = format!("{REF} 1\0x");
            let length = u16::try_from(text.len()).unwrap();
            let mut bytes = vec![0x78, 0x01, 0x01];
            bytes.extend(length.to_le_bytes());
            bytes.extend((!length).to_le_bytes());
            bytes.extend(text.as_bytes());
            let (a, b) = text.bytes().fold((1_u32, 0_u32), |(a, b), byte| {
                (
                    (a + u32::from(byte)) % 65521,
                    (b + a + u32::from(byte)) % 65521,
                )
            });
            bytes.extend(((b << 16) | a).to_be_bytes());
            write(&evil.git_dir("objects/11").join("1".repeat(38)), bytes);
        }),
        Case::new("complaint-index", "Maintained unknown reap!", "", |evil| {
            write(&evil.landed.admin.join("index"), EVIL);
        }),
        Case::new(
            "complaint-ref",
            "Failed",
            "names neither an object nor a ref",
            |evil| write(&evil.git_dir("refs/heads/bad"), EVIL),
        ),
        Case::new(
            "complaint-commondir",
            "Refused",
            "leads to another repo",
            |evil| {
                write(&evil.landed.admin.join("commondir"), format!("/{EVIL}\n"));
            },
        ),
    ]
}
