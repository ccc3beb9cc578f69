//! A person's terminal: the program writes to real pseudo-terminals, one for each of its outputs.

use super::{LIMIT, Ran, World};
use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::thread::JoinHandle;
use std::time::Instant;

impl World {
    /// Runs the program at a terminal of so many columns, and returns what it wrote there, colours
    /// and all.
    pub(crate) fn on_terminal(&self, columns: u16, arguments: &[&str]) -> Ran {
        self.on_terminal_as(&[], columns, arguments)
    }

    /// Does the same with more environment variables.
    pub(crate) fn on_terminal_as(
        &self,
        environment: &[(&str, &str)],
        columns: u16,
        arguments: &[&str],
    ) -> Ran {
        let ((out, out_end), (err, err_end)) = (open(columns), open(columns));
        let mut command = self.command(env!("CARGO_BIN_EXE_treewarden"), arguments);
        command
            .env("TERM", "xterm")
            .envs(environment.iter().copied());
        let mut child = command.stdout(out_end).stderr(err_end).spawn().unwrap();
        // The last copies of the ends here: a screen is done when nobody can write to it.
        drop(command);
        let until = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it hangs");
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        Ran {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap()),
            out: out.join().unwrap(),
            err: err.join().unwrap(),
        }
    }
}

/// Opens a terminal. Returns who reads its screen, and the program's end.
fn open(columns: u16) -> (JoinHandle<String>, OwnedFd) {
    let size = Winsize {
        ws_row: 40,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(Some(&size), None).unwrap();
    let mut screen = File::from(pty.master);
    let reader = std::thread::spawn(move || {
        let (mut all, mut bytes) = (Vec::new(), [0; 4096]);
        // The end of a terminal is an error.
        while let Ok(read @ 1..) = screen.read(&mut bytes) {
            all.extend_from_slice(&bytes[..read]);
        }
        String::from_utf8_lossy(&all).replace("\r\n", "\n")
    });
    (reader, pty.slave)
}

/// Returns a screen's text without colours.
pub(crate) fn without_colours(screen: &str) -> String {
    let mut parts = screen.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        plain += after.strip_prefix('m').unwrap_or("\u{1b}");
    }
    plain
}
