//! The hooks that `docs/agents.md` tells people to give to their tools, taken from that page and run
//! as the tool runs them: with what it sends, in the directory and environment that it sets.
//!
//! What Claude Code sends was recorded from its version 2.1.197. What Codex and Cursor set is what
//! their pages say.

use super::support::repo::{Repo, Tree};
use super::support::{Ran, World, git, map, same, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Returns the code block that follows this heading and, in it, begins with these words.
fn block(heading: &str, begins: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/agents.md"));
    let page = page.unwrap();
    let after = page.split(&format!("\n### {heading}\n")).nth(1).unwrap();
    let section = after.split("\n### ").next().unwrap();
    let mut blocks = section.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.starts_with(begins)).unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

/// Returns the command of Claude Code's hook for an event.
fn claude(event: &str) -> String {
    let settings: serde_json::Value = serde_json::from_str(&block("Claude Code", "json")).unwrap();
    let hook = &settings["hooks"][event][0]["hooks"][0];
    assert_eq!(hook["type"], "command");
    hook["command"].as_str().unwrap().to_owned()
}

/// A tool that works on a volume.
struct Tool<'a> {
    world: &'a World,
    shop: Repo<'a>,
}

impl<'a> Tool<'a> {
    fn new(world: &'a World) -> Self {
        world.set("caches", "{kind: npm, path: caches/npm}");
        let shop = world.repo("acme/shop");
        write(&shop.path.join(".env"), "TOKEN=x\n");
        // npm tells where it was called and with which cache.
        let npm = world.beside("bin/npm");
        write(
            &npm,
            "#!/bin/sh\necho \"$* in $(/bin/pwd) with $npm_config_cache\" > .npm.log\n",
        );
        std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { world, shop }
    }

    /// Runs a shell command of the tool's: in this directory, with these variables, and with this on
    /// standard input.
    fn runs(&self, command: &str, within: &Path, variables: &[(&str, &Path)], sends: &str) -> Ran {
        let input = self.world.beside("input");
        write(&input, sends);
        let bin = Path::new(env!("CARGO_BIN_EXE_treewarden"))
            .parent()
            .unwrap();
        let script = format!(
            "PATH={}:{}:$PATH; cd '{}' && exec sh -c \"$COMMAND\" < '{}'",
            bin.display(),
            self.world.beside("bin").display(),
            within.display(),
            input.display()
        );
        let variables = variables
            .iter()
            .map(|(name, path)| (*name, path.to_str().unwrap()));
        let variables: Vec<_> = variables.chain([("COMMAND", command)]).collect();
        let running = self
            .world
            .start_program_as(&variables, "sh", &["-c", &script]);
        running.end()
    }

    /// Runs a hook of Claude Code's in a session that works in this directory.
    fn claude(&self, command: &str, within: &Path, event: &str) -> Ran {
        let sends = format!(
            r#"{{"session_id":"0dd131a5-dd30-42bf-8fbc-f074ea49cd44","transcript_path":"{}/.claude/projects/shop/0dd131a5.jsonl","cwd":"{}",{event}}}"#,
            self.world.beside("home").display(),
            within.display()
        );
        self.runs(command, within, &[("CLAUDE_PROJECT_DIR", within)], &sends)
    }

    fn creates(&self, name: &str) -> Ran {
        self.claude(&claude("WorktreeCreate"), &self.shop.path, &create(name))
    }

    fn removes(&self, within: &Path, path: &Path) -> Ran {
        let event = format!(
            r#""prompt_id":"c02f6d22-efe4-4dd4-b742-7ec8740f4df1","hook_event_name":"WorktreeRemove","worktree_path":"{}""#,
            path.display()
        );
        self.claude(&claude("WorktreeRemove"), within, &event)
    }
}

fn create(name: &str) -> String {
    let name = serde_json::Value::from(name);
    format!(r#""hook_event_name":"WorktreeCreate","name":{name}"#)
}

/// Returns the path that Claude Code takes from a hook: the last line that isn't empty.
fn path(ran: &Ran) -> PathBuf {
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
        .lines()
        .rfind(|line| !line.is_empty())
        .unwrap()
        .into()
}

#[test]
fn claude_code_gets_its_worktrees() {
    let world = World::new();
    let tool = Tool::new(&world);
    let expected = [
        ("bold-oak-a3f2", "worktrees/acme__shop/bold-oak-a3f2"),
        ("user/feature", "worktrees/acme__shop/user-feature"),
        // As when a session is resumed.
        ("bold-oak-a3f2", "worktrees/acme__shop/bold-oak-a3f2"),
    ];
    for (name, place) in expected {
        assert_eq!(path(&tool.creates(name)), world.at(place));
    }
    let expected = map(&[
        ("acme__shop", "main"),
        ("worktrees/acme__shop/bold-oak-a3f2", "bold-oak-a3f2"),
        ("worktrees/acme__shop/user-feature", "user/feature"),
    ]);
    same("git worktree list", &tool.shop.registered(), &expected);
    // In a session that is itself in a worktree.
    let tree = world.at("worktrees/acme__shop/bold-oak-a3f2");
    let ran = tool.claude(&claude("WorktreeCreate"), &tree, &create("agent-1"));
    assert_eq!(path(&ran), world.at("worktrees/acme__shop/agent-1"));
    // With a file that git ignores.
    let script = block("Claude Code", "sh");
    let ran = tool.claude(&script, &tool.shop.path, &create("with-env"));
    let copied = std::fs::read_to_string(path(&ran).join(".env")).unwrap();
    assert_eq!(copied, "TOKEN=x\n");
    // Claude Code makes no worktree if the hook fails.
    for (name, code, why) in [
        ("main", 1, "the branch `main` is checked out at"),
        ("..", 2, "`..` is no worktree's name"),
        ("-x", 2, "`-x` is no worktree's name"),
        ("a\nb", 2, "is no worktree's name"),
    ] {
        let ran = tool.creates(name);
        assert!(
            ran.code == code && ran.out.is_empty() && ran.err.contains(why),
            "{ran:?}"
        );
    }
}

#[test]
fn claude_code_lets_worktrees_go() {
    let world = World::new();
    let tool = Tool::new(&world);
    let clean = path(&tool.creates("clean"));
    let dirty = path(&tool.creates("dirty"));
    write(&dirty.join("work"), "mine\n");
    // The session may be in the worktree, in the checkout, or anywhere.
    for (within, tree) in [(&clean, &clean), (&world.root, &dirty)] {
        let ran = tool.removes(within, tree);
        assert!(ran.code == 0 && !tree.exists(), "{ran:?}");
    }
    let rescues = world.treewarden(&["rescue", "list", "--format", "json"]);
    let rescues: serde_json::Value = serde_json::from_str(&rescues.out).unwrap();
    assert_eq!(rescues["rescues"][0]["worktree"], "dirty");
    assert_eq!(rescues["rescues"].as_array().unwrap().len(), 1);
    // A hook that fails keeps the worktree.
    let locked = path(&tool.creates("locked"));
    tool.shop
        .git(&["worktree", "lock", locked.to_str().unwrap()]);
    let ran = tool.removes(&tool.shop.path, &locked);
    assert!(
        ran.code != 0 && locked.exists() && ran.err.contains("locked"),
        "{ran:?}"
    );
    for path in [
        &tool.shop.path,
        &world.beside("bin"),
        &tool.shop.path.join("src"),
    ] {
        let ran = tool.removes(&tool.shop.path, path);
        assert!(
            ran.code == 2 && ran.err.contains("has no worktree"),
            "{ran:?}"
        );
    }
    // An event that the command is not for, and no event at all.
    let command = claude("WorktreeRemove");
    let ran = tool.claude(&command, &tool.shop.path, &create("locked"));
    assert!(
        ran.code == 2 && ran.err.contains("has no `worktree_path`"),
        "{ran:?}"
    );
    let ran = tool.runs(&command, &tool.shop.path, &[], "");
    assert!(ran.code == 2 && ran.err.contains("sent no JSON"), "{ran:?}");
}

#[test]
fn claude_code_s_commands_get_the_caches() {
    let world = World::new();
    let tool = Tool::new(&world);
    let file = world.beside("environment");
    let variables = [("CLAUDE_ENV_FILE", &*file)];
    let ran = tool.runs(&claude("SessionStart"), &tool.shop.path, &variables, "{}");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, ""),
        "its output is the model's context"
    );
    let sourced = format!(". '{}' && echo $npm_config_cache", file.display());
    let ran = world.program("sh", &["-c", &sourced]);
    assert_eq!(ran.out, format!("{}\n", world.at("caches/npm").display()));
}

/// Checks what the set-up of a new worktree must do.
fn is_set_up(world: &World, tree: &Path) {
    let log = std::fs::read_to_string(tree.join(".npm.log")).unwrap();
    let (place, cache) = (tree.display(), world.at("caches/npm"));
    assert_eq!(log, format!("ci in {place} with {}\n", cache.display()));
    assert_eq!(
        std::fs::read_to_string(tree.join(".env")).unwrap(),
        "TOKEN=x\n"
    );
    let beat = Tree::of(tree.to_owned()).admin.join("treewarden-heartbeat");
    assert!(beat.exists(), "it is in use");
}

#[test]
fn codex_sets_its_worktrees_up() {
    let world = World::new();
    let tool = Tool::new(&world);
    let environment = block("Codex", "toml");
    let script = environment.split("'''\n").nth(1).unwrap();
    assert!(
        environment.contains("\n[setup]\nscript = '''\n"),
        "{environment}"
    );
    let tree = world.at(".codex/worktrees/ab12/shop");
    let added = ["worktree", "add", "-q", "--detach", tree.to_str().unwrap()];
    tool.shop.git(&added);
    let variables = [
        ("CODEX_WORKTREE_PATH", &*tree),
        ("CODEX_SOURCE_TREE_PATH", &*tool.shop.path),
    ];
    let ran = tool.runs(script, &tree, &variables, "");
    assert_eq!(ran.code, 0, "{ran:?}");
    is_set_up(&world, &tree);
}

#[test]
fn cursor_sets_its_worktrees_up() {
    let world = World::new();
    let tool = Tool::new(&world);
    let tree = world.at(".cursor/worktrees/shop/k7Qp");
    git(
        &tool.shop.path,
        0.0,
        &[
            "worktree",
            "add",
            "-q",
            tree.to_str().unwrap(),
            "-b",
            "k7Qp",
        ],
    );
    let config: serde_json::Value = serde_json::from_str(&block("Cursor", "json")).unwrap();
    for command in config["setup-worktree-unix"].as_array().unwrap() {
        let root = [("ROOT_WORKTREE_PATH", &*tool.shop.path)];
        let ran = tool.runs(command.as_str().unwrap(), &tree, &root, "");
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    is_set_up(&world, &tree);
}
