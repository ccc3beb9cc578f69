//! `treewarden completions` and `treewarden man`: real shells load the scripts and complete, and
//! real readers of manual pages find nothing to complain of.

use super::support::{World, write};
use clap::{Command, CommandFactory};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use treewarden::cli::Cli;

/// Returns the names of a command's subcommands.
fn names(command: &Command) -> BTreeSet<String> {
    let names = command.get_subcommands().map(Command::get_name);
    names.map(str::to_owned).collect()
}

/// Writes the script for a shell beside the volume.
fn script(world: &World, shell: &str) -> PathBuf {
    let ran = world.treewarden(&["completions", shell]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{shell}: {ran:?}");
    let path = world.beside(format!("completions/_treewarden.{shell}"));
    write(&path, &ran.out);
    path
}

#[test]
fn bash_completes_commands_and_options() {
    let world = World::unprepared();
    let script = script(&world, "bash");
    let complete = |words: &[&str]| {
        let asked = format!(
            "set -e; . '{}'; complete -p treewarden >/dev/null; COMP_WORDS=('{}'); COMP_CWORD={}; \
             _treewarden treewarden '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.join("' '"),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2]
        );
        let ran = world.program("bash", &["--norc", "-c", &asked]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{words:?}: {ran:?}");
        ran.out.lines().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let offered = complete(&["treewarden", ""]);
    let commands = names(&Cli::command());
    assert!(offered.is_superset(&commands), "{offered:?}");
    assert_eq!(
        complete(&["treewarden", "worktree", "re"]),
        set(&["remove"])
    );
    assert_eq!(
        complete(&["treewarden", "run", "--out"]),
        set(&["--output"])
    );
    assert_eq!(
        complete(&["treewarden", "history", "--format", ""]),
        set(&["text", "json"])
    );
}

#[test]
#[ignore = "needs zsh, fish"]
fn fish_completes_commands_and_options() {
    let world = World::unprepared();
    let script = script(&world, "fish");
    world.set_variable("HOME", world.beside("home").display().to_string());
    let complete = |line: &str| {
        let asked = format!("source '{}'; complete -C '{line}'", script.display());
        let ran = world.program("fish", &["--no-config", "-c", &asked]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}: {ran:?}");
        let words = ran.out.lines().filter_map(|line| line.split('\t').next());
        words.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    assert!(complete("treewarden ").is_superset(&names(&Cli::command())));
    assert_eq!(complete("treewarden worktree re"), set(&["remove"]));
    assert_eq!(complete("treewarden run --out"), set(&["--output"]));
    assert_eq!(
        complete("treewarden history --format "),
        set(&["text", "json"])
    );
}

/// zsh completes only for somebody who types, so it gets a terminal.
#[test]
#[ignore = "needs zsh, fish"]
fn zsh_completes_commands_and_options() {
    let world = World::unprepared();
    let script = script(&world, "zsh");
    let directory = script.parent().unwrap();
    fs::rename(&script, directory.join("_treewarden")).unwrap();
    world.set_variable("HOME", world.beside("").display().to_string());
    world.set_variable("TERM", "dumb".to_owned());
    let complete = |typed: &str, expected: &str| {
        let asked = format!(
            r"zmodload zsh/zpty
            zpty z zsh -f -i
            zpty -w z 'PS1=; fpath=({} $fpath); autoload -Uz compinit; compinit -u -D; echo rea''dy'
            zpty -r -m z line '*ready*' || exit 3
            zpty -w -n z $'{typed}\t'
            zpty -r -m z line '*{expected}*' || exit 4
            zpty -d z",
            directory.display()
        );
        let ran = world.program("timeout", &["20", "zsh", "-f", "-c", &asked]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{typed}: {ran:?}");
    };
    complete("treewarden worktree re", "worktree remove ");
    complete("treewarden run --outp", "run --output");
    complete("treewarden history --format j", "--format json ");
}

/// Returns the names of the pages of a command and all below it.
fn pages(command: &Command, name: &str) -> BTreeSet<String> {
    let below = command.get_subcommands();
    let below = below.flat_map(|sub| pages(sub, &format!("{name}-{}", sub.get_name())));
    below.chain([format!("{name}.1")]).collect()
}

#[test]
fn every_command_has_a_page() {
    let world = World::unprepared();
    let directory = world.beside("man/man1");
    let ran = world.treewarden(&["man", "--output", directory.to_str().unwrap()]);
    assert_eq!((ran.code, ran.out + &ran.err), (0, String::new()));
    let found: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(found, pages(&Cli::command(), "treewarden"));
    // One alone is the same.
    let one = world.treewarden(&["man", "worktree", "add"]);
    let page = fs::read_to_string(directory.join("treewarden-worktree-add.1")).unwrap();
    assert_eq!((one.code, one.out), (0, page));
    let none = world.treewarden(&["man", "worktree", "ad"]);
    assert!(
        none.code == 2
            && none
                .err
                .contains("`treewarden worktree` has no command ad; it has add, list, remove"),
        "{none:?}"
    );
}

#[test]
#[ignore = "needs man, mandoc"]
fn pages_render_without_a_warning() {
    let world = World::unprepared();
    let directory = world.beside("man/man1");
    world.treewarden(&["man", "--output", directory.to_str().unwrap()]);
    world.set_variable("MANWIDTH", "80".to_owned());
    world.set_variable("LC_ALL", "C.UTF-8".to_owned());
    let mut pages: Vec<PathBuf> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.sort();
    for page in &pages {
        let path = page.to_str().unwrap();
        let name = page.file_stem().unwrap().to_str().unwrap();
        let ran = world.program("man", &["--warnings=all", "--local-file", path]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{name}: {ran:?}");
        // The summary, which `apropos` searches, and the version.
        for expected in [
            format!("\nNAME\n       {name} "),
            concat!("\ntreewarden ", env!("CARGO_PKG_VERSION"), " ").to_owned(),
        ] {
            assert!(
                ran.out.contains(&expected),
                "{name} lacks {expected:?}:\n{}",
                ran.out
            );
        }
        let ran = world.program("lexgrog", &[path]);
        assert!(
            ran.code == 0 && ran.out.contains(&format!("\"{name} - ")),
            "{ran:?}"
        );
    }
    let paths: Vec<&str> = pages.iter().map(|page| page.to_str().unwrap()).collect();
    let ran = world.program(
        "mandoc",
        &[&["-T", "lint", "-W", "error"][..], &paths].concat(),
    );
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
}
