//! Standard output for what agents wrote, byte for byte: a program gets it as it is, and a terminal
//! without what could steer it.

use crate::report::words::plain;
use std::io::{self, IsTerminal as _, Stdout, Write};

/// Bytes. A longer line is shown in parts.
const LONGEST: usize = 64 << 10;

/// Standard output, as its reader can take it. A reader that has seen enough is no failure.
pub(super) struct ForReader {
    out: Stdout,
    /// On a terminal, the line so far.
    line: Option<Vec<u8>>,
}

impl ForReader {
    pub(super) fn of_stdout() -> Self {
        let out = io::stdout();
        let line = out.is_terminal().then(Vec::new);
        Self { out, line }
    }
}

impl Write for ForReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(line) = &mut self.line else {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        };
        for byte in bytes {
            line.push(*byte);
            if *byte == b'\n' || line.len() == LONGEST {
                show(&mut self.out, line)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(line) = &mut self.line {
            show(&mut self.out, line)?;
        }
        self.out.flush()
    }
}

/// Writes a line and empties it. Tabs and its end stay.
fn show(out: &mut Stdout, line: &mut Vec<u8>) -> io::Result<()> {
    let text = String::from_utf8_lossy(line);
    let end = if text.ends_with('\n') { "\n" } else { "" };
    let text = text.strip_suffix(end).unwrap_or_default();
    let parts: Vec<String> = text.split('\t').map(plain).collect();
    write!(out, "{}{end}", parts.join("\t"))?;
    line.clear();
    Ok(())
}
