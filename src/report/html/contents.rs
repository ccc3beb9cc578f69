//! The page's table of contents: its sections in their order, each with how much is in it.

use super::{Page, Table};
use crate::report::words;

/// A section.
pub(super) struct Entry {
    /// Its heading's anchor.
    pub(super) anchor: &'static str,
    pub(super) name: String,
    /// How much is in it, if that is a number.
    pub(super) many: String,
}

impl Entry {
    fn new(anchor: &'static str, name: &str, there: bool) -> Option<Self> {
        there.then(|| Self {
            anchor,
            name: name.to_owned(),
            many: String::new(),
        })
    }

    fn of(table: Option<&Table>) -> Option<Self> {
        table.map(|table| Self {
            anchor: table.id,
            name: table.title.clone(),
            many: words::number(table.many),
        })
    }
}

/// Returns the sections that the page has. `looks` is how many things need one.
pub(super) fn contents(page: &Page, looks: u64) -> Vec<Entry> {
    let look = Entry::new("look", "Needs a look", looks > 0).map(|entry| Entry {
        many: words::number(looks),
        ..entry
    });
    let all = [
        look,
        Entry::new("volume", "Volume", page.levels.is_some()),
        Entry::new("ahead", "The next 30 days", page.ahead.is_some()),
        Entry::new("fills", "What fills it", page.fills.is_some()),
        Entry::new("past", "Past runs", page.past.is_some()),
        Entry::of(page.kept.as_ref()),
        Entry::of(page.gone.as_ref()),
        Entry::new("caches", "Caches", page.has_caches()),
        Entry::of(page.repos.as_ref()),
        Entry::new("tidied", "Tidied up", !page.tidied.is_empty()),
    ];
    all.into_iter().flatten().collect()
}
