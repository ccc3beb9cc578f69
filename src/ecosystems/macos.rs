//! macOS: the files that the Finder leaves behind.

use super::ecosystem::Ecosystem;
use super::made_file::{MadeFile, shows};

pub(super) static MACOS: Ecosystem = Ecosystem {
    files: &[MadeFile {
        may_be: |name| name == ".DS_Store",
        is_one: |parent, name, _| shows(parent, name, |bytes| bytes.starts_with(b"\0\0\0\x01Bud1")),
    }],
    ..Ecosystem::named("macOS")
};
