//! T3 Code on a managed volume, as in `docs/t3.md`, with that page's config and commands verbatim.
//!
//! T3 itself is not run. What it does to a repo is git commands, and those are real.

use super::support::repo::Repo;
use super::support::{World, age, age_all, git, map, same, write};
use std::path::{Path, PathBuf};
use treewarden::report::RunReport;

/// Returns the page's code block in this language, adapted to this volume.
fn block(world: &World, language: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/t3.md")).unwrap();
    let block = page
        .split(&format!("\n```{language}\n"))
        .nth(1)
        .and_then(|after| after.split("\n```").next())
        .expect("the page has one");
    let root = world.root.to_str().unwrap();
    block
        .replace("root: /data", &format!("root: {root}"))
        .replace("/data/", &format!("{root}/"))
}

/// Returns the page's config, with an existing origin, and without eviction, because this machine's
/// disk may be full.
fn config(world: &World, shop: &Repo<'_>) -> PathBuf {
    let origin = shop.git(&["remote", "get-url", "origin"]);
    let text = block(world, "yaml").replace("https://git.example/acme/shop.git", &origin);
    assert!(text.contains(&origin));
    let path = world.beside("t3.yaml");
    write(
        &path,
        format!(
            "{text}\neviction: {{high: {{bytes: 100%, inodes: 100%}}, low: {{bytes: 99%, inodes: 99%}}}}\n"
        ),
    );
    path
}

fn night(world: &World, config: &Path) -> RunReport {
    let ran = world.treewarden(&[
        "run",
        "--format",
        "json",
        "--config",
        config.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.report()
}

/// Does what T3 does for `prepareWorktree`.
fn prepare_worktree(shop: &Repo<'_>, branch: &str) -> PathBuf {
    let place = shop.world.at(format!(
        ".t3/worktrees/{}/{}",
        shop.directory(),
        branch.replace('/', "-")
    ));
    shop.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        branch,
        place.to_str().unwrap(),
        "main",
    ]);
    place
}

/// Makes a tree look unused for so many days.
fn idle(shop: &Repo<'_>, tree: &Path, days: f64) {
    let admin = shop.git_dir("worktrees").join(tree.file_name().unwrap());
    age_all(tree, days);
    age_all(&admin, days);
    age(&admin, days);
}

#[test]
fn a_managed_worktree_stands_where_t3_takes_it() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let config = config(&world, &shop);
    let path = Path::new(env!("CARGO_BIN_EXE_treewarden"))
        .parent()
        .unwrap();
    let script = block(&world, "sh");
    let first = format!(
        "export PATH={}:$PATH TREEWARDEN_CONFIG={}\n{script}\n",
        path.display(),
        config.display()
    );
    let ran = world.program("bash", &["-euc", &first]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let thread: serde_json::Value = serde_json::from_str(&block(&world, "json")).unwrap();
    let thread = &thread["bootstrap"]["createThread"];
    assert_eq!(ran.out.lines().next_back(), thread["worktreePath"].as_str());
    let tree = PathBuf::from(thread["worktreePath"].as_str().unwrap());
    assert_eq!(
        git(&tree, 0.0, &["branch", "--show-current"]),
        thread["branch"].as_str().unwrap()
    );
    same(
        "the next run",
        &world.fates(&night(&world, &config)),
        &map(&[(
            "acme/shop .t3/worktrees/acme__shop/t3code-7f3a9c21",
            "keep recent",
        )]),
    );
}

#[test]
fn what_t3_leaves_behind_goes_and_comes_back() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let config = config(&world, &shop);
    let [merged, dirty, fresh] = ["t3code/00000001", "t3code/00000002", "t3code/00000003"]
        .map(|branch| prepare_worktree(&shop, branch));
    // As after the first turn.
    git(
        &dirty,
        40.0,
        &["branch", "-q", "-m", "t3code/mend-the-cart"],
    );
    write(&dirty.join("cart.ts"), "mended\n");
    git(&dirty, 40.0, &["add", "cart.ts"]);
    git(&dirty, 40.0, &["commit", "-q", "-m", "Mend the cart"]);
    write(&dirty.join("more.ts"), "half done\n");
    shop.git(&[
        "update-ref",
        "refs/t3/checkpoints/dGhyZWFk/turn/1",
        "t3code/mend-the-cart",
    ]);
    git(
        &merged,
        40.0,
        &["commit", "-q", "--allow-empty", "-m", "Look into it"],
    );
    git(&merged, 40.0, &["push", "-q", "origin", "HEAD:main"]);
    idle(&shop, &merged, 2.0);
    idle(&shop, &dirty, 31.0);
    let refs = |prefix: &str| {
        [shop.refs("refs/heads"), shop.refs("refs/t3")]
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.starts_with(prefix))
            .collect()
    };
    let before = refs("refs");
    let report = night(&world, &config);
    let expected = map(&[
        (
            "acme/shop .t3/worktrees/acme__shop/t3code-00000001",
            "reap landed merged",
        ),
        (
            "acme/shop .t3/worktrees/acme__shop/t3code-00000002",
            "reap unsaved uncommitted work",
        ),
        (
            "acme/shop .t3/worktrees/acme__shop/t3code-00000003",
            "keep recent",
        ),
    ]);
    same("fates", &world.fates(&report), &expected);
    assert_eq!(
        [merged.exists(), dirty.exists(), fresh.exists()],
        [false, false, true]
    );
    same("branches and checkpoints", &refs("refs"), &before);

    // Then T3 continues the thread.
    shop.git(&["worktree", "prune"]);
    shop.git(&[
        "worktree",
        "add",
        "-q",
        dirty.to_str().unwrap(),
        "t3code/mend-the-cart",
    ]);
    assert_eq!(
        std::fs::read_to_string(dirty.join("cart.ts")).unwrap(),
        "mended\n"
    );
    let rescue = report
        .worktrees()
        .find_map(|tree| tree.rescue_ref.clone())
        .unwrap();
    let restored = [&[
        "rescue",
        "restore",
        &rescue,
        ".",
        "--to",
        dirty.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ][..]]
    .concat();
    let ran = world.treewarden(&restored);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        std::fs::read_to_string(dirty.join("more.ts")).unwrap(),
        "half done\n"
    );
    assert_eq!(shop.fsck(), "");
}
