//! Shows the progress of the caller's git on a terminal, as git writes it.
//!
//! Git's messages quote addresses, and the server writes some of them. So each piece of a line is
//! shown without secrets, and without what could steer a terminal.

use super::hidden;
use crate::fs::humanize::plain;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes. A longer piece is shown in parts: the server may never end its line.
const LONGEST: usize = 4096;

/// A pipe for git's standard error, and the file that keeps what is no progress.
pub(super) struct Progress {
    pipe: PipeReader,
    kept: File,
    over: AtomicBool,
}

/// What is being shown.
pub(super) struct Shown<'a> {
    over: &'a AtomicBool,
    done: std::sync::mpsc::Receiver<()>,
}

impl Shown<'_> {
    /// Waits until everything that git said is shown and kept.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        let _ended = self.done.recv();
    }
}

impl Progress {
    /// Returns it, and what becomes git's standard error.
    pub(super) fn of(kept: File) -> io::Result<(Self, Stdio)> {
        let (pipe, end) = io::pipe()?;
        let progress = Self {
            pipe,
            kept,
            over: AtomicBool::new(false),
        };
        Ok((progress, end.into()))
    }

    /// Shows what git says during `work`.
    pub(super) fn during<T>(self, work: impl FnOnce(&Shown<'_>) -> T) -> T {
        let Self { pipe, kept, over } = self;
        std::thread::scope(|scope| {
            let (ended, done) = std::sync::mpsc::channel::<()>();
            let over = &over;
            scope.spawn(move || {
                // Git goes on without a reader of its progress.
                let _unseen = show(pipe, kept, over, &mut io::stderr());
                drop(ended);
            });
            let shown = Shown { over, done };
            let result = work(&shown);
            shown.end();
            result
        })
    }
}

/// Shows pieces until the pipe ends, or until git has ended: a process that it left behind, such as
/// ssh's shared connection, may keep the pipe open.
fn show(
    mut pipe: PipeReader,
    mut kept: File,
    over: &AtomicBool,
    screen: &mut impl io::Write,
) -> io::Result<()> {
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let (mut line, mut bytes) = (Vec::new(), [0; LONGEST]);
    loop {
        let was_over = over.load(Ordering::Acquire);
        match rustix::event::poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&tick)) {
            Ok(0) if was_over => break,
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let read = pipe.read(&mut bytes)?;
        if read == 0 {
            break;
        }
        for byte in bytes.iter().take(read) {
            line.push(*byte);
            if matches!(byte, b'\r' | b'\n') || line.len() == LONGEST {
                piece(&line, &mut kept, screen)?;
                line.clear();
            }
        }
    }
    piece(&line, &mut kept, screen)
}

/// Shows a piece of a line with its end, and keeps it if it is no progress. The list of refs that a
/// fetch moved is left out: a clone's is all of them.
fn piece(line: &[u8], kept: &mut File, screen: &mut impl io::Write) -> io::Result<()> {
    let text = String::from_utf8_lossy(line);
    let said = text.trim_end_matches(['\r', '\n']);
    let end = text.get(said.len()..).unwrap_or_default();
    let is_of_refs = said.starts_with("From ") || said.starts_with(' ');
    if is_of_refs && !said.starts_with(" ! ") {
        return Ok(());
    }
    let is_progress = end.starts_with('\r') || said.trim_end().ends_with("done.");
    if !is_progress {
        kept.write_all(line)?;
    }
    write!(screen, "{}{end}", plain(&hidden(said)))?;
    screen.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, SeekFrom};

    #[test]
    fn progress_is_shown_without_secrets_and_complaints_are_kept() {
        let (pipe, mut end) = io::pipe().unwrap();
        let mut kept = tempfile::tempfile().unwrap();
        let said = "From https://host/x\n * [new branch] a -> b\n\
            remote: Counting objects: 100% (3/3), done.\nReceiving objects:   3% (1/3)\r\
            remote: \x1b[31mred\x07\u{202e}\nfatal: no 'https://me:SECRET@host/x?t=SECRET'\n";
        end.write_all(said.as_bytes()).unwrap();
        // The pipe stays open, as by a process that git left behind.
        let mut screen = Vec::new();
        let over = AtomicBool::new(true);
        show(pipe, kept.try_clone().unwrap(), &over, &mut screen).unwrap();
        assert_eq!(
            String::from_utf8(screen).unwrap(),
            "remote: Counting objects: 100% (3/3), done.\nReceiving objects:   3% (1/3)\r\
             remote: \\u{1b}[31mred\\u{7}\\u{202e}\nfatal: no 'https://host/x'\n"
        );
        let mut text = String::new();
        kept.seek(SeekFrom::Start(0)).unwrap();
        kept.read_to_string(&mut text).unwrap();
        let complaints = said.split('\r').nth(1).unwrap();
        assert_eq!(text, complaints);
        drop(end);
    }
}
