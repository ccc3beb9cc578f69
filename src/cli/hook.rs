//! What an agent's tool sends to its hooks: one JSON object on standard input.
//!
//! `docs/agents.md#claude-code` shows the hooks. The object is read to its end and no further:
//! some callers leave the pipe open.

use super::{Exit, usage};
use clap::ValueEnum;
use serde::Deserialize;
use std::io::{self, IsTerminal, Read};

/// Bytes. A well-formed object holds a few paths.
const CAP: u64 = 1 << 20;

/// Whose hook it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Hook {
    /// Claude Code's `WorktreeCreate` or `WorktreeRemove`
    Claude,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Sent {
    /// The name for a new worktree; `/` is allowed in it.
    name: Option<String>,
    /// The path of the worktree that is to go.
    worktree_path: Option<String>,
}

impl Hook {
    /// Reads the name that a new worktree is to have.
    pub(super) fn name(self) -> Result<String, Exit> {
        match self {
            Self::Claude => sent()?.name.ok_or_else(|| lacks("name", "WorktreeCreate")),
        }
    }

    /// Reads the path of the worktree that is to go.
    pub(super) fn path(self) -> Result<String, Exit> {
        match self {
            Self::Claude => sent()?
                .worktree_path
                .ok_or_else(|| lacks("worktree_path", "WorktreeRemove")),
        }
    }
}

fn sent() -> Result<Sent, Exit> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(usage(
            "--hook reads what the tool sends on standard input, and that is a terminal",
        ));
    }
    parse(stdin.lock())
}

fn parse(from: impl Read) -> Result<Sent, Exit> {
    let mut objects = serde_json::Deserializer::from_reader(from.take(CAP)).into_iter();
    match objects.next() {
        Some(Ok(sent)) => Ok(sent),
        Some(Err(error)) => Err(usage(format!(
            "failed to read the hook's JSON on standard input: {error}"
        ))),
        None => Err(usage("the hook sent no JSON on standard input")),
    }
}

fn lacks(field: &str, event: &str) -> Exit {
    usage(format!(
        "the hook's JSON has no `{field}`; this command is for the event {event}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that nobody closes: reading past the object would wait for ever.
    struct Open<'a>(&'a [u8]);

    impl Read for Open<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "read past the object");
            self.0.read(to)
        }
    }

    #[test]
    fn one_object_is_read_and_no_more() {
        let sent = parse(Open(
            br#"{"name": "a/b", "hook_event_name": "WorktreeCreate"}"#,
        ))
        .unwrap();
        let expected = Sent {
            name: Some("a/b".to_owned()),
            worktree_path: None,
        };
        assert_eq!(sent, expected);
    }

    #[test]
    fn anything_else_is_bad_usage() {
        let endless = "[".repeat(1 << 21);
        let long = format!("{{\"name\": \"{}", "x".repeat(1 << 21));
        for text in ["", "  \n", "name", "[]", r#"{"name": 1}"#, &endless, &long] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().code, 2);
        }
    }
}
