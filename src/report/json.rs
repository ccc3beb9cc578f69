//! Reports as JSON, in plain characters.
//!
//! JSON itself asks for escapes below U+0020 only; a terminal also obeys U+0080 to U+009F, and bidi marks turn what it shows. People look at
//! these texts with `cat`, `kubectl logs` and `tail`. It must never let a character that a repo supplied reach them raw.

use super::words::steers;
use serde::Serialize;
use std::fmt::Write as _;

/// On one line.
///
/// # Panics
/// Never: a report has only string keys, and its paths are written lossily.
pub fn line(what: &impl Serialize) -> String {
    plain(&serde_json::to_string(what).expect("a report has only string keys, and its paths are written lossily"))
}

/// On many lines, for people.
///
/// # Panics
/// As [`line()`]: never.
pub fn pretty(what: &impl Serialize) -> String {
    plain(&serde_json::to_string_pretty(what).expect("a report has only string keys, and its paths are written lossily")) + "\n"
}

/// The same JSON: outside of strings there is nothing but ASCII, and inside of them an escape is as good as its character.
fn plain(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(plain, "\\u{unit:04x}").expect("a string takes all there is");
            }
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_character_steers_a_terminal_and_none_is_lost() {
        let evil = ["a\u{1b}[31m\u{9b}K\u{85}\u{7f}\r\n", "evil\u{202e}gpj\u{200b}\u{e0041}", "fix/über-cart ✓ 𝄞 \"\\"];
        let json = line(&evil);
        assert!(!json.contains(steers), "{json}");
        assert!(json.contains("fix/über-cart ✓ 𝄞"), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), evil);
        assert_eq!(serde_json::from_str::<Vec<String>>(&pretty(&evil)).unwrap(), evil);
    }
}
