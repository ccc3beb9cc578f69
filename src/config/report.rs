//! `report`: where each run's page is put.

use super::policy::{Cache, HtmlFile, Report};
use super::problem::{KeyPath, Notes};
use super::raw;
use super::values::{Places, odd};
use crate::fs::volume_path::VolumePath;
use std::path::{Component, Path, PathBuf};

/// Resolves `report`.
pub(super) fn report(
    typed: &raw::Report,
    caches: &[Cache],
    places: &mut Places,
    notes: &mut Notes,
) -> Report {
    let at = KeyPath::default().key("report").key("html_file");
    let file = typed.html_file.as_deref();
    let html_file = file.and_then(|file| match html_file(file, caches, places.root()) {
        Ok(HtmlFile::OnVolume(place)) => places
            .reserve(Ok(place), &at, notes)
            .map(HtmlFile::OnVolume),
        Ok(elsewhere) => Some(elsewhere),
        Err(problem) => {
            notes.add(&at, problem);
            None
        }
    });
    Report { html_file }
}

fn html_file(typed: &str, caches: &[Cache], root: &Path) -> Result<HtmlFile, String> {
    let path = Path::new(typed);
    if odd(typed) {
        return Err(format!(
            "`{typed}` holds a control character or a backslash; choose another name"
        ));
    }
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if path.file_name().is_none() || typed.ends_with('/') || !path.components().all(plain) {
        return Err(format!(
            "`{typed}` is no plain path of a file; write one below volume.root, or an absolute one, for instance report.html"
        ));
    }
    if path.is_relative() || path.starts_with(root) {
        let place = VolumePath::new(&root.into(), path);
        return place.map(HtmlFile::OnVolume).map_err(|_| {
            format!("`{typed}` is the volume itself; write a file's path, for instance report.html")
        });
    }
    let outside = caches.iter().filter(|cache| cache.outside.is_some());
    let mut places = outside.filter_map(|cache| cache.place.as_ref());
    match places.find(|place| path.starts_with(place.path())) {
        Some(cache) => Err(format!(
            "`{typed}` lies in the cache `{cache}`, which would evict it; choose another directory"
        )),
        None => Ok(HtmlFile::Elsewhere(PathBuf::from(typed))),
    }
}
