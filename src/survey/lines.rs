//! Reads files line by line, and keeps only the beginning of one line in memory, however long the
//! file and its lines are: thirty files are read at once.

use crate::fs::stop::Stop;
use std::fs::File;
use std::io::{self, BufRead, Read};

/// Bytes read at once.
const AT_ONCE: usize = 64 << 10;
/// Bytes between two checks whether to stop.
const ASK_EVERY: u64 = 1 << 20;

/// Calls `line` with the first bytes of each line, at most `most` of them.
///
/// # Errors
/// Any error of `line`; the file can't be read, or the run is to stop.
pub(super) fn each(
    file: File,
    most: usize,
    stop: &Stop,
    mut line: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = io::BufReader::with_capacity(AT_ONCE, file);
    let (mut begin, mut read) = (Vec::with_capacity(most.min(256)), 0_u64);
    loop {
        begin.clear();
        let message = Read::by_ref(&mut file)
            .take((most as u64).saturating_add(1))
            .read_until(b'\n', &mut begin)?;
        read = read.saturating_add(message as u64);
        if begin.is_empty() {
            return Ok(());
        }
        if begin.pop_if(|end| *end == b'\n').is_none() {
            begin.truncate(most);
            read = read.saturating_add(file.skip_until(b'\n')? as u64);
        }
        if read >= ASK_EVERY {
            stop.read(std::mem::take(&mut read))?;
        }
        line(&begin)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn of_each_line_comes_its_beginning() {
        let long = "x".repeat(3 * AT_ONCE);
        for (text, expected) in [
            ("", vec![]),
            ("one\n", vec!["one"]),
            ("one\n\ntwo", vec!["one", "", "two"]),
            (
                &format!("{long}\nafter\n{long}"),
                vec!["xxxxx", "after", "xxxxx"],
            ),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.rewind().unwrap();
            let mut lines = Vec::new();
            each(file, 5, &Stop::never(), |line| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                Ok(())
            })
            .unwrap();
            assert_eq!(lines, expected);
        }
    }
}
