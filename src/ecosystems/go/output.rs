//! What Go writes into a project: vendored packages, recognised by their list of modules, and
//! programs, recognised by their build information. A program of another module is somebody's.

use crate::ecosystems::account::{Opinion, Says, Tool, opinion};
use crate::ecosystems::directory::{Directory, beside, ends_with, folder, holds};
use crate::ecosystems::directory::{listed, open, read};
use crate::ecosystems::made_file::MadeFile;
use crate::fs::stop::Stop;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

pub(super) static OUTPUT: [Tool; 2] = [
    Tool {
        signs: &[],
        made: |parent, name| {
            name == "vendor" && beside(parent, &["go.mod"], name, &["modules.txt"])
        },
        account: vendor,
    },
    Tool {
        signs: &[],
        made: |parent, name| {
            name == "bin" && holds(parent, &["go.mod"]) && holds_program(parent, name)
        },
        account: |_| programs(),
    },
];

/// A program without an extension, or a test's program, beside the `go.mod`.
pub(super) const PROGRAM: MadeFile = MadeFile {
    may_be: |name| !name.contains('.') || ends_with(name, &["test", "exe"]),
    is_one: |parent, name, stop| is_large_program(parent, name) && is_program(parent, name, stop),
};

/// Bytes. The smallest program that Go links is larger.
const SMALLEST_PROGRAM: i64 = 256 << 10;

/// Bytes of a program that are read at once.
const AT_ONCE: usize = 1 << 20;
/// The beginning of a program's build information.
const BUILD_INFO: &[u8] = b"\xff Go buildinf:";

fn vendor(directory: &Directory) -> Opinion {
    let list = directory.text("modules.txt").unwrap_or_default();
    let packages = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    vendored(String::new(), Rc::new(packages))
}

/// Claims all files of the packages, and above the packages the license files, which have to be
/// kept with them.
fn vendored(path: String, packages: Rc<HashSet<String>>) -> Opinion {
    const KEPT: [&str; 8] = [
        "LICENSE",
        "LICENCE",
        "COPYING",
        "COPYRIGHT",
        "NOTICE",
        "PATENTS",
        "AUTHORS",
        "CONTRIBUTORS",
    ];
    opinion(move |_, name, kind| {
        let here = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}/{name}")
        };
        if kind.is_dir() {
            let below = format!("{here}/");
            let known = packages.contains(&here)
                || packages.iter().any(|package| package.starts_with(&below));
            return if known {
                Says::Below(vendored(here, packages.clone()))
            } else {
                Says::Nothing
            };
        }
        let kept = KEPT
            .iter()
            .any(|kept| name.to_ascii_uppercase().starts_with(kept));
        (here == "modules.txt" || packages.contains(&path) || (kept && !path.is_empty())).into()
    })
}

fn holds_program(parent: BorrowedFd<'_>, name: &str) -> bool {
    let Some(folder) = folder(parent, name) else {
        return false;
    };
    let entries = listed(&folder).unwrap_or_default();
    entries
        .iter()
        .filter_map(|(name, _)| name.to_str())
        .any(|name| is_large_program(folder.as_fd(), name))
}

fn programs() -> Opinion {
    opinion(|directory, name, kind| {
        let module = || {
            directory
                .above()
                .first()
                .and_then(|project| module(&project.text("go.mod")?))
        };
        (!kind.is_dir()
            && module().is_some_and(|module| {
                directory
                    .file(name)
                    .and_then(|file| directory.read(is_built(file, &module, directory.stop())))
                    .unwrap_or(false)
            }))
        .into()
    })
}

/// Returns whether it may be a program, judged by its mode and size.
fn is_large_program(parent: BorrowedFd<'_>, name: &str) -> bool {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode).is_file()
            && stat.st_mode & 0o100 != 0
            && stat.st_size > SMALLEST_PROGRAM
    })
}

/// Returns whether a file beside a `go.mod` is a program of its module.
fn is_program(parent: BorrowedFd<'_>, name: &str, stop: &Stop) -> bool {
    let module = || {
        read(parent.as_fd(), Path::new("go.mod"))
            .ok()
            .and_then(|text| module(std::str::from_utf8(&text).ok()?))
    };
    holds(parent, &["go.mod"])
        && module().is_some_and(|module| {
            open(parent, Path::new(name))
                .and_then(|file| is_built(file, &module, stop))
                .unwrap_or(false)
        })
}

fn module(go_mod: &str) -> Option<String> {
    let name = go_mod
        .lines()
        .find_map(|line| line.strip_prefix("module "))?;
    Some(name.split("//").next()?.trim().trim_matches('"').to_owned())
}

/// Returns whether the program names the module as its own. It may be large: it is read in pieces.
///
/// # Errors
/// It can't be read, or the run is to stop.
fn is_built(mut file: File, module: &str, stop: &Stop) -> io::Result<bool> {
    let message = format!("\nmod\t{module}\t");
    let overlap = message.len().max(BUILD_INFO.len());
    let mut piece = Vec::with_capacity(AT_ONCE);
    let (mut info, mut named) = (false, false);
    let mut first = true;
    loop {
        // The searched bytes may begin at the end of the previous piece.
        piece.drain(..piece.len().saturating_sub(overlap));
        let more = AT_ONCE.saturating_sub(piece.len()) as u64;
        // All of a piece counts, because all of it is searched: the module's name may be long.
        stop.read(AT_ONCE as u64)?;
        let count = file.by_ref().take(more).read_to_end(&mut piece)?;
        let bytes = piece.as_slice();
        if std::mem::take(&mut first)
            && ![&b"\x7fELF"[..], b"MZ", &[0xcf, 0xfa, 0xed, 0xfe]]
                .iter()
                .any(|magic| bytes.starts_with(magic))
        {
            return Ok(false);
        }
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        info = info || holds(BUILD_INFO);
        named = named || holds(message.as_bytes());
        if (info && named) || count == 0 {
            return Ok(info && named);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecosystems::testing::Field;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_program_is_read_until_the_run_is_to_stop() {
        let field = Field::new();
        let go_mod = field.file("p/go.mod", 1).path();
        write(go_mod, "module acme.example/shop\n").unwrap();
        let server = field.file("p/server", 1).path();
        let message = b"\nmod\tacme.example/shop\t(devel)\n";
        write(&server, [&b"\x7fELF"[..], BUILD_INFO, message].concat()).unwrap();
        let file = File::options().write(true).open(&server).unwrap();
        file.set_len(3 << 20).unwrap();
        set_permissions(&server, Permissions::from_mode(0o755)).unwrap();
        let parent = File::open(field.at("p").path()).unwrap();
        let is_one = |stop: &Stop| (PROGRAM.is_one)(parent.as_fd(), "server", stop);
        assert!(is_one(&Stop::never()));
        assert!(!is_one(&Stop::after(Duration::ZERO, Arc::default())));
    }
}
