//! Which repo a command means if none is named, and where `exec` runs: decided by the config and
//! the registrations, whatever stands in the directory.

use super::support::repo::{Repo, Tree};
use super::support::snapshot::snapshot;
use super::support::{Ran, World, git, map, remove, same, write};
use std::path::Path;
use std::time::Duration;

const SHOP: &str = "acme/shop";

/// Runs the program in a directory.
fn within(world: &World, directory: &Path, arguments: &[&str]) -> Ran {
    world.program("env", &in_directory(directory, arguments))
}

fn in_directory<'a>(directory: &'a Path, arguments: &[&'a str]) -> Vec<&'a str> {
    let program = [
        "-C",
        directory.to_str().unwrap(),
        env!("CARGO_BIN_EXE_treewarden"),
    ];
    [&program, arguments].concat()
}

/// Returns what `exec` says of where it runs.
fn said(path: &Path, repo: &str) -> String {
    format!(
        "treewarden: running in `{}`, with the lock of {repo}\n",
        path.display()
    )
}

/// A volume with two repos, and worktrees at all sorts of places.
struct Places<'a> {
    shop: Repo<'a>,
    api: Repo<'a>,
    tree: Tree,
    nested: Tree,
    /// A worktree of the other repo in this one's checkout.
    theirs: Tree,
}

impl<'a> Places<'a> {
    fn of(world: &'a World) -> Self {
        let (shop, api) = (world.repo(SHOP), world.repo("acme/api"));
        let places = Self {
            tree: shop.tree("fix"),
            nested: shop.tree_at("acme__shop/.claude/worktrees/agent", "agent"),
            theirs: api.tree_at("acme__shop/vendor/api", "vendored"),
            shop,
            api,
        };
        for tree in [&places.shop.path, &places.tree.path, &places.nested.path] {
            write(&tree.join("src/deep/file"), "x");
        }
        places
    }
}

#[test]
fn a_command_runs_where_one_stands() {
    let world = World::new();
    let places = Places::of(&world);
    let (shop, api) = (&places.shop.path, &places.api.path);
    // Somebody's own repo in the checkout, and links into it from elsewhere.
    let own = shop.join("scratch/own");
    std::fs::create_dir_all(&own).unwrap();
    git(&own, 0.0, &["init", "-q"]);
    let link = world.beside("link");
    std::os::unix::fs::symlink(places.tree.path.join("src"), &link).unwrap();
    let deep = |tree: &Path| tree.join("src/deep");
    let api_too = ["acme/api"];
    let table = [
        (shop.clone(), &[][..], shop.clone(), SHOP),
        (deep(shop), &[], deep(shop), SHOP),
        (deep(shop), &[SHOP], deep(shop), SHOP),
        (deep(shop), &["shop"], deep(shop), SHOP),
        (deep(shop), &api_too, api.clone(), "acme/api"),
        (
            places.tree.path.clone(),
            &[],
            places.tree.path.clone(),
            SHOP,
        ),
        (
            deep(&places.tree.path),
            &[SHOP],
            deep(&places.tree.path),
            SHOP,
        ),
        (deep(&places.tree.path), &api_too, api.clone(), "acme/api"),
        (link, &[], places.tree.path.join("src"), SHOP),
        (
            deep(&places.nested.path),
            &[],
            deep(&places.nested.path),
            SHOP,
        ),
        (
            places.theirs.path.clone(),
            &[],
            places.theirs.path.clone(),
            "acme/api",
        ),
        // The tree of another repo is a directory of the checkout as well.
        (
            places.theirs.path.clone(),
            &[SHOP],
            places.theirs.path.clone(),
            SHOP,
        ),
        (own.clone(), &[], own, SHOP),
        (world.beside(""), &[SHOP], shop.clone(), SHOP),
    ];
    for (stands, repo, runs, name) in table {
        let arguments = [&["exec"], repo, &["--", "sh", "-c", "/bin/pwd; echo $PWD"]].concat();
        let ran = within(&world, &stands, &arguments);
        let expected = format!("{0}\n{0}\n", runs.display());
        assert_eq!(
            (ran.code, ran.out, ran.err),
            (0, expected, said(&runs, name)),
            "{} {repo:?}",
            stands.display()
        );
    }
    // A worktree by its name, from anywhere in the repo.
    let ran = within(
        &world,
        &deep(&places.nested.path),
        &["exec", "--worktree", "fix", "--", "/bin/pwd"],
    );
    let expected = format!("{}\n", places.tree.path.display());
    assert_eq!((ran.code, ran.out, ran.err), (0, expected, String::new()));
    let beats = |tree: &Tree| tree.admin.join("treewarden-heartbeat").exists();
    assert!(beats(&places.tree) && beats(&places.nested) && beats(&places.theirs));
}

#[test]
fn a_git_that_nobody_registered_decides_nothing() {
    let world = World::new();
    let places = Places::of(&world);
    let pointer = std::fs::read_to_string(places.tree.path.join(".git")).unwrap();
    // A copy of a worktree, a copy of a checkout, and a link to one.
    let copy = world.at("copies/tree");
    write(&copy.join(".git"), &pointer);
    let clone = world.at("copies/clone");
    git(
        &world.root,
        0.0,
        &["clone", "-q", "acme__shop", "copies/clone"],
    );
    // A registration whose tree doesn't point back, and one that claims the other's checkout.
    let claimed = places.shop.tree("claimed");
    write(&claimed.path.join(".git"), &pointer);
    let thief = places.shop.tree("thief");
    let git_file = places.api.path.join(".git");
    write(
        &thief.admin.join("gitdir"),
        format!("{}\n", git_file.display()),
    );
    // Trees that are gone, and registrations that say nothing.
    remove(&places.shop.tree("gone").path);
    write(&places.shop.tree("blank").admin.join("gitdir"), "\0");
    std::fs::create_dir_all(places.shop.git_dir("worktrees/empty")).unwrap();
    let before = snapshot(&world.root);
    for place in [
        &copy,
        &clone,
        &claimed.path,
        &world.at("worktrees"),
        &world.beside(""),
    ] {
        for arguments in [
            &["exec", "--", "touch", "ran"][..],
            &["worktree", "add", "new"],
            &["worktree", "remove", "fix"],
        ] {
            let ran = within(&world, place, arguments);
            let expected = format!(
                "treewarden: `{}` is in no checkout or worktree of a repo in the config; name the repo: acme/api, acme/shop\n",
                place.display().to_string().trim_end_matches('/')
            );
            assert_eq!((ran.code, ran.out, ran.err), (2, String::new(), expected));
        }
    }
    same("the volume", &snapshot(&world.root), &before);
    let ran = within(&world, &places.api.path, &["exec", "--", "true"]);
    assert_eq!(ran.err, said(&places.api.path, "acme/api"));
}

#[test]
fn a_name_s_last_part_will_do_if_it_is_the_only_one() {
    let world = World::new();
    for repo in ["acme/shop", "acme/docs", "other/docs", "tools"] {
        world.repo(repo);
    }
    world.repo("docs/tools");
    let table = [
        ("shop", Ok("acme__shop")),
        ("other/docs", Ok("other__docs")),
        ("tools", Ok("tools")),
        (
            "docs",
            Err("`docs` could be any of these, give the whole name: acme/docs, other/docs\n"),
        ),
        (
            "hop",
            Err(
                "the config has no repo `hop`; it has acme/docs, acme/shop, docs/tools, other/docs, tools\n",
            ),
        ),
        ("/shop", Err("the config has no repo `/shop`; it has ")),
        ("", Err("the config has no repo ``; it has ")),
    ];
    for (name, meant) in table {
        let ran = world.treewarden(&["exec", name, "--", "/bin/pwd"]);
        match meant {
            Ok(place) => assert_eq!(ran.out, format!("{}\n", world.at(place).display())),
            Err(why) => assert!(ran.code == 2 && ran.err.contains(why), "{name}: {ran:?}"),
        }
        let places = [
            &["worktree", "list", name, "--format", "json"][..],
            &["rescue", "list", "--repo", name],
            &["report", "--repo", name, "--format", "json"],
        ];
        for arguments in places {
            let ran = world.treewarden(arguments);
            assert_eq!(ran.code == 2, meant.is_err(), "{arguments:?}: {ran:?}");
        }
    }
    let report = world.pass(0, &["report", "--repo", "shop"]);
    let names: Vec<_> = report.repos.iter().map(|repo| repo.name.as_str()).collect();
    assert_eq!(names, [SHOP]);
}

#[test]
fn worktrees_and_rescues_are_those_of_the_repo_one_stands_in() {
    let world = World::new();
    let places = Places::of(&world);
    for (repo, name) in [(&places.shop, "lost"), (&places.api, "lost-too")] {
        let tree = repo.tree(name);
        write(&tree.path.join("work"), "x");
        let path = tree.path.to_str().unwrap();
        let ran = world.treewarden(&["worktree", "remove", path, "--rescue"]);
        assert_eq!(ran.code, 0, "a path is enough: {ran:?}");
    }
    let deep = places.tree.path.join("src");
    let note = "treewarden: of acme/shop, where you stand; --all lists every repo's\n";
    // Standing where, which command lists what of which repos.
    let table: [(&Path, &[&str], &[&str], &str); 6] = [
        (&deep, &["worktree", "list"], &["fix", "agent"], note),
        (&deep, &["worktree", "list", "api"], &["vendored"], ""),
        (
            &deep,
            &["worktree", "list", "--all"],
            &["fix", "agent", "vendored"],
            "",
        ),
        (
            &world.root,
            &["worktree", "list"],
            &["fix", "agent", "vendored"],
            "",
        ),
        (&deep, &["rescue", "list"], &["lost"], note),
        (
            &deep,
            &["rescue", "list", "--all"],
            &["lost", "lost-too"],
            "",
        ),
    ];
    for (stands, arguments, expected, says) in table {
        let ran = within(&world, stands, &[arguments, &["--format", "json"]].concat());
        let listed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let key = if arguments[0] == "rescue" {
            "rescues"
        } else {
            "worktrees"
        };
        let branches = listed[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["branch"].as_str().unwrap());
        let (mut branches, mut expected): (Vec<_>, Vec<_>) =
            (branches.collect(), expected.to_vec());
        branches.sort_unstable();
        expected.sort_unstable();
        assert_eq!(
            (ran.code, branches, ran.err.as_str()),
            (0, expected, says),
            "{arguments:?}"
        );
    }
    // A rescue goes by its repo's last part as well.
    let id = &places
        .shop
        .refs("refs/treewarden/rescue")
        .into_keys()
        .next()
        .unwrap();
    let short = id.strip_prefix("refs/treewarden/rescue/").unwrap();
    let ran = world.treewarden(&["rescue", "show", &format!("shop:{short}")]);
    assert!(ran.code == 0 && ran.out.contains("work"), "{ran:?}");
    // Options may stand anywhere.
    let ran = within(&world, &deep, &["worktree", "add", "--branch", "b", "new"]);
    assert_eq!(
        ran.out,
        format!("{}\n", world.at("worktrees/acme__shop/new").display())
    );
    let ran = within(
        &world,
        &deep,
        &["worktree", "add", "api", "--from", "main", "new"],
    );
    assert_eq!(
        ran.out,
        format!("{}\n", world.at("worktrees/acme__api/new").display())
    );
    let ran = within(&world, &deep, &["worktree", "remove", "new"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let expected = map(&[
        ("acme__shop", "main"),
        ("acme__shop/.claude/worktrees/agent", "agent"),
        ("worktrees/acme__shop/fix", "fix"),
    ]);
    same("the repo's worktrees", &places.shop.registered(), &expected);
    for command in ["add", "remove"] {
        let ran = within(&world, &deep, &["worktree", command]);
        let expected = "treewarden: NAME is missing: which worktree?\n";
        assert_eq!((ran.code, ran.err.as_str()), (2, expected));
    }
}

#[test]
fn a_command_never_runs_elsewhere_because_its_directory_went() {
    let world = World::new();
    let places = Places::of(&world);
    // It goes while the lock is waited for.
    let lock = world.hold("acme__shop");
    let deep = places.tree.path.join("src/deep");
    let arguments = ["exec", "--wait", "1m", "--", "/bin/pwd"];
    let waiting = world.start_program("env", &in_directory(&deep, &arguments));
    std::thread::sleep(Duration::from_millis(500));
    std::fs::rename(&places.tree.path, world.beside("taken")).unwrap();
    remove(&places.tree.admin);
    drop(lock);
    let ran = waiting.end();
    let expected = format!(
        "treewarden: acme/shop: `{}` is no longer in `{}`\n",
        deep.display(),
        places.tree.path.display()
    );
    assert_eq!((ran.code, ran.out, ran.err), (2, String::new(), expected));
    // It went before.
    let script = format!(
        "cd '{0}' && rm -r '{0}' && exec {1} exec {SHOP} -- /bin/pwd",
        places.nested.path.display(),
        env!("CARGO_BIN_EXE_treewarden")
    );
    let ran = world.program("sh", &["-c", &script]);
    assert!(
        ran.code == 2
            && ran.out.is_empty()
            && ran.err.contains("the current directory: No such file"),
        "{ran:?}"
    );
}
