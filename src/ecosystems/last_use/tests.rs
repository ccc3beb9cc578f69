//! Tests of `last_use.rs`.

use super::super::testing::{Field, ago};
use super::*;

/// Returns how the last use is found for that kind of cache.
fn message(kind: &str) -> LastUse {
    let kind = crate::ecosystems::kind(kind).unwrap();
    crate::ecosystems::layout(kind).unwrap().last_use
}

#[test]
fn an_access_time_counts_only_for_files_where_kept_and_when_newer() {
    let field = Field::new();
    let file = field.file("a/file", 10);
    field.read("a/file", 3);
    let seen = |access_times| {
        field
            .probe(access_times)
            .last_use(message("folder"), std::slice::from_ref(&file))
            .unwrap()
    };
    assert_eq!(
        seen(true),
        Use {
            at: ago(3),
            from: UsedFrom::AccessTime
        }
    );
    assert_eq!(
        seen(false),
        Use {
            at: ago(10),
            from: UsedFrom::WriteTime
        }
    );
    field.read("a/file", 20);
    assert_eq!(
        seen(true),
        Use {
            at: ago(10),
            from: UsedFrom::WriteTime
        }
    );
    field.age("a", 30);
    assert_eq!(
        field
            .probe(true)
            .last_use(message("go-build"), &[field.at("a")])
            .unwrap(),
        Use {
            at: ago(30),
            from: UsedFrom::ToolRecord
        }
    );
}

#[test]
fn an_access_time_may_be_a_day_old() {
    let field = Field::new();
    let policy = field.policy("folder", "cache");
    field.file("cache/read", 10);
    field.read("cache/read", 3);
    field.file("cache/written", 10);
    let shown = |policy: &_| {
        let units = field.survey(policy).units;
        units
            .into_iter()
            .map(|unit| (unit.name, unit.min_age.as_secs() / 3600))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(
        shown(&policy),
        [("read".to_owned(), 48), ("written".to_owned(), 24)].into()
    );
    let any = crate::config::policy::Cache {
        min_age: Duration::ZERO,
        ..policy
    };
    assert_eq!(
        shown(&any),
        [("read".to_owned(), 0), ("written".to_owned(), 0)].into()
    );
}

#[test]
fn a_directory_is_as_young_as_what_it_holds() {
    let field = Field::new();
    field.file("model/blobs/weights", 5);
    field.age("model/blobs", 40);
    field.age("model", 50);
    assert_eq!(
        field
            .probe(false)
            .last_use(message("folder"), &[field.at("model")])
            .unwrap()
            .at,
        ago(5)
    );
}

#[test]
fn what_cargo_reads_tells_of_a_crate() {
    let field = Field::new();
    field.file("itoa/.cargo-ok", 60);
    field.file("itoa/src/lib.rs", 1);
    field.age("itoa", 60);
    field.read("itoa/.cargo-ok", 7);
    assert_eq!(
        field
            .probe(true)
            .last_use(message("cargo"), &[field.at("itoa")])
            .unwrap()
            .at,
        ago(7)
    );
}

#[test]
fn files_that_stand_alone_are_measured_as_they_are_listed() {
    use crate::survey::size::size;
    let field = Field::new();
    let (body, head) = (field.file("http-v2/a.body", 9), field.file("http-v2/a", 9));
    std::fs::write(body.path(), vec![7; 100_000]).unwrap();
    let measured = |paths: &[VolumePath]| {
        field
            .probe(true)
            .first_look(message("pip"), paths)
            .unwrap()
            .1
    };
    let both = [head.clone(), body];
    assert_eq!(
        measured(&both),
        Some(size(&both, &crate::fs::stop::Stop::never()).unwrap())
    );
    assert_eq!(
        measured(&[head.clone(), field.at("http-v2")]),
        None,
        "nobody looked at all that the directory holds"
    );
    std::fs::hard_link(head.path(), field.at("other").path()).unwrap();
    assert_eq!(measured(&both), None, "its going may free nothing");
    // Only a part of a pnpm package is inspected.
    let contents: Vec<VolumePath> = ["1", "2", "3"].map(|name| field.file(name, 9)).into();
    assert_eq!(
        field
            .probe(true)
            .first_look(message("pnpm"), &contents)
            .unwrap()
            .1,
        None
    );
}

#[test]
fn gone_or_a_link_is_an_error() {
    let field = Field::new();
    field.link("a", "link");
    assert_eq!(
        field
            .probe(true)
            .last_use(message("npm"), &[field.at("a")])
            .unwrap_err()
            .kind(),
        io::ErrorKind::NotFound
    );
    assert!(
        field
            .probe(true)
            .last_use(message("npm"), &[field.at("link")])
            .is_err()
    );
}
