//! The parts of a rescue that are restored: files and directories, each proven to stay in the tree
//! and out of any `.git`.

use super::{RescueContents, odd};
use git2::Oid;
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A file or link to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its path in the tree.
    pub path: PathBuf,
    /// The blob with its content or target.
    pub blob: Oid,
    /// Permission bits; none for a link.
    pub mode: Option<u32>,
}

/// Files and directories to restore, all proven to be inside the tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Files and links.
    pub files: Vec<Piece>,
    /// Directories with permission bits, including those above the files.
    pub directories: BTreeMap<PathBuf, u32>,
}

/// Permission bits that are restored. A set-id bit would give whoever wrote the file the rights of
/// whoever restores it.
const BITS: u32 = 0o1777;
const LINK: u32 = 0o120_000;
const SUBMODULE: u32 = 0o160_000;

impl RescueContents {
    /// Returns the file, link or directory `path` with everything below it; everything for an empty
    /// path.
    ///
    /// # Errors
    /// There is none, or it can't be restored without leaving the tree or writing into a `.git`.
    pub fn pieces(&self, path: &Path) -> io::Result<Pieces> {
        let files = self.files_below(path)?;
        let directories = self.directories_with(path, &files)?;
        let pieces = Pieces { files, directories };
        if pieces == Pieces::default() && !path.as_os_str().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("it holds no `{}`", path.display()),
            ));
        }
        match pieces
            .files
            .iter()
            .find(|piece| pieces.directories.contains_key(&piece.path))
        {
            Some(piece) => Err(odd(&format!(
                "`{}` is a file and a directory at once",
                piece.path.display()
            ))),
            None => Ok(pieces),
        }
    }

    /// Returns the files and links at or below `path`, with their permission bits.
    fn files_below(&self, path: &Path) -> io::Result<Vec<Piece>> {
        let modes: BTreeMap<&Path, u32> = self
            .manifest
            .files
            .iter()
            .map(|(name, mode, _)| (name.0.as_path(), mode & BITS))
            .collect();
        let mut files = Vec::new();
        for (name, &(kind, blob)) in self.files.iter().filter(|(name, _)| name.starts_with(path)) {
            let mode = |usual| Some(modes.get(name.as_path()).copied().unwrap_or(usual));
            let mode = match kind {
                LINK => None,
                // A submodule that was never checked out. The manifest has its empty directory, if
                // there was one.
                SUBMODULE => continue,
                executable if executable & 0o100 != 0 => mode(0o755),
                _ => mode(0o644),
            };
            files.push(Piece {
                path: proven(name)?,
                blob,
                mode,
            });
        }
        Ok(files)
    }

    /// Returns the directories at or below `path`, and those above these and `files`, with modes.
    fn directories_with(&self, path: &Path, files: &[Piece]) -> io::Result<BTreeMap<PathBuf, u32>> {
        let modes: BTreeMap<&Path, u32> = self
            .manifest
            .directories
            .iter()
            .map(|(name, mode)| (name.0.as_path(), mode & 0o7777))
            .collect();
        let below = modes
            .keys()
            .filter(|name| name.starts_with(path))
            .map(|name| proven(name))
            .collect::<io::Result<Vec<_>>>()?;
        let above = files
            .iter()
            .map(|piece| &piece.path)
            .chain(&below)
            .flat_map(|path| path.ancestors().skip(1));
        let mode = |directory: &Path| modes.get(directory).copied().unwrap_or(0o755);
        Ok(below
            .iter()
            .map(PathBuf::as_path)
            .chain(above)
            .filter(|directory| !directory.as_os_str().is_empty())
            .map(|directory| (directory.to_owned(), mode(directory)))
            .collect())
    }

    /// Returns the files and directories to restore into the registration.
    ///
    /// # Errors
    /// A path leads out of it, or into a `.git`.
    pub fn registered(&self) -> io::Result<Pieces> {
        let mut pieces = Pieces::default();
        for (name, &(kind, blob)) in &self.registration {
            let path = proven(name)?;
            pieces.directories.extend(
                path.ancestors()
                    .skip(1)
                    .filter(|above| !above.as_os_str().is_empty())
                    .map(|above| (above.to_owned(), 0o755)),
            );
            pieces.files.push(Piece {
                path,
                blob,
                mode: Some(if kind & 0o100 == 0 { 0o644 } else { 0o755 }),
            });
        }
        Ok(pieces)
    }
}

/// Checks that a path stays in the tree and out of any `.git`, as all paths in treewarden's rescues
/// do.
fn proven(path: &Path) -> io::Result<PathBuf> {
    let fine = |part: Component<'_>| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git") && !name.is_empty());
    let whole = path.components().collect::<PathBuf>();
    if path.as_os_str().is_empty()
        || whole.as_os_str() != path.as_os_str()
        || !path.components().all(fine)
    {
        return Err(odd(&format!(
            "`{}` leads out of the tree or into a `.git`; restore other paths one by one",
            path.display()
        )));
    }
    Ok(path.to_owned())
}
