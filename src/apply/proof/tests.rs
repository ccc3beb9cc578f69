//! Tests of `proof.rs`.

use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A store in memory.
fn store() -> Odb<'static> {
    let odb = Odb::new().unwrap();
    odb.add_new_mempack_backend(1).unwrap();
    odb
}

fn write(odb: &Odb, kind: ObjectType, data: impl AsRef<[u8]>) -> Id {
    odb.write(kind, data.as_ref())
        .unwrap()
        .as_bytes()
        .try_into()
        .unwrap()
}

fn blob(odb: &Odb, content: &str) -> Id {
    write(odb, ObjectType::Blob, content)
}

fn tree(odb: &Odb, entries: &[(&str, Id)]) -> Id {
    let data: Vec<u8> = entries
        .iter()
        .flat_map(|(entry, id)| [entry.as_bytes(), b"\0", id].concat())
        .collect();
    write(odb, ObjectType::Tree, data)
}

/// Writes a commit with the header `lines`, each `KIND ID`; an id in `message` isn't followed.
fn commit(odb: &Odb, lines: &[(&str, Id)], message: &str) -> Id {
    let head = lines
        .iter()
        .map(|(kind, id)| format!("{kind} {}\n", hex(id)))
        .collect::<Vec<_>>()
        .concat();
    write(
        odb,
        ObjectType::Commit,
        format!("{head}author a <a> 0 +0000\n\n{message}"),
    )
}

fn tag(odb: &Odb, of: Id) -> Id {
    write(
        odb,
        ObjectType::Tag,
        format!("object {}\ntype commit\ntag a\n\na", hex(&of)),
    )
}

/// An endless walk fails after this time.
fn a_minute() -> Stop {
    Stop::after(Duration::from_mins(1), Arc::default())
}

/// Returns the proof's result in short.
fn proven(odb: &Odb, roots: &[Id], stays: &[Id], gone: &[Id]) -> String {
    let (one, other): (Vec<Id>, Vec<Id>) = stays.iter().partition(|id| id[0] < 128);
    let stays = [one, other].map(Objects::of);
    let claim = Claim {
        roots: &[&[], roots],
        stays: &stays,
        gone: &Objects::of(gone.to_vec()),
        view: odb,
    };
    match claim.prove(&a_minute()) {
        Ok(()) => "proven".into(),
        Err(ProofError::Lost(id)) => format!("lost {}", hex(&id)),
        Err(ProofError::Unreadable { id, why }) => format!("unreadable {}: {why}", hex(&id)),
        Err(error) => error.to_string(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn whatever_a_root_leads_to_would_be_lost_and_nothing_else_would() {
    let odb = store();
    let (file, other, nowhere) = (blob(&odb, "file"), blob(&odb, "other"), [7; 20]);
    let leaf = tree(&odb, &[("100644 a b", other), ("100755 c", file)]);
    let old = commit(&odb, &[("tree", leaf)], "old");
    let cases = [
        ("itself", file, file, true),
        ("a file of a tree", leaf, file, true),
        (
            "a tree in a tree",
            tree(&odb, &[("100644 a", other), ("40000 b", leaf)]),
            file,
            true,
        ),
        (
            "a tree in a tree, as old gits wrote it",
            tree(&odb, &[("040000 b", leaf), ("100644 a", other)]),
            file,
            true,
        ),
        (
            "the tree itself",
            tree(&odb, &[("40000 b", leaf)]),
            leaf,
            true,
        ),
        (
            "a submodule",
            tree(&odb, &[("160000 b", old), ("100644 a", other)]),
            old,
            false,
        ),
        (
            "what stands after a submodule",
            tree(&odb, &[("160000 b", old), ("100644 c", file)]),
            file,
            true,
        ),
        ("a link", tree(&odb, &[("120000 b", file)]), file, true),
        ("a commit's tree", old, leaf, true),
        ("a file of a commit", old, file, true),
        (
            "a parent",
            commit(
                &odb,
                &[("tree", nowhere), ("parent", nowhere), ("parent", old)],
                "",
            ),
            old,
            true,
        ),
        (
            "a parent's file",
            commit(&odb, &[("tree", nowhere), ("parent", old)], ""),
            file,
            true,
        ),
        (
            "what a message names",
            commit(
                &odb,
                &[("tree", leaf)],
                &format!("parent {}\n", hex(&nowhere)),
            ),
            nowhere,
            false,
        ),
        (
            "what another line names",
            commit(&odb, &[("tree", leaf), ("gpgsig", nowhere)], ""),
            nowhere,
            false,
        ),
        ("a tag's commit", tag(&odb, old), old, true),
        ("a file of a tag's commit", tag(&odb, old), file, true),
        ("a tag's tag", tag(&odb, tag(&odb, old)), file, true),
        ("a tag's file", tag(&odb, file), file, true),
        (
            "what a file says",
            blob(&odb, &format!("tree {}\n", hex(&other))),
            other,
            false,
        ),
        (
            "a file that is named as a tree",
            tree(&odb, &[("40000 a", other)]),
            file,
            false,
        ),
    ];
    for (what, root, gone, is_lost) in cases {
        let expected = if is_lost {
            format!("lost {}", hex(&gone))
        } else {
            "proven".into()
        };
        // An object that isn't known to stay may have been written meanwhile.
        assert_eq!(proven(&odb, &[root], &[], &[gone]), expected, "{what}");
        assert_eq!(
            proven(&odb, &[other, other, root], &[root, other], &[gone]),
            if root == gone { "proven" } else { &*expected },
            "{what}"
        );
        assert_eq!(proven(&odb, &[root], &[], &[[9; 20]]), "proven", "{what}");
    }
    assert_eq!(proven(&odb, &[], &[], &[file]), "proven");
}

#[test]
fn each_object_is_followed_once_and_none_is_taken_for_another() {
    let odb = store();
    let file = blob(&odb, "file");
    // There are two ways from each commit to the next one: 2^300 in all.
    let mut tip = commit(
        &odb,
        &[("tree", tree(&odb, &[("100644 a", file)]))],
        "first",
    );
    let mut commits = vec![tip];
    for number in 0..300 {
        let between = commit(&odb, &[("parent", tip)], &number.to_string());
        tip = commit(&odb, &[("parent", tip), ("parent", between)], "");
        commits.extend([between, tip]);
    }
    for stays in [&[][..], &commits] {
        assert_eq!(
            proven(&odb, &[tip], stays, &[file]),
            format!("lost {}", hex(&file))
        );
        assert_eq!(proven(&odb, &[tip], stays, &[[9; 20]]), "proven");
    }
}

#[test]
fn what_makes_no_sense_proves_nothing() {
    let odb = store();
    let whole = [&b"100644 a\0"[..], &[7; 20]].concat();
    let hexed = "1".repeat(40);
    for (kind, data) in [
        (ObjectType::Commit, b"tree 1234\n".to_vec()),
        (
            ObjectType::Commit,
            format!("tree {hexed}\nparent {hexed}1\n").into_bytes(),
        ),
        (ObjectType::Tag, b"".to_vec()),
        (
            ObjectType::Tag,
            format!("type commit\nobject {hexed}\n").into_bytes(),
        ),
        (
            ObjectType::Tag,
            format!("object {}", &hexed[1..]).into_bytes(),
        ),
        (ObjectType::Tree, b"100644".to_vec()),
        (ObjectType::Tree, b"100644 a".to_vec()),
        (ObjectType::Tree, whole[..whole.len() - 1].to_vec()),
        (ObjectType::Tree, [&whole[..], b"1"].concat()),
    ] {
        let odd = write(&odb, kind, &data);
        assert_eq!(
            proven(&odb, &[odd], &[], &[]),
            format!("unreadable {}: it makes no sense", hex(&odd)),
            "{kind} {data:?}"
        );
    }
    assert_eq!(
        proven(&odb, &[write(&odb, ObjectType::Tree, whole)], &[], &[]),
        "proven"
    );
    assert_eq!(
        proven(&odb, &[write(&odb, ObjectType::Tree, "")], &[], &[]),
        "proven"
    );
}

#[test]
fn what_is_not_there_is_no_loss_unless_it_should_be() {
    let (top, odb) = (tempfile::tempdir().unwrap(), store());
    odb.add_disk_alternate(top.path().to_str().unwrap())
        .unwrap();
    let (missing, corrupt) = ([7; 20], [8; 20]);
    let place = top.path().join("08");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("08".repeat(19)), "garbage").unwrap();
    for (what, id, is_unreadable, is_unreadable_of_what_stays) in [
        ("missing", missing, false, true),
        ("corrupt", corrupt, true, true),
    ] {
        let ways = [
            id,
            tag(&odb, id),
            commit(&odb, &[("tree", id)], ""),
            tree(&odb, &[("40000 a", id)]),
        ];
        for (stays, is_unreadable) in [
            (&[][..], is_unreadable),
            (&[[6; 20], id, [9; 20]], is_unreadable_of_what_stays),
        ] {
            for root in ways {
                let told = proven(&odb, &[root], stays, &[]);
                let as_expected = if is_unreadable {
                    told.starts_with(&format!("unreadable {}: ", hex(&id)))
                } else {
                    told == "proven"
                };
                assert!(as_expected, "{what}: {told}");
            }
            // A blob is not read.
            assert_eq!(
                proven(&odb, &[tree(&odb, &[("100644 a", id)])], stays, &[]),
                "proven",
                "{what}"
            );
        }
    }
}

#[test]
fn no_honest_commit_or_tree_is_larger_than_what_is_read() {
    let odb = store();
    let head = "author a <a> 0 +0000\n\n";
    let large = |more: usize| {
        write(
            &odb,
            ObjectType::Commit,
            format!("{head}{}", "x".repeat(LARGEST - head.len() + more)),
        )
    };
    assert_eq!(proven(&odb, &[large(0)], &[], &[]), "proven");
    assert_eq!(
        proven(&odb, &[large(1)], &[], &[]),
        "the repo holds more than can be looked at"
    );
}

#[test]
fn a_run_that_is_to_stop_proves_nothing() {
    let odb = store();
    let (file, signalled) = (blob(&odb, "file"), Arc::new(AtomicBool::new(true)));
    let stop = Stop::after(Duration::from_hours(1), signalled);
    let claim = Claim {
        roots: &[&[tree(&odb, &[("100644 a", file)])]],
        stays: &[],
        gone: &Objects::of(Vec::new()),
        view: &odb,
    };
    let proof = claim.prove(&stop);
    assert_eq!(proof.unwrap_err().to_string(), "a signal asked to stop");
}
