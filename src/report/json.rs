//! Reports as JSON, in plain characters.
//!
//! JSON itself requires escapes only below U+0020; a terminal also obeys U+0080 to U+009F, and bidi
//! marks reorder what it shows. People read these texts with `cat`, `kubectl logs` and `tail`, so
//! every such character is escaped.

use super::words::steers;
use serde::Serialize;
use std::io::{self, Write};

/// Returns `what` as JSON on one line.
///
/// # Panics
/// Never: a report has only string keys, and its paths are written lossily.
pub fn line(what: &impl Serialize) -> String {
    let mut line = Vec::new();
    serde_json::to_writer(Plain(&mut line), what).expect(WRITABLE);
    String::from_utf8(line).expect("JSON is UTF-8")
}

/// Returns `what` as JSON on many lines, for people.
///
/// # Panics
/// Never, as in [`line()`].
pub fn pretty(what: &impl Serialize) -> String {
    let mut text = Vec::new();
    write(what, &mut text).expect(WRITABLE);
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Writes `what` in pieces: a report of a hundred thousand units need not be in memory as text.
///
/// # Errors
/// Any error of `to`.
pub fn write(what: &impl Serialize, to: impl Write) -> io::Result<()> {
    let mut to = Plain(io::BufWriter::new(to));
    serde_json::to_writer_pretty(&mut to, what)?;
    to.0.write_all(b"\n")?;
    to.0.flush()
}

const WRITABLE: &str = "a report has only string keys, and its paths are written lossily";

/// Escapes JSON as it is written. Outside of strings there is only ASCII, and in a string an escape
/// means the same as its character.
struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    /// Accepts all of its input: serde passes whole characters.
    fn write(&mut self, json: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(json).map_err(io::Error::other)?;
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| steers(*c) && *c != '\n') {
            self.0.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(self.0, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_all(rest.as_bytes())?;
        Ok(json.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_steers_a_terminal_and_none_is_lost() {
        let evil = [
            "a\u{1b}[31m\u{9b}K\u{85}\u{7f}\r\n",
            "evil\u{202e}gpj\u{200b}\u{e0041}",
            "fix/über-cart ✓ 𝄞 \"\\",
        ];
        let json = line(&evil);
        assert!(!json.contains(steers), "{json}");
        assert!(json.contains("fix/über-cart ✓ 𝄞"), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), evil);
        assert_eq!(
            serde_json::from_str::<Vec<String>>(&pretty(&evil)).unwrap(),
            evil
        );
        let mut written = Vec::new();
        write(&evil, &mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), pretty(&evil));
    }
}
