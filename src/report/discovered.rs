//! The output of `treewarden init --discover`: what was found, biggest first, and what was left
//! out. Names come from the disk, so they are escaped.

use super::look::Look;
use super::page::{FAINT, Page, Row, Span};
use super::words::{and, count, size};
use crate::facts::cache::Size;
use crate::facts::discovered::{
    Discovered, FoundCache, FoundRepo, FoundTrees, Kind, LeftOut, LooseClone,
};

/// Renders what was found.
pub fn render(found: &Discovered, look: Look) -> String {
    let mut page = Page::new(look);
    let trees: u64 = found
        .repos
        .iter()
        .map(|repo| many(&repo.trees.places))
        .sum();
    let all = [
        count(many(&found.repos), "repo"),
        count(trees, "worktree"),
        count(many(&found.caches), "cache"),
    ];
    let of = format!(
        "{} in {}; {} were looked through",
        and(&all),
        found.root.display(),
        count(found.directories, "directory")
    );
    page.heading("Found:", Span::body(of));
    repos(&mut page, found);
    let clones = found.clones.iter().map(|it| clone(found, it));
    section(
        &mut page,
        "Clones:",
        "of the same origins; they stay",
        clones,
    );
    let caches = found.caches.iter().map(|it| cache(found, it));
    section(&mut page, "Caches:", "", caches);
    let left_out = found.left_out.iter().map(left_out);
    section(&mut page, "Left out:", "", left_out);
    page.finish()
}

fn clone(found: &Discovered, clone: &LooseClone) -> Row {
    let place = Span::body(clone.place.to_string()).shorten();
    let of = Span::new(format!("of {}", clone.of), FAINT);
    vec![place, bytes(found, clone.size), of].into()
}

fn cache(found: &Discovered, cache: &FoundCache) -> Row {
    let place = Span::new(cache.place.to_string(), FAINT).shorten();
    vec![
        Span::body(cache.kind.name()),
        bytes(found, cache.size),
        place,
    ]
    .into()
}

fn repos(page: &mut Page, found: &Discovered) {
    let row = |repo: &FoundRepo| Row {
        cells: vec![
            Span::body(&repo.name),
            bytes(found, repo.size),
            Span::new(repo.place.to_string(), FAINT).shorten(),
            Span::body(trees(found, &repo.trees)).wrap(),
        ],
        notes: outside(repo).into_iter().collect(),
    };
    section(page, "Repos:", "", found.repos.iter().map(row));
}

/// Describes a repo's worktrees: `14 worktrees, 9.1 GiB: claude 12, codex 2`.
fn trees(found: &Discovered, trees: &FoundTrees) -> String {
    if trees.places.is_empty() {
        return String::new();
    }
    let runners: Vec<String> = trees
        .by_runner
        .iter()
        .map(|(runner, many)| format!("{runner} {many}"))
        .collect();
    let many = count(many(&trees.places), "worktree");
    let size = measured(found, trees.size);
    format!("{many}, {size}: {}", runners.join(", "))
}

/// Describes the worktrees that no run can reach.
fn outside(repo: &FoundRepo) -> Option<Span> {
    let outside = repo.trees.outside;
    let text = format!(
        "{} more outside of this directory, where no run reaches",
        count(outside, "worktree")
    );
    (outside > 0).then(|| Span::new(text, FAINT))
}

fn left_out(out: &LeftOut) -> Row {
    let why = match out.what {
        Kind::Repos(many) => format!("{}: {}", count(many, "repo"), out.why),
        _ => out.why.clone(),
    };
    vec![Span::body(&out.path).shorten(), Span::body(why).wrap()].into()
}

fn section(page: &mut Page, title: &str, about: &str, rows: impl Iterator<Item = Row>) {
    let rows: Vec<Row> = rows.collect();
    if !rows.is_empty() {
        page.heading(title, Span::new(about, FAINT));
        page.table(2, &rows);
    }
}

/// Returns a size, or how much of it was measured.
fn measured(found: &Discovered, of: Size) -> String {
    let least = if found.is_measured { "" } else { "≥ " };
    format!("{least}{}", size(of.bytes))
}

fn bytes(found: &Discovered, of: Size) -> Span {
    Span::body(measured(found, of)).right()
}

fn many<T>(list: &[T]) -> u64 {
    list.len() as u64
}
