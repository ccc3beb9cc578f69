//! `treewarden init --discover` in real homes: what it finds, what it writes, and what it leaves
//! alone.
//!
//! A [`World`] is the home here: nothing is prepared, no config is named, and `HOME` is the root.

use super::support::snapshot::snapshot;
use super::support::{Ran, World, git, map, remove, same, write};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use treewarden::config;
use treewarden::config::policy::Policy;

const CONFIG: &str = ".config/treewarden/treewarden.yaml";

/// Returns an empty home.
fn home() -> World {
    let home = World::unprepared();
    home.set_variable("HOME", home.root.display().to_string());
    // Empty counts as unset.
    home.set_variable("TREEWARDEN_CONFIG", String::new());
    home
}

/// Returns a new origin with a commit.
fn origin(home: &World, name: &str) -> PathBuf {
    let origin = home.beside(format!("origins/acme/{name}.git"));
    let draft = home.beside(format!("drafts/{name}"));
    for directory in [&origin, &draft] {
        fs::create_dir_all(directory).unwrap();
    }
    git(&origin, 90.0, &["init", "-q", "--bare", "--template=", "."]);
    git(&draft, 90.0, &["init", "-q", "--template=", "."]);
    write(&draft.join("README.md"), "# Here\n");
    git(&draft, 90.0, &["add", "."]);
    git(&draft, 90.0, &["commit", "-qm", "first"]);
    git(
        &draft,
        90.0,
        &["push", "-q", origin.to_str().unwrap(), "main"],
    );
    origin
}

/// Clones an origin into the home.
fn clone(home: &World, origin: &Path, to: &str, more: &[&str]) -> PathBuf {
    let place = home.at(to);
    let [from, to] = [origin, &place].map(|path| path.to_str().unwrap());
    let clone = [&["clone", "-q", "--template="], more, &[from, to]].concat();
    git(&home.root, 60.0, &clone);
    place
}

/// Adds a worktree to a repo, on a new branch.
fn tree(home: &World, repo: &Path, to: &str) -> PathBuf {
    let place = home.at(to);
    let branch = to.replace(['/', '.'], "-");
    let branch = branch.trim_matches('-');
    let add = [
        "worktree",
        "add",
        "-q",
        "-b",
        branch,
        place.to_str().unwrap(),
    ];
    git(repo, 60.0, &add);
    place
}

fn discovered(home: &World) -> (Ran, Policy, String) {
    let ran = home.treewarden(&["init", "--discover"]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{ran:?}");
    let text = fs::read_to_string(home.at(CONFIG)).unwrap();
    let policy = config::parse("c.yaml", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    (ran, policy, text)
}

/// Returns the repos of a config by their names.
fn repos(policy: &Policy) -> BTreeMap<String, String> {
    let repo = |repo: &config::policy::Repo| (repo.name.clone(), repo.place.to_string());
    policy.repos.iter().map(repo).collect()
}

/// Returns the entries that are commented out, each with the words before it.
fn left_out(text: &str) -> BTreeMap<String, String> {
    let (mut found, mut why) = (BTreeMap::new(), String::new());
    for line in text.lines() {
        match line.trim_start().strip_prefix("# ") {
            Some(entry) if entry.starts_with("- {") => {
                found.insert(entry[2..].to_owned(), std::mem::take(&mut why));
            }
            Some(words) if words.starts_with("Left out: ") => words.clone_into(&mut why),
            Some(words) => why.push_str(words.trim_start()),
            None => why.clear(),
        }
    }
    found
}

/// Makes two repos with worktrees in the homes of all runners, loose clones of one of them, and a
/// repo without an origin.
fn repos_of_every_runner(home: &World, shop: &Path, web: &Path) {
    let clones = [
        clone(home, shop, "src/shop", &[]),
        clone(home, web, "src/clients/web", &[]),
    ];
    let trees = [
        "src/shop/.claude/worktrees/issue-1",
        "src/shop/.claude/worktrees/issue-2",
        ".codex/worktrees/a1b2/shop",
        ".cursor/worktrees/shop/qnx",
        "somewhere/shop-hotfix",
    ];
    for to in trees {
        tree(home, &clones[0], to);
    }
    let more = [
        "conductor/workspaces/web/tokyo",
        ".superset/worktrees/web/feat/login",
        ".t3/worktrees/web/t3code-1",
        ".vibe-kanban/worktrees/ab12-fix/web",
    ];
    for to in more {
        tree(home, &clones[1], to);
    }
    // Two loose clones, and a repo without an origin.
    for to in ["tmp/shop", "tmp/shop again"] {
        clone(home, shop, to, &[]);
    }
    fs::create_dir_all(home.at("notes")).unwrap();
    git(&home.at("notes"), 9.0, &["init", "-q", "--template=", "."]);
}

/// The caches of [`caches_and_tools`] that are in the home, and the one of build output.
const CACHES: [(&str, &str); 9] = [
    ("bazel", ".cache/bazel/_bazel_me"),
    ("build-output", ""),
    ("cargo", ".cargo"),
    ("ccache", ".cache/ccache"),
    ("huggingface", ".cache/huggingface/hub"),
    ("npm", ".npm"),
    ("sccache", ".cache/sccache"),
    ("turbo", "fast/turbo"),
    ("uv", "fast/uv"),
];

/// Makes caches in their usual places and where variables say, and clones that tools made.
fn caches_and_tools(home: &World, web: &Path) {
    // An editor's plugin.
    clone(home, web, ".local/share/nvim/lazy/plugin", &[]);
    git(
        &home.at(".local/share/nvim/lazy/plugin"),
        1.0,
        &[
            "remote",
            "set-url",
            "origin",
            "https://git.example/x/plugin",
        ],
    );
    write(&home.at(".npm/_cacache/content-v2/sha512/aa/bb/cc"), "npm");
    write(&home.at("fast/uv/wheels-v5/x"), "uv");
    write(&home.at(".cargo/registry/cache/x/y.crate"), "crate");
    home.set_variable("UV_CACHE_DIR", home.at("fast/uv").display().to_string());
    write(&home.at(".cache/ccache/3/7/x"), "result");
    write(&home.at(".cache/sccache/3/7/x"), "result");
    write(
        &home.at(".cache/huggingface/hub/models--acme--one/refs/main"),
        "model",
    );
    write(&home.at(".cache/bazel/_bazel_me/cache/x"), "archive");
    home.set_variable("USER", "me".to_owned());
    write(&home.at("fast/turbo/x.tar.zst"), "output");
    let turbo = home.at("fast/turbo").display().to_string();
    home.set_variable("TURBO_CACHE_DIR", turbo);
    // A git dir in a cache is the tool's.
    clone(home, web, ".cargo/git/checkouts/web-1/abc", &[]);
    write(&home.beside("go/cache/download/x"), "go");
    home.set_variable("GOMODCACHE", home.beside("go").display().to_string());
}

/// One home with everything: `init --discover` and then `report`, with nothing written by hand.
#[test]
fn a_new_home_has_its_first_report_in_two_commands() {
    let home = home();
    let [shop, web] = ["shop", "web"].map(|name| origin(&home, name));
    repos_of_every_runner(&home, &shop, &web);
    caches_and_tools(&home, &web);
    let (ran, policy, text) = discovered(&home);
    same(
        "repos",
        &repos(&policy),
        &map(&[
            ("acme/shop", "src/shop"),
            ("acme/web", "src/clients/web"),
            ("notes", "notes"),
        ]),
    );
    let urls = policy
        .repos
        .iter()
        .map(|repo| repo.url.as_ref().map(|url| url.plain().to_owned()));
    let mut urls: Vec<_> = urls.flatten().collect();
    urls.sort();
    assert_eq!(urls, [&shop, &web].map(|url| url.display().to_string()));
    let caches = policy.caches.iter().map(|cache| {
        let place = cache
            .place
            .as_ref()
            .map_or(String::new(), ToString::to_string);
        (cache.name.clone(), place)
    });
    same("caches", &caches.collect(), &map(&CACHES));
    assert_eq!(policy.volume.state.to_string(), ".local/state/treewarden");
    assert!(home.at(".local/state/treewarden/volume.json").exists());
    let presets = "presets: [claude, codex, conductor, cursor, superset, t3, vibe-kanban]\n";
    assert!(text.contains(presets), "{text}");
    let told = left_out(&text);
    let go = format!("{{kind: go-mod, path: {}}}", home.beside("go").display());
    let expected = [
        (
            "{name: acme/shop-clone-1, path: tmp/shop}",
            "Other clones of its origin",
        ),
        (r#"{name: acme/shop-clone-2, path: "tmp/shop again"}"#, ""),
        (
            "{name: plugin, path: .local/share/nvim/lazy/plugin}",
            "in a hidden directory",
        ),
        (go.as_str(), "it is not below"),
    ];
    for (entry, why) in expected {
        assert!(
            told.get(entry).is_some_and(|told| told.contains(why)),
            "{entry}: {told:#?}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    let with_clones = text.replace("# clones: ", "clones: ");
    let with_clones = config::parse("c.yaml", &with_clones).unwrap();
    let shop = with_clones
        .repos
        .iter()
        .find(|repo| repo.name == "acme/shop");
    assert_eq!(shop.unwrap().clones, ["tmp/shop", "tmp/shop again"]);
    let said = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "Found: 3 repos, 9 worktrees and 8 caches in ",
        "5 worktrees, ",
        "claude 2, codex 1, cursor 1, elsewhere 1",
        "conductor 1, superset 1, t3 1, vibe-kanban 1",
        "of acme/shop",
        "Next: `treewarden report`",
    ] {
        assert!(said.contains(words), "{words}:\n{}", ran.out);
    }
    let at = |what: &str| ran.out.find(&format!("\n  {what} "));
    let order = ["acme/shop", "acme/web", "notes"].map(at);
    assert!(
        order.is_sorted() && order[0].is_some(),
        "biggest first:\n{}",
        ran.out
    );

    let report = home.pass(0, &["report"]);
    let stay = report.repos.iter().map(|repo| {
        assert!(repo.reason.is_none(), "{repo:?}");
        (repo.name.clone(), repo.worktrees.len().to_string())
    });
    same(
        "worktrees that the report has",
        &stay.collect(),
        &map(&[("acme/shop", "5"), ("acme/web", "4"), ("notes", "0")]),
    );
    let check = home.treewarden(&["check"]);
    assert!(check.code == 0 && !check.out.contains("!!"), "{check:?}");
}

/// Makes a repo that can be enrolled, and one of each kind that can't.
fn repos_to_refuse(home: &World) {
    let shop = origin(home, "shop");
    let place = clone(home, &shop, "src/shop", &[]);
    clone(home, &shop, "src/shop/vendor/shop", &[]);
    let secret = clone(home, &shop, "src/secret", &[]);
    write(
        &secret.join(".gitattributes"),
        "*.key filter=git-crypt diff=git-crypt\n",
    );
    git(&secret, 1.0, &["add", "."]);
    git(&secret, 1.0, &["commit", "-qm", "secrets"]);
    // A worktree whose repo is gone, one whose registration is, and one of a repo elsewhere.
    tree(home, &place, "trees/unregistered");
    remove(&home.at("src/shop/.git/worktrees/unregistered"));
    write(
        &home.at("trees/gone/.git"),
        "gitdir: /nowhere/.git/worktrees/gone\n",
    );
    let outside = home.beside("outside");
    git(
        &home.root,
        9.0,
        &[
            "clone",
            "-q",
            shop.to_str().unwrap(),
            outside.to_str().unwrap(),
        ],
    );
    tree(home, &outside, "trees/other");
    // Not git's, though it looks like it.
    write(&home.at("trees/odd/.git"), "hello\n");
    let plain = clone(home, &shop, "src/linked", &[]);
    fs::rename(plain.join(".git"), home.at("linked-git")).unwrap();
    symlink(home.at("linked-git"), plain.join(".git")).unwrap();
    // A mirror that nobody works in, and names that no config can have.
    clone(home, &shop, "mirror.git", &["--bare"]);
    clone(home, &shop, "src/back\\slash", &[]);
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"src/not-utf-8-\xff");
    fs::create_dir(home.at(bytes)).unwrap();
    git(&home.at(bytes), 1.0, &["init", "-q", "--template=", "."]);
    // Submodules and files with a known name are nothing to name.
    git(
        &place,
        1.0,
        &["submodule", "add", "-q", shop.to_str().unwrap(), "module"],
    );
    write(&home.at("docs/HEAD"), "x");
}

/// What a run would refuse is named once, with its reason, and is no repo of the config.
#[test]
fn what_can_not_be_enrolled_is_named_and_left_out() {
    let home = home();
    repos_to_refuse(&home);
    let (ran, policy, text) = discovered(&home);
    same("repos", &repos(&policy), &map(&[("acme/shop", "src/shop")]));
    let told = left_out(&text);
    let expected = [
        (
            "{name: secret, path: src/secret}",
            "this is a git-crypt repo",
        ),
        (
            "{name: shop, path: src/shop/vendor/shop}",
            "it lies inside `src/shop`",
        ),
        (
            "{name: mirror, path: mirror.git}",
            "it is bare, and has no worktree",
        ),
        (
            "{name: linked-git, path: linked-git}",
            "it is bare, and has no worktree",
        ),
        ("{name: linked, path: src/linked}", "linked/.git` is a link"),
        (
            r#"{name: back-slash, path: "src/back\\slash"}"#,
            "a backslash",
        ),
    ];
    for (entry, why) in expected {
        assert!(
            told.get(entry).is_some_and(|told| told.contains(why)),
            "{entry}: {told:#?}"
        );
    }
    assert!(text.contains("its path is no UTF-8"), "{text}");
    assert_eq!(told.len(), expected.len() + 1, "{told:#?}");
    let once = |what: &str| assert_eq!(ran.out.matches(what).count(), 1, "{what}:\n{}", ran.out);
    once("trees/unregistered");
    for what in [
        "has no registration",
        "`/nowhere/.git` is gone",
        "trees/other",
        "trees/odd",
    ] {
        once(what);
    }
    assert!(
        !ran.out.contains("module") && !ran.out.contains("docs"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("is not among the repos below"),
        "{}",
        ran.out
    );
    home.pass(0, &["report"]);
}

/// A repo is in the config exactly if `check` accepts it there, whatever its layout.
#[test]
fn an_unusual_layout_is_enrolled_as_far_as_check_accepts_it() {
    let home = home();
    clone(&home, &origin(&home, "plain"), "src/plain", &[]);
    let mut expected = vec!["src/plain".to_owned()];
    for (name, place) in [
        ("a", "src/a"),
        ("b", "src/b"),
        ("c", "src/c.git"),
        ("d", "src/d"),
    ] {
        let origin = origin(&home, name);
        match name {
            "a" | "b" => {
                let bare = clone(&home, &origin, &format!("{place}/.bare"), &["--bare"]);
                if name == "a" {
                    write(&home.at("src/a/.git"), "gitdir: ./.bare\n");
                }
                tree(&home, &bare, &format!("{place}/one"));
            }
            "c" => {
                let bare = clone(&home, &origin, place, &["--bare"]);
                tree(&home, &bare, "src/c-one");
            }
            _ => {
                fs::create_dir(home.at("git-dirs")).unwrap();
                let git_dir = home.at("git-dirs/d");
                let separate = format!("--separate-git-dir={}", git_dir.display());
                clone(&home, &origin, place, &[&separate]);
                tree(&home, &home.at(place), "src/d-one");
            }
        }
        expected.push(place.to_owned());
    }
    let (ran, policy, text) = discovered(&home);
    let enrolled = repos(&policy);
    let told = left_out(&text);
    for place in expected {
        let is_enrolled = enrolled.values().any(|known| *known == place);
        let is_told = told
            .keys()
            .any(|entry| entry.contains(&format!("path: {place}}}")));
        assert!(is_enrolled != is_told, "{place}: {enrolled:?} {told:#?}");
        assert!(
            is_enrolled || ran.out.contains(&place),
            "{place}:\n{}",
            ran.out
        );
    }
    assert_eq!((enrolled.len(), told.len()), (5, 0), "{text}");
    let check = home.treewarden(&["check"]);
    assert!(check.code == 0 && !check.out.contains("!!"), "{check:?}");
    home.pass(0, &["report"]);
}

#[test]
fn where_nothing_is_to_be_maintained_nothing_is_written() {
    let home = home();
    fs::create_dir(home.at("src")).unwrap();
    symlink("/", home.at("elsewhere")).unwrap();
    let before = snapshot(&home.root);
    let ran = home.treewarden(&["init", "--discover"]);
    assert!(
        ran.code == 3
            && ran
                .err
                .contains("name the directory that your repos are in"),
        "{ran:?}"
    );
    assert!(ran.out.starts_with("Found: 0 repos, "), "{ran:?}");
    same("the home", &snapshot(&home.root), &before);
}

#[test]
fn what_was_written_before_is_never_replaced() {
    let home = home();
    clone(&home, &origin(&home, "shop"), "shop", &[]);
    write(&home.at(CONFIG), "# mine\n");
    let before = snapshot(&home.root);
    let ran = home.treewarden(&["init", "--discover"]);
    assert!(
        ran.code == 3 && ran.err.contains("is there already") && ran.out.is_empty(),
        "{ran:?}"
    );
    same("the home", &snapshot(&home.root), &before);
    // Even what leads nowhere is somebody's.
    remove(&home.at(CONFIG));
    symlink("nowhere", home.at(CONFIG)).unwrap();
    assert_eq!(home.treewarden(&["init", "--discover"]).code, 3);
    // Once it is moved away, the volume stays what it is.
    remove(&home.at(CONFIG));
    discovered(&home);
    let volume = fs::read(home.at(".local/state/treewarden/volume.json")).unwrap();
    remove(&home.at(CONFIG));
    discovered(&home);
    assert_eq!(
        fs::read(home.at(".local/state/treewarden/volume.json")).unwrap(),
        volume
    );
    // `--config` names the place, and the next command finds it there.
    let named = home.beside("named.yaml");
    let ran = home.treewarden(&["init", "--discover", "--config", named.to_str().unwrap()]);
    let next = format!("`treewarden report --config {}`", named.display());
    assert!(
        ran.code == 0 && ran.out.contains(&next) && named.exists(),
        "{ran:?}"
    );
}

#[test]
fn volumes_are_not_nested() {
    let home = home();
    clone(&home, &origin(&home, "shop"), "shop", &[]);
    fs::create_dir_all(home.at("src/deep")).unwrap();
    fs::create_dir_all(home.at("copy")).unwrap();
    let at = |path: &str| home.at(path).display().to_string();
    let (src, deep) = (at("src"), at("src/deep"));
    assert_eq!(home.treewarden(&["init", &src]).code, 0);
    let before = snapshot(&home.root);
    let root = home.root.display().to_string();
    let table: [&[&str]; 5] = [
        &["init", "--discover"],
        &["init", &root],
        &["init", &deep],
        &["init", &deep, "--discover"],
        &["init", &src, "--state", "other"],
    ];
    for typed in table {
        let ran = home.treewarden(typed);
        let words = if typed.contains(&"other") {
            "use it with `--state .treewarden`".to_owned()
        } else {
            format!(
                "`{src}` is a volume already, by `{src}/.treewarden`, and volumes must not be nested; use"
            )
        };
        assert!(
            ran.code == 3 && ran.err.contains(&words) && ran.out.is_empty(),
            "{typed:?}: {ran:?}"
        );
    }
    same("the home", &snapshot(&home.root), &before);
    // A copy names the place that it was copied from, so it is no volume.
    fs::rename(home.at("src/.treewarden"), home.at("copy/.treewarden")).unwrap();
    discovered(&home);
    let ran = home.treewarden(&["init", &deep]);
    assert!(
        ran.code == 3 && ran.err.contains(".local/state/treewarden"),
        "{ran:?}"
    );
}

#[test]
fn links_and_node_modules_are_not_entered() {
    let home = home();
    let shop = origin(&home, "shop");
    clone(&home, &shop, "src/shop", &[]);
    clone(&home, &shop, "web/node_modules/shop", &[]);
    clone(&home, &shop, "target/debug/shop", &[]);
    write(
        &home.at("target/CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    clone(&home, &shop, ".local/share/Trash/files/shop", &[]);
    let outside = home.beside("outside");
    fs::create_dir(&outside).unwrap();
    fs::rename(clone(&home, &shop, "moved", &[]), outside.join("shop")).unwrap();
    symlink(&outside, home.at("linked")).unwrap();
    symlink(".", home.at("around")).unwrap();
    let (ran, policy, text) = discovered(&home);
    same("repos", &repos(&policy), &map(&[("acme/shop", "src/shop")]));
    assert!(
        left_out(&text).is_empty() && !ran.out.contains("Left out"),
        "{}",
        ran.out
    );
}

/// Only names of directories are read, whatever else is there.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_hundred_thousand_files_cost_no_more_than_their_directories() {
    use super::support::calls::Kind;
    use super::support::tracer::Act;

    const DIRECTORIES: usize = 100;
    const FILES: usize = 1000;
    let home = home();
    let shop = origin(&home, "shop");
    clone(&home, &shop, "src/shop", &[]);
    for directory in 0..DIRECTORIES {
        let directory = home.at(format!("Mail/cur-{directory}"));
        fs::create_dir_all(&directory).unwrap();
        for file in 0..FILES {
            fs::File::create(directory.join(format!("message.{file}"))).unwrap();
        }
    }
    let traced = home.trace(&["init", "--discover"], Act::Watch);
    assert_eq!(traced.ran.code, 0, "{:?}", traced.ran);
    let about: Vec<_> = traced
        .calls
        .iter()
        .filter(|call| call.path.starts_with("Mail"))
        .collect();
    let odd: Vec<_> = about
        .iter()
        .filter(|call| {
            !matches!(call.kind, Kind::Open | Kind::List) || call.path.contains("message")
        })
        .collect();
    assert!(odd.is_empty(), "{} such as {:?}", odd.len(), odd[0]);
    let opened = about.iter().filter(|call| call.kind == Kind::Open).count();
    assert_eq!(opened, DIRECTORIES + 1);
    // A listing, its second half, and the end.
    assert!(
        about.len() <= 4 * (DIRECTORIES + 1),
        "{} calls",
        about.len()
    );
}

/// Other file systems are not entered, but named.
#[test]
#[ignore = "needs root, to mount a file system"]
fn another_file_system_is_named_and_not_entered() {
    let home = home();
    let shop = origin(&home, "shop");
    clone(&home, &shop, "src/shop", &[]);
    fs::create_dir(home.at("disk")).unwrap();
    let disk = home.at("disk").display().to_string();
    let mounted = home.program("mount", &["-t", "tmpfs", "none", &disk]);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    clone(&home, &shop, "disk/shop", &[]);
    let ran = home.treewarden(&["init", "--discover"]);
    let gone = home.program("umount", &[&disk]);
    assert_eq!((ran.code, gone.code), (0, 0), "{ran:?} {gone:?}");
    assert!(
        ran.out
            .contains("disk  another file system was not entered"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("Found: 1 repo, "), "{}", ran.out);
}

#[test]
fn without_a_config_every_commands_first_error_names_the_way_to_one() {
    let home = home();
    let commands: [&[&str]; 13] = [
        &["run"],
        &["report"],
        &["report", "--as-of", "7d"],
        &["check"],
        &["history"],
        &["enroll"],
        &["worktree", "add", "acme/shop", "x"],
        &["worktree", "list"],
        &["worktree", "remove", "acme/shop", "x"],
        &["rescue", "list"],
        &["exec", "acme/shop", "--", "true"],
        &["env"],
        &["locks"],
    ];
    for typed in commands {
        let nowhere = ["--config", "nowhere.yaml"];
        for (typed, place) in [
            (typed.to_vec(), CONFIG),
            ([&typed[..1], &nowhere, &typed[1..]].concat(), nowhere[1]),
        ] {
            let ran = home.treewarden(&typed);
            let first = ran.err.lines().next().unwrap_or_default();
            assert!(
                ran.code == 2
                    && first.contains("`treewarden init --discover`")
                    && first.contains(place),
                "{typed:?}: {ran:?}"
            );
        }
    }
    assert_eq!(fs::read_dir(&home.root).unwrap().count(), 0);
}

/// Each place for a config counts only if all before it have none.
#[test]
fn the_config_is_looked_for_in_order() {
    let home = home();
    let at = |path: &str| home.beside(path).display().to_string();
    let config = |path: &Path| {
        write(
            path,
            format!("volume: {{root: {}, rot: 1}}\nrepos: []\n", path.display()),
        );
    };
    let named = |arguments: &[&str]| {
        let ran = home.treewarden(&[&["check"], arguments].concat());
        assert_eq!(ran.code, 2, "{ran:?}");
        let (file, _) = ran
            .err
            .split_once(":1: volume.rot")
            .unwrap_or_else(|| panic!("{ran:?}"));
        file.trim_start_matches("treewarden: ").to_owned()
    };
    // A repo may have one. A config names commands, so what stands in the current directory is not
    // obeyed.
    config(&home.beside("config/treewarden.yaml"));
    let none = home.treewarden(&["check"]);
    assert!(none.err.contains("there is no config at"), "{none:?}");
    config(&home.at(CONFIG));
    assert_eq!(named(&[]), home.at(CONFIG).display().to_string());
    // XDG says that a relative path is to be ignored.
    home.set_variable("XDG_CONFIG_HOME", "xdg".to_owned());
    assert_eq!(named(&[]), home.at(CONFIG).display().to_string());
    config(&home.beside("xdg/treewarden/treewarden.yaml"));
    home.set_variable("XDG_CONFIG_HOME", at("xdg"));
    assert_eq!(named(&[]), at("xdg/treewarden/treewarden.yaml"));
    for name in ["variable.yaml", "typed.yaml"] {
        config(&home.beside(name));
    }
    home.set_variable("TREEWARDEN_CONFIG", at("variable.yaml"));
    assert_eq!(named(&[]), at("variable.yaml"));
    assert_eq!(named(&["--config", &at("typed.yaml")]), at("typed.yaml"));
}

/// On a volume that others use as well, an agent may have named a repo that only the caller reads.
#[test]
fn an_address_counts_only_in_the_callers_own_home() {
    let volume = home();
    clone(&volume, &origin(&volume, "shop"), "shop", &[]);
    let me = volume.beside("me");
    fs::create_dir(&me).unwrap();
    volume.set_variable("HOME", me.display().to_string());
    let root = volume.root.display().to_string();
    let ran = volume.treewarden(&["init", &root, "--discover"]);
    assert!(ran.code == 0, "{ran:?}");
    let text = fs::read_to_string(me.join(CONFIG)).unwrap();
    let policy = config::parse("c.yaml", &text).unwrap();
    assert!(
        text.contains("\n    # url: ") && policy.repos[0].url.is_none(),
        "{text}"
    );
    assert_eq!(policy.volume.state.to_string(), ".treewarden");
    volume.pass(0, &["report"]);
}
