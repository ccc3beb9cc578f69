//! `completions` and `man`: what shells and readers know of the commands, made from the definitions
//! that parse them.

use super::output::save;
use super::{Cli, Exit, failed, print, usage};
use clap::{Command, CommandFactory, Subcommand};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Manual {
    /// Print a script that completes commands and options in your shell
    ///
    /// bash: treewarden completions bash > ~/.local/share/bash-completion/completions/treewarden
    ///
    /// zsh: treewarden completions zsh > ~/.zfunc/_treewarden (with fpath+=~/.zfunc before compinit)
    ///
    /// fish: treewarden completions fish > ~/.config/fish/completions/treewarden.fish
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, or write the pages of all commands
    ///
    /// To read one: treewarden man worktree add | man -l -
    ///
    /// To have them all: treewarden man --output ~/.local/share/man/man1
    Man {
        /// The command, as `worktree add`; none for treewarden itself
        #[arg(conflicts_with = "output")]
        command: Vec<String>,
        /// Write a page for every command into this directory
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
}

impl Manual {
    pub(super) fn run(&self) -> Result<u8, Exit> {
        let mut all = Cli::command().disable_help_subcommand(true);
        match self {
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(*shell, &mut all, "treewarden", &mut script);
                print(&String::from_utf8_lossy(&script))?;
            }
            Self::Man { command, output } => {
                all.build();
                match output {
                    Some(directory) => write_pages(&all, directory)?,
                    None => print(&String::from_utf8_lossy(&page(named(&all, command)?)))?,
                }
            }
        }
        Ok(0)
    }
}

/// Returns the command of these words.
fn named<'a>(all: &'a Command, words: &[String]) -> Result<&'a Command, Exit> {
    words.iter().try_fold(all, |command, word| {
        command.find_subcommand(word).ok_or_else(|| {
            let names: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            usage(format!(
                "`{}` has no command {word}; it has {}",
                command.get_bin_name().unwrap_or_default(),
                names.join(", ")
            ))
        })
    })
}

fn write_pages(command: &Command, directory: &Path) -> Result<(), Exit> {
    let message = |path: &Path, error: io::Error| {
        failed(format!("failed to write `{}`: {error}", path.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| message(directory, error))?;
    for command in pages(command) {
        let path = directory.join(clap_mangen::Man::new(command.clone()).get_filename());
        save(&path, |to| to.write_all(&page(command))).map_err(|error| message(&path, error))?;
    }
    Ok(())
}

/// Returns the command and all below it, without the hidden.
fn pages(command: &Command) -> Vec<&Command> {
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    std::iter::once(command)
        .chain(shown.flat_map(pages))
        .collect()
}

/// Returns a page in roff.
fn page(command: &Command) -> Vec<u8> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .source(concat!("treewarden ", env!("CARGO_PKG_VERSION")))
        // Of an empty one not even the place would be left, and the version would be the date.
        .date(" ")
        .render(&mut page)
        .expect("memory takes it");
    page
}
