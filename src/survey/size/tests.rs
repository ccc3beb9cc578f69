//! Tests of `size.rs`.

use super::*;
use crate::ecosystems::testing::Field;
use std::fs;
use std::os::unix::fs::MetadataExt;

fn blocks(paths: &[&VolumePath]) -> u64 {
    paths
        .iter()
        .map(|place| place.path().symlink_metadata().unwrap().blocks() * 512)
        .sum()
}

#[test]
fn a_tree_measures_its_blocks_and_inodes() {
    let field = Field::new();
    let (one, two) = (field.file("t/one", 1), field.file("t/deep/er/two", 1));
    fs::write(one.path(), vec![7; 100_000]).unwrap();
    let all = [
        &field.at("t"),
        &field.at("t/deep"),
        &field.at("t/deep/er"),
        &one,
        &two,
    ];
    assert_eq!(
        size(&[field.at("t")], &Stop::never()).unwrap(),
        Size {
            bytes: blocks(&all),
            inodes: 5
        }
    );
    assert_eq!(
        size(std::slice::from_ref(&one), &Stop::never()).unwrap(),
        Size {
            bytes: blocks(&[&one]),
            inodes: 1
        }
    );
}

#[test]
fn a_file_counts_once_and_only_with_its_last_link() {
    let field = Field::new();
    let file = field.file("a/file", 1);
    field.file("b/other", 1);
    fs::hard_link(file.path(), field.at("b/link").path()).unwrap();
    assert_eq!(
        size(&[field.at("a")], &Stop::never()).unwrap(),
        Size {
            bytes: blocks(&[&field.at("a")]),
            inodes: 1
        }
    );
    let shared = measure(&field.root(), &[field.at("a")], false).unwrap().1;
    assert_eq!(
        shared
            .iter()
            .map(|file| (file.here, file.links, file.bytes))
            .collect::<Vec<_>>(),
        [(1, 2, blocks(&[&file]))]
    );
    let all = [&field.at("a"), &field.at("b"), &file, &field.at("b/other")];
    assert_eq!(
        size(&[field.at("a"), field.at("b")], &Stop::never()).unwrap(),
        Size {
            bytes: blocks(&all),
            inodes: 4
        }
    );
}

#[test]
fn a_link_measures_itself_and_is_not_followed() {
    let field = Field::new();
    field.file("outside/big", 1);
    field.file("t/file", 1);
    field.link("outside", "t/link");
    assert_eq!(size(&[field.at("t")], &Stop::never()).unwrap().inodes, 3);
    field.link("outside", "way");
    let error = size(&[field.at("way/big")], &Stop::never())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "failed to measure `way/big`: it is reached through a symbolic link, which is never followed"
    );
}

#[test]
fn what_holds_a_repo_is_not_measured_for_its_end() {
    let field = Field::new();
    field.file("models/org/mine/.git", 1);
    field.file("models/org/theirs/weights", 1);
    let error = measure(&field.root(), &[field.at("models")], true)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "`models/org/mine` is a git repo or worktree, so what holds it stays"
    );
    assert_eq!(
        measure(&field.root(), &[field.at("models/org/theirs")], true)
            .unwrap()
            .0,
        size(&[field.at("models/org/theirs")], &Stop::never()).unwrap()
    );
}

#[test]
fn what_is_missing_measures_nothing() {
    assert_eq!(
        size(&[Field::new().at("nowhere")], &Stop::never()).unwrap(),
        Size::default()
    );
}

#[test]
fn a_very_deep_tree_is_measured() {
    let field = Field::new();
    let deep = format!("t{}", "/d".repeat(1500));
    fs::create_dir_all(field.at(&deep).path()).unwrap();
    assert_eq!(size(&[field.at("t")], &Stop::never()).unwrap().inodes, 1501);
}

#[test]
fn where_descriptors_are_scarce_a_tree_measures_the_same() {
    let field = Field::new();
    for number in 0..20 {
        field.file(&format!("t/{number}/a/b/c/file"), 1);
    }
    let weight = size(&[field.at("t")], &Stop::never()).unwrap();
    let anchors = crate::fs::walk::testing::all_held();
    assert_eq!(size(&[field.at("t")], &Stop::never()).unwrap(), weight);
    drop(anchors);
    assert_eq!(weight.inodes, 1 + 20 * 5);
}

#[test]
fn a_volume_is_measured_part_by_part() {
    let field = Field::new();
    let files = ["a/file", "a/deep/b/file", "a/deep/file", "c/file", "alone"]
        .map(|path| field.file(path, 1));
    fs::hard_link(files[1].path(), field.at("c/link").path()).unwrap();
    let places = ["a/deep/b", "a", "gone"].map(|path| field.at(path));
    let (parts, _, problems) = parts(field.at("a").root(), &places, &Stop::never()).unwrap();
    let of = |paths: &[&str], shared: &[&str]| {
        let at = |paths: &[&str]| {
            blocks(
                &paths
                    .iter()
                    .map(|path| field.at(path))
                    .collect::<Vec<_>>()
                    .iter()
                    .collect::<Vec<_>>(),
            )
        };
        (
            Size {
                bytes: at(paths),
                inodes: paths.len() as u64,
            },
            at(shared),
        )
    };
    let expected = [
        ("a", of(&["a", "a/file", "a/deep", "a/deep/file"], &[])),
        ("a/deep/b", of(&["a/deep/b"], &["a/deep/b/file"])),
        ("alone", of(&["alone"], &[])),
        ("c", of(&["c", "c/file"], &["a/deep/b/file"])),
        ("gone", of(&[], &[])),
    ];
    let found: Vec<_> = parts
        .iter()
        .map(|part| {
            (
                part.place.relative().to_str().unwrap(),
                (part.size, part.shared_bytes),
            )
        })
        .collect();
    assert_eq!((found, problems), (expected.to_vec(), vec![]));
}

#[test]
fn all_that_stands_in_the_volume() {
    let field = Field::new();
    let file = field.file("a/file", 1);
    fs::hard_link(file.path(), field.at("link").path()).unwrap();
    let (size, problems) = standing(field.at("a").root(), &Stop::never()).unwrap();
    assert_eq!((size.inodes, problems), (2, vec![]));
}
