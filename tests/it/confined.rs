//! The sandbox behind the shadow: what git could reach if somebody swapped a repo's directories
//! while it runs.

use crate::support::{World, git, remove};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::git::confine;
use treewarden::git::shadow::Shadow;
use treewarden::git::shadow::layout::Layout;

fn files(directory: &Path) -> BTreeSet<std::path::PathBuf> {
    walkdir::WalkDir::new(directory)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .collect()
}

#[test]
fn a_repack_can_not_be_led_to_another_tenants_objects() {
    let world = World::new();
    let _repos = (world.repo("acme/mine"), world.repo("acme/theirs"));
    let victim = world.at("acme__theirs/.git/objects");
    // All that a repack of `mine` needs is in `theirs`, so only the sandbox can stop it.
    let copied = world.program(
        "cp",
        &[
            "-a",
            "volume/acme__mine/.git/objects/.",
            victim.to_str().unwrap(),
        ],
    );
    assert_eq!(copied.code, 0, "{copied:?}");
    git(
        &world.at("acme__theirs"),
        0.0,
        &["repack", "-a", "-d", "-k"],
    );
    let before = files(&victim);
    let place = VolumePath::new(&world.root.clone().into(), "acme__mine".as_ref()).unwrap();
    let stop = Stop::after(Duration::from_mins(1), std::sync::Arc::default());
    let shadow = Shadow::of(&Layout::plain(&place), &stop).unwrap();

    // Swapped only after the shadow has checked the directory.
    remove(&world.at("acme__mine/.git/objects"));
    symlink(&victim, world.at("acme__mine/.git/objects")).unwrap();
    let repack = || {
        shadow
            .git(&stop, Duration::from_mins(1))
            .run(&["repack", "-adf"])
    };
    if confine::held() {
        assert!(repack().is_err());
        assert_eq!(files(&victim), before);
    }
    git(&world.at("acme__theirs"), 0.0, &["fsck", "--strict"]);
}
