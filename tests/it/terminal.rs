//! The commands as a person at a terminal sees them: tables fit, progress shows, nothing steers the
//! terminal. A program that reads the same gets everything unshortened.

use super::support::terminal::without_colours;
use super::support::{World, write};
use treewarden::report::words;

const LONG: &str = "issue-1234-the-payments-page-forgets-the-cart-when-a-coupon-expires";

/// Creates a repo with long names, a tree that goes, one that is rescued, and one that stays.
fn long_names(world: &World) {
    let shop = world.repo("acme-corporation/shop-frontend-of-the-web-store");
    shop.tree(&format!("{LONG}-landed")).age(2.0);
    let unsaved = shop.tree(&format!("{LONG}-unsaved"));
    write(&unsaved.path.join("cart-and-checkout.ts"), "half done\n");
    unsaved.age(31.0);
    shop.tree(LONG);
}

/// Returns the lines that are wider than the terminal, except by a last word that is long: it stays
/// whole, to be copied.
pub(crate) fn too_wide(text: &str, columns: usize) -> Vec<&str> {
    let wide = |line: &&str| {
        let last = line.rsplit(' ').next().map_or(0, words::width);
        words::width(line) > columns && last <= 20
    };
    text.lines().filter(wide).collect()
}

#[test]
fn tables_fit_a_terminal_and_are_whole_elsewhere() {
    let world = World::new();
    world.set("caches", "{kind: npm, path: caches/npm}");
    long_names(&world);
    let before = world.treewarden(&["report"]).out;
    assert!(before.contains(&format!("{LONG}-landed")), "{before}");
    for columns in [80, 40] {
        let screen = without_colours(&world.on_terminal(columns, &["report"]).out);
        assert_eq!(too_wide(&screen, columns.into()), [""; 0], "{screen}");
        assert!(screen.contains('…'), "{screen}");
    }
    world.night();
    // Only now, because a run asks a sink that refuses again, for seconds.
    world.set(
        "alerts",
        "pushgateway: 'http://127.0.0.1:9', termination_log: /nowhere/at/all",
    );
    let listed = world.treewarden(&["rescue", "list"]).out;
    assert_eq!(listed.lines().count(), 2, "a row is a line: {listed}");
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let typed: [&[&str]; 6] = [
        &["run"],
        &["history"],
        &["rescue", "list"],
        &["rescue", "show", id],
        &["locks"],
        &["check"],
    ];
    for typed in typed {
        for columns in [80, 40] {
            let ran = world.on_terminal(columns, typed);
            let screen = without_colours(&ran.out);
            assert_eq!(ran.code, 0, "{typed:?}: {screen}");
            assert_eq!(
                too_wide(&screen, columns.into()),
                [""; 0],
                "{typed:?}: {screen}"
            );
        }
        let piped = world.treewarden(typed).out;
        assert!(!piped.contains('…'), "{typed:?}: {piped}");
    }
    let locks = world.treewarden(&["locks"]).out;
    assert_eq!(locks.lines().count(), 3, "a row is a line: {locks}");
    let checks = world.treewarden(&["check"]).out;
    let is_row = |line: &str| {
        ["ok  ", "!   ", "!!  "]
            .iter()
            .any(|mark| line.starts_with(mark))
    };
    assert!(checks.lines().all(is_row), "a row is a line: {checks}");
}

#[test]
fn the_bar_says_what_the_run_is_at() {
    let world = World::new();
    world.set("caches", "{kind: npm, path: caches/npm}");
    world.set("eviction", "budget: 1GiB");
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    let ran = world.on_terminal(80, &["run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let places: Vec<Option<usize>> = ["repos", "worktrees", "trash", "eviction"]
        .iter()
        .map(|phase| ran.err.find(&format!(" {phase}  ")))
        .collect();
    assert!(
        places.iter().all(Option::is_some),
        "{places:?}: {:?}",
        ran.err
    );
    assert!(places.is_sorted(), "{places:?}: {:?}", ran.err);
    assert_eq!(world.treewarden(&["run"]).err, "", "no bar elsewhere");
}

#[test]
fn gits_own_progress_shows_on_a_terminal_alone() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    super::support::remove(&shop.path);
    let all = [
        "Cloning acme/shop from ",
        "remote: ",
        "Receiving objects: 100%",
    ];
    let said = |err: &str| all.map(|what| err.contains(what));
    let ran = world.on_terminal(80, &["enroll", "acme/shop"]);
    assert!(ran.code == 0 && said(&ran.err) == [true; 3], "{ran:?}");
    super::support::remove(&shop.path);
    let ran = world.treewarden(&["enroll", "acme/shop"]);
    assert!(ran.code == 0 && said(&ran.err) == [false; 3], "{ran:?}");

    let pusher = world.beside("pusher");
    let origin = world.beside("origins/acme__shop.git");
    let [pusher, origin] = [&pusher, &origin].map(|path| path.to_str().unwrap());
    let at = super::support::git;
    at(&world.root, 0.0, &["clone", "-q", origin, pusher]);
    let pusher = std::path::Path::new(pusher);
    write(&pusher.join("new"), "new\n");
    at(pusher, 0.0, &["add", "new"]);
    at(pusher, 0.0, &["commit", "-qm", "new"]);
    at(pusher, 0.0, &["push", "-q"]);
    let ran = world.on_terminal(80, &["worktree", "add", "acme/shop", "fix"]);
    assert!(ran.code == 0 && ran.err.contains("remote: "), "{ran:?}");
    assert_eq!(
        ran.out.trim_end(),
        world.at("worktrees/acme__shop/fix").to_str().unwrap()
    );

    // What went wrong is told once more at the end, without the progress.
    super::support::remove(&world.beside("origins/acme__shop.git/HEAD"));
    let ran = world.on_terminal(80, &["worktree", "add", "acme/shop", "two"]);
    let last = ran.err.lines().last().unwrap();
    assert!(
        ran.code == 1 && last.contains("does not appear to be a git repository"),
        "{ran:?}"
    );
}

#[test]
fn a_patch_can_not_steer_a_terminal() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let tree = shop.tree("odd");
    write(
        &tree.path.join("README.md"),
        "\x1b]0;title\x07a\tb\u{202e}c\n",
    );
    tree.age(31.0);
    world.night();
    let ran = world.on_terminal(80, &["rescue", "show", "odd", "--patch"]);
    assert_eq!(ran.code, 2, "no such id: {ran:?}");
    let listed = world.treewarden(&["rescue", "list"]).out;
    let id = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let ran = world.on_terminal(80, &["rescue", "show", id, "--patch"]);
    let line = "+\\u{1b}]0;title\\u{7}a\tb\\u{202e}c\n";
    assert!(ran.code == 0 && ran.out.contains(line), "{ran:?}");
}
