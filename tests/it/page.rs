//! Past runs' whole reports, and the page that each run puts in a file.

use super::support::{World, same, write};
use std::collections::BTreeMap;
use std::fs;
use treewarden::report::RunReport;

/// Returns a world in which a run removes one tree, and another stays.
fn world() -> World {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.tree("landed").age(2.0);
    shop.tree("fresh");
    world
}

/// Returns the trees of a report, and what became of them.
fn trees(report: &RunReport) -> BTreeMap<String, bool> {
    let named = |tree: &treewarden::report::Worktree| {
        let name = tree.path.file_name().unwrap().to_string_lossy();
        (name.into_owned(), tree.goes())
    };
    report.worktrees().map(named).collect()
}

/// Counts the nights in a page's picture of the past.
fn nights(page: &str) -> usize {
    page.matches("class=\"sign ").count()
}

fn report(out: &str) -> RunReport {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[test]
fn any_past_run_is_shown_whole() {
    let world = world();
    let none = world.treewarden(&["history", "show"]);
    assert_eq!(none.code, 2, "{none:?}");
    assert!(none.err.contains("the journal has no run yet"), "{none:?}");
    let [first, second] = [world.night(), world.night()];
    let show = |typed: &[&str]| {
        let ran = world.treewarden(&[&["history", "show"][..], typed].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    };
    let both = [true, false].map(|goes| ("landed".to_owned(), goes));
    let fresh = ("fresh".to_owned(), false);
    let shown = report(&show(&[&first.run.id, "--format", "json"]));
    assert_eq!(shown.run, first.run);
    let dated = shown
        .worktrees()
        .map(|tree| tree.goes_at.is_some() != tree.goes());
    assert!(dated.eq([true, true]), "what stays has a date: {shown:?}");
    same(
        "the first night",
        &trees(&shown),
        &BTreeMap::from([both[0].clone(), fresh.clone()]),
    );
    let last = report(&show(&["--format", "json"]));
    assert_eq!(last.run, second.run);
    same("the last night", &trees(&last), &BTreeMap::from([fresh]));
    // The beginning of an id, or of the time.
    let began = first.run.started.format("%Y-%m-%dT%H:%M:%S").to_string();
    let text = show(&[&first.run.id[..8]]);
    assert!(text.contains("Trees that stay: 1"), "{text}");
    let page = show(&[&first.run.id, "--format", "html"]);
    assert!(page.contains("Trees that stay") && nights(&page) == 1);
    let odd = world.treewarden(&["history", "show", &began[..4]]);
    assert!(odd.code == 2 && odd.err.contains("may mean 2"), "{odd:?}");
    let odd = world.treewarden(&["history", "show", "1999"]);
    assert!(
        odd.code == 2 && odd.err.contains("failed to find the run `1999`"),
        "{odd:?}"
    );
    // The list has what it had: what stays is in nobody's way there.
    assert!(
        world
            .history()
            .iter()
            .all(|run| !trees(run).contains_key("fresh"))
    );
    let file = world.beside("past.html");
    show(&["--format", "html", "--output", file.to_str().unwrap()]);
    assert!(fs::read_to_string(&file).unwrap().contains("Past runs"));
}

#[test]
fn each_run_replaces_the_page_and_a_dry_run_does_not() {
    let world = world();
    world.set("report", "html_file: page.html");
    let (page, victim) = (world.at("page.html"), world.beside("victim"));
    world.pass(0, &["report"]);
    assert!(!page.exists());
    write(&victim, "precious");
    std::os::unix::fs::symlink(&victim, &page).unwrap();
    let run = world.night();
    assert_eq!(run.notes, [""; 0]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(page.symlink_metadata().unwrap().is_file());
    let text = fs::read_to_string(&page).unwrap();
    assert!(
        text.contains("Trees that went") && text.contains(&run.run.id),
        "{text}"
    );
    let second = world.night();
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.contains(&second.run.id) && nights(&text) == 2);
    let mode = std::os::unix::fs::PermissionsExt::mode(&page.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o644, "others may read it");
}

#[test]
fn a_page_is_not_written_through_a_directory_that_is_a_link() {
    let world = world();
    world.set("report", "html_file: pages/page.html");
    let elsewhere = world.beside("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, world.at("pages")).unwrap();
    let check = world.treewarden(&["check"]).out;
    assert!(check.contains("!   report.html_file"), "{check}");
    let run = world.night();
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    let [note] = &run.notes[..] else {
        panic!("{:?}", run.notes)
    };
    assert!(
        note.contains("(report.html_file)") && note.contains("remove the link"),
        "{note}"
    );
}

#[test]
fn a_page_elsewhere_tells_of_a_refused_run_and_one_on_the_volume_stays() {
    for on_volume in [false, true] {
        let world = world();
        let file = if on_volume {
            world.at("page.html")
        } else {
            world.beside("page.html")
        };
        world.set("report", &format!("html_file: {}", file.display()));
        fs::rename(world.at(".treewarden"), world.beside("state")).unwrap();
        assert_eq!(world.treewarden(&["run"]).code, 3);
        let told = fs::read_to_string(&file).is_ok_and(|page| page.contains("Refused"));
        assert_eq!(told, !on_volume, "{}", file.display());
        assert_eq!(file.exists(), !on_volume);
    }
}
