//! Somebody at work: a process that is in a directory, or has a file open, until it is dropped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Somebody's process, killed in the end.
pub(crate) struct AtWork(Child);

impl AtWork {
    /// Starts a shell in `directory`, with a file open for writing.
    pub(crate) fn new(directory: &Path, open: Option<&Path>, script: &str) -> Self {
        let input = open.map_or(Stdio::null(), |path| {
            Stdio::from(File::options().append(true).open(path).unwrap())
        });
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .current_dir(directory)
            .stdin(input)
            .process_group(0);
        Self(command.spawn().unwrap())
    }

    /// Returns its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        // The whole group, with its editor.
        let group = rustix::process::Pid::from_child(&self.0);
        let _ended_already =
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _status = self.0.wait();
    }
}

/// A script that does nothing for a long time.
pub(crate) const SLEEP: &str = "exec sleep 300";
