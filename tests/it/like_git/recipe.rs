//! A random repo as a shell script: what people and tools do to a repo, in an order that the seed
//! determines.
//!
//! Every operation is a line that can be left out, because none needs another to have succeeded. So
//! a failing recipe can be shortened, and replayed by hand. Git itself reports none of these repos
//! as damaged.

use fastrand::Rng;

/// What the scripts share. `T` is the time, `V` the volume, `R` the repo's directory there, `O` a
/// directory beside the volume.
pub(super) const PRELUDE: &str = r#": "${T:=$(date +%s)}" "${V:=$PWD/volume}" "${O:=$PWD}"
export HOME=/nonexistent LC_ALL=C TZ=UTC GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_EDITOR=true
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@b
n=0; for s in init.defaultBranch=main protocol.file.allow=always gc.auto=0 maintenance.auto=false advice.detachedHead=false core.fsync=none; do
    export "GIT_CONFIG_KEY_$n=${s%%=*}" "GIT_CONFIG_VALUE_$n=${s#*=}"; n=$((n + 1))
done; export GIT_CONFIG_COUNT=$n
# So many days ago.
at() { export GIT_AUTHOR_DATE="$((T - $1 * 86400)) +0000" GIT_COMMITTER_DATE="$((T - $1 * 86400)) +0000"; }
# Commits a line in a file.
c() { echo "$2" >"$1"; git add "$1"; git commit -q -m "$2"; }
# The main checkout, or one of its worktrees where that is there.
in_main() { cd "$V/$R" || exit 1; }
in_tree() { cd "$V/worktrees/$R/$1" 2>/dev/null || in_main; }
# A pack with these objects: their ids on standard input.
pack() { git pack-objects -q "$(git rev-parse --git-path objects/pack)/pack"; }
# An object that nothing reaches.
blob() { echo "$1" | git hash-object -w --stdin; }
# Objects and packs are as old as this.
age() { find "$V/$R" "$V/$R"[a-z] "$V/others/$R"-* -path '*/objects/*' -type f -exec touch -d "@$((T - $1 * 86400))" {} + 2>/dev/null; }
# What others cloned from.
origin() {
    [ ! -d "$O/origin.git" ] || return 0
    git init -q --bare --template= "$O/origin.git"
    git -C "$O/origin.git" config uploadpack.allowFilter true
    git -C "$O/origin.git" config uploadpack.allowAnySHA1InWant true
    n=0; while [ $n -lt 12 ]; do
        printf 'commit refs/heads/main\ncommitter A <a@b> %s +0000\ndata 2\no%x\n' $((T - 300 * 86400 + n)) $n
        for f in f0 f1 d/o$n; do printf 'M 100644 inline %s\ndata <<E\norigin %s %s\nE\n' $f $f $n; done
        for f in f2 f3; do printf 'M 100644 inline %s\ndata <<E\norigin %s %s\nE\n' $f $f $((n / 3)); done
        n=$((n + 1))
    done | git -C "$O/origin.git" fast-import --quiet
}
mkdir -p "$V/others"
"#;

/// One operation.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    /// A line of shell.
    pub(super) script: String,
}

impl Operation {
    /// Makes operations of these scripts, dated today.
    pub(super) fn all(scripts: &[&str]) -> Vec<Self> {
        scripts
            .iter()
            .map(|script| Self {
                script: format!("at 0; {script}"),
            })
            .collect()
    }
}

/// How to build a repo.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// Everything follows from it.
    pub(super) seed: u64,
    /// The repo's directory on the volume.
    pub(super) directory: String,
    /// The repo's settings in the volume's config.
    pub(super) settings: &'static str,
    /// The operations, in order.
    pub(super) operations: Vec<Operation>,
}

/// The first operation of a recipe.
const BEGINNINGS: &[(&str, u8, &str)] = &[
    (
        "init",
        10,
        "git init -q --template= \"$V/$R\"; in_main; for f in f0 f1 f2 f3; do echo $f >$f; done; git add .; git commit -q -m 1; c f0 2; c f1 3",
    ),
    (
        "clone",
        4,
        "origin; git clone -q --template= \"file://$O/origin.git\" \"$V/$R\"; in_main",
    ),
    (
        "local clone",
        1,
        "origin; git clone -q --template= \"$O/origin.git\" \"$V/$R\"; in_main",
    ),
    (
        "shallow",
        2,
        "origin; git clone -q --template= --depth %k \"file://$O/origin.git\" \"$V/$R\"; in_main",
    ),
    (
        "deepened",
        1,
        "origin; git clone -q --template= --depth 2 \"file://$O/origin.git\" \"$V/$R\"; in_main; git fetch -q --deepen 2",
    ),
    (
        "partial",
        2,
        "origin; git clone -q --template= --filter=blob:none \"file://$O/origin.git\" \"$V/$R\"; in_main",
    ),
    (
        "partial without trees",
        1,
        "origin; git clone -q --template= --filter=tree:0 \"file://$O/origin.git\" \"$V/$R\"; in_main",
    ),
    (
        "lent by others",
        2,
        "origin; git clone -q --template= --mirror \"$O/origin.git\" \"$V/others/$R-m\"; git clone -q --template= --shared \"$V/others/$R-m\" \"$V/$R\"; in_main",
    ),
    (
        "reference",
        2,
        "origin; git clone -q --template= --bare \"file://$O/origin.git\" \"$V/others/$R-m\"; git clone -q --template= --reference \"$V/others/$R-m\" \"file://$O/origin.git\" \"$V/$R\"; in_main",
    ),
    (
        "bare, with worktrees",
        1,
        "origin; git clone -q --template= --bare \"file://$O/origin.git\" \"$V/$R/.git\"; in_main; git worktree add -q --detach \"$V/worktrees/$R/b\"; (in_tree b; c f0 %n; c f1 %n.b; git reset -q --hard HEAD~1; echo %n.c >f0; git stash -q; echo %n.d >f0; git stash -q)",
    ),
    (
        "with ids of another kind",
        1,
        "git init -q --template= --object-format=sha256 \"$V/$R\"; in_main; c f0 1; c f0 2; c f1 3",
    ),
    (
        "with refs of another kind",
        1,
        "git init -q --template= --ref-format=reftable \"$V/$R\" || git init -q --template= \"$V/$R\"; in_main; c f0 1; c f0 2; c f1 3",
    ),
];

/// Operations on the history, the refs and the store; none leaves anything under way. `%n` is a
/// unique number, `%f` and `%g` are tracked files, `%k` is 1 to 4.
pub(super) const KINDS: &[(&str, u8, &str)] = &[
    // The history.
    ("commit", 6, "c %f %n"),
    (
        "amend",
        4,
        "c %f %n; echo %n.b >%f; git commit -q -a --amend -m %n.b",
    ),
    (
        "reset away",
        5,
        "c %f %n; c %g %n.b; git reset -q --hard HEAD~%k",
    ),
    (
        "branch",
        3,
        "git checkout -q -b b%n; c %f %n; git checkout -q -",
    ),
    (
        "branch deleted",
        5,
        "git checkout -q -b x%n; c %f %n; c new%n %n; git checkout -q -; git branch -q -D x%n",
    ),
    (
        "stash",
        6,
        "echo %n >f0; git stash -q; echo %n.b >f0; git add f0; echo %n.c >f0; git stash push -q -m %n",
    ),
    (
        "stash with untracked",
        3,
        "echo %n >u%n; git stash -q -u; echo %n >f0; git stash -q",
    ),
    (
        "stash dropped",
        3,
        "for s in 1 2 3; do echo %n.$s >f0; git stash -q; done; git stash drop -q 'stash@{%k}'; git stash pop -q",
    ),
    (
        "stash of the index alone",
        2,
        "echo %n >f0; git add f0; echo %n.b >f1; git stash push -q --staged; git checkout -q f1",
    ),
    (
        "stash stored",
        1,
        "echo %n >f0; git stash store -m kept $(git stash create); git checkout -q -f",
    ),
    (
        "stash popped with a conflict",
        3,
        "echo %n >f0; git stash -q; c f0 %n.b; git stash pop -q; echo %n.c >f0; git add f0; git stash drop -q; git commit -q -m %n.c",
    ),
    (
        "stash popped with a conflict, and staged",
        2,
        "echo %n >f0; git stash -q; c f0 %n.b; git stash pop -q; echo %n.c >f0; git add f0; git stash drop -q",
    ),
    (
        "detached",
        5,
        "git checkout -q --detach; c %f %n; c %g %n.b; git checkout -q main || git checkout -q -",
    ),
    (
        "rebase",
        4,
        "git checkout -q -b r%n; c new%n %n; c new%n.b %n; git checkout -q -; c %f %n.c; git checkout -q r%n; git rebase -q -; git checkout -q -",
    ),
    (
        "rebase with merges",
        1,
        "git checkout -q -b m%n; c new%n %n; git checkout -q -b m%n.b HEAD~1; c new%n.b %n; git merge -q -m m m%n; git rebase -q -r HEAD~2 --force-rebase; git checkout -q main",
    ),
    (
        "merge",
        3,
        "git checkout -q -b g%n; c new%n %n; git checkout -q -; c %f %n.b; git merge -q -m %n g%n",
    ),
    (
        "squash merge",
        1,
        "git checkout -q -b q%n; c new%n %n; git checkout -q -; git merge -q --squash q%n; git commit -q -m %n; git branch -q -D q%n",
    ),
    (
        "merge with a conflict, resolved",
        4,
        "git checkout -q -b g%n; c f0 %n; git checkout -q -; c f0 %n.b; git merge -q g%n; echo %n.c >f0; git add f0; git commit -q -m %n; git branch -q -D g%n",
    ),
    (
        "cherry-pick",
        2,
        "git checkout -q -b p%n; c new%n %n; git checkout -q -; git cherry-pick p%n; git branch -q -D p%n",
    ),
    ("revert", 2, "c %f %n; git revert --no-edit HEAD"),
    (
        "orphan",
        2,
        "git checkout -q --orphan o%n; c %f %n; git checkout -q main",
    ),
    (
        "fast-forward pushed away",
        1,
        "git checkout -q -b ff%n; c %f %n; git checkout -q -; git branch -q -f ff%n HEAD",
    ),
    (
        "branch renamed",
        1,
        "git branch -q y%n; git branch -q -m y%n z%n; git branch -q -c z%n zz%n",
    ),
    (
        "fetched from a path",
        2,
        "git init -q --template= \"$V/others/$R-f%n\"; (cd \"$V/others/$R-f%n\"; c a %n); git fetch -q \"$V/others/$R-f%n\" main; rm -rf \"$V/others/$R-f%n\"",
    ),
    (
        "stash in every way",
        1,
        "echo %n >f0; git stash push -q --keep-index; echo %n.b >f1; git stash push -q f1; echo %n.c >f2; git stash push -q -a; git stash branch sb%n; git checkout -q -f main",
    ),
    ("tree written", 2, "echo %n >f0; git add f0; git write-tree"),
    (
        "fetched back",
        1,
        "git checkout -q -b x%n; c f0 %n; git checkout -q -; git fetch -q . x%n:refs/remotes/origin/x%n; git branch -q -D x%n; git update-ref -d refs/remotes/origin/x%n",
    ),
    (
        "time ahead",
        1,
        "at -5; c %f %n; git reset -q --hard HEAD~1",
    ),
    (
        "tag moved, with its reflog",
        2,
        "git -c core.logAllRefUpdates=always tag -a -m %n tm%n; git -c core.logAllRefUpdates=always tag -f -a -m %n.b tm%n",
    ),
    (
        "notes that conflict",
        1,
        "git notes --ref one%n add -m %n HEAD; git notes --ref two%n add -m %n.b HEAD; git notes --ref one%n merge -s manual two%n",
    ),
    // Refs.
    (
        "tag",
        2,
        "git tag t%n; git tag -a -m %n a%n; git tag -a -m %n n%n a%n",
    ),
    (
        "tag of a lonely commit",
        3,
        "git tag -a -m %n l%n $(git commit-tree -m %n 'HEAD^{tree}'); git tag -a -m x n%n l%n; git tag -d l%n",
    ),
    (
        "tag of a blob and a tree",
        2,
        "git tag b%n $(blob %n); git tag -a -m %n tb%n $(blob %n.b); git tag tt%n $(printf '100644 blob %s\\tx\\n' $(blob %n.c) | git mktree)",
    ),
    ("tag deleted", 1, "git tag -a -m %n d%n; git tag -d d%n"),
    (
        "note",
        2,
        "git notes add -f -m %n HEAD; git notes --ref other add -f -m %n.b HEAD~1; git notes add -f -m %n.c HEAD",
    ),
    (
        "replace",
        2,
        "git replace -f HEAD~1 $(git commit-tree -m %n 'HEAD^{tree}')",
    ),
    (
        "replaced graft",
        1,
        "git replace --graft HEAD $(git commit-tree -m %n 'HEAD^{tree}')",
    ),
    (
        "grafts file",
        2,
        "mkdir -p .git/info; echo $(git rev-parse HEAD) $(git commit-tree -m %n 'HEAD^{tree}') >>.git/info/grafts",
    ),
    (
        "ref of a tool",
        3,
        "git update-ref refs/t3/x%n $(git commit-tree -m %n 'HEAD^{tree}'); git update-ref refs/original/refs/heads/y%n $(git commit-tree -m %n.b 'HEAD^{tree}'); git update-ref refs/z%n $(blob %n)",
    ),
    (
        "ref of a worktree",
        2,
        "git update-ref refs/worktree/x%n $(git commit-tree -m %n 'HEAD^{tree}'); git update-ref refs/bisect/x%n $(git commit-tree -m %n.b 'HEAD^{tree}'); git update-ref refs/rewritten/x%n $(git commit-tree -m %n.c 'HEAD^{tree}')",
    ),
    (
        "ref with a reflog",
        2,
        "git update-ref --create-reflog -m one refs/x/y%n $(git commit-tree -m %n 'HEAD^{tree}'); git update-ref -m two refs/x/y%n $(git commit-tree -m %n.b 'HEAD^{tree}')",
    ),
    (
        "ref at the top",
        1,
        "git update-ref MINE_HEAD $(git commit-tree -m %n 'HEAD^{tree}'); git update-ref ORIG_HEAD $(git commit-tree -m %n.b 'HEAD^{tree}')",
    ),
    (
        "symbolic ref",
        1,
        "git branch -q s%n; git symbolic-ref refs/heads/sym%n refs/heads/s%n; git symbolic-ref refs/heads/none%n refs/heads/nobody%n",
    ),
    ("packed refs", 3, "git pack-refs --all --prune"),
    (
        "reflog deleted in part",
        1,
        "git reflog delete 'HEAD@{%k}'; git reflog delete --rewrite 'HEAD@{%k}'",
    ),
    (
        "reflog of a branch expired",
        1,
        "git reflog expire --expire=now refs/heads/main",
    ),
    (
        "reflog switched off",
        1,
        "git config core.logAllRefUpdates false",
    ),
    (
        "reflog always",
        2,
        "git config core.logAllRefUpdates always; git update-ref refs/odd/r%n $(git commit-tree -m %n 'HEAD^{tree}'); git update-ref refs/odd/r%n $(git commit-tree -m %n.b 'HEAD^{tree}')",
    ),
    (
        "reflog emptied",
        1,
        ": >\"$(git rev-parse --git-path logs/HEAD)\"",
    ),
    (
        "reflog without an end of line",
        1,
        "printf '%s %s A <a@b> %s +0000\\tlast' $(git rev-parse HEAD) $(git commit-tree -m %n 'HEAD^{tree}') $T >>\"$(git rev-parse --git-path logs/HEAD)\"",
    ),
    (
        "reflog names what is gone",
        2,
        "printf '%s %s A <a@b> %s +0000\\tgone\\n' $(git rev-parse HEAD) 12345678901234567890123456789012345678%k9 $((T - 86400)) >>\"$(git rev-parse --git-path logs/HEAD)\"; c %f %n",
    ),
    (
        "reflog without names",
        1,
        "printf '%s %s  <> %s +0000\\n%s %s \\377 <\\377> %s -1234\\t\\377\\n' $(git rev-parse HEAD) $(git commit-tree -m %n 'HEAD^{tree}') $T $(git rev-parse HEAD) $(git commit-tree -m %n.b 'HEAD^{tree}') $T >>\"$(git rev-parse --git-path logs/HEAD)\"",
    ),
    (
        "names that are no text",
        1,
        "n=$(printf '\\377%n'); git branch \"$n\"; git update-ref \"refs/odd/$n\" $(git commit-tree -m %n 'HEAD^{tree}'); echo %n >\"$n\"; git add \"$n\"",
    ),
    (
        "deep names",
        1,
        "git update-ref refs/heads/a%n/b/c/d/e/f/g $(git commit-tree -m %n 'HEAD^{tree}'); git update-ref refs/heads/HEAD $(git commit-tree -m %n.b 'HEAD^{tree}'); git update-ref refs/tags/refs/heads/main $(git commit-tree -m %n.c 'HEAD^{tree}')",
    ),
    ("lost and found", 1, "git fsck --lost-found"),
    (
        "large files elsewhere",
        1,
        "mkdir -p .git/lfs/objects/aa/bb; echo %n >.git/lfs/objects/aa/bb/%n; mkdir -p .git/annex/objects; echo %n >.git/annex/objects/%n",
    ),
    // Worktrees.
    (
        "worktree",
        4,
        "git worktree add -q -b w%n \"$V/worktrees/$R/w%n\"",
    ),
    (
        "detached worktree",
        4,
        "git worktree add -q --detach \"$V/worktrees/$R/w%n\"; (in_tree w%n; c %f %n; c %g %n.b; git reset -q --hard HEAD~1)",
    ),
    (
        "locked worktree",
        1,
        "git worktree add -q --lock --detach \"$V/worktrees/$R/w%n\"; (in_tree w%n; c %f %n)",
    ),
    (
        "locked worktree that is gone",
        2,
        "git worktree add -q --lock --detach \"$V/worktrees/$R/w%n\"; (in_tree w%n; c %f %n; echo %n.b >f0; git add f0); rm -rf \"$V/worktrees/$R/w%n\"",
    ),
    (
        "worktree that is gone",
        2,
        "git worktree add -q --detach \"$V/worktrees/$R/w%n\"; (in_tree w%n; c %f %n; c %g %n.b; git reset -q --hard HEAD~1; echo %n.c >f1; git add f1); rm -rf \"$V/worktrees/$R/w%n\"",
    ),
    (
        "worktree removed",
        1,
        "git worktree add -q -b v%n \"$V/worktrees/$R/v%n\"; (in_tree v%n; c %f %n); git worktree remove --force \"$V/worktrees/$R/v%n\"",
    ),
    (
        "worktree moved",
        1,
        "git worktree add -q --detach \"$V/worktrees/$R/v%n\"; (in_tree v%n; c %f %n); git worktree move \"$V/worktrees/$R/v%n\" \"$V/worktrees/$R/w%n\"",
    ),
    (
        "worktree with its own config",
        1,
        "git config extensions.worktreeConfig true; git config --worktree x.y %n",
    ),
    (
        "worktree in the checkout",
        1,
        "git worktree add -q --detach \"$V/$R/.claude/worktrees/v%n\"; (cd \"$V/$R/.claude/worktrees/v%n\" && c %f %n && git reset -q --hard HEAD~1 && echo %n >f0 && git stash -q && echo %n.b >f0 && git add f0)",
    ),
    (
        "worktree without a commit",
        1,
        "git worktree add -q --detach \"$V/worktrees/$R/v%n\"; (in_tree v%n; git checkout -q --orphan u%n; echo %n >f0; git add f0)",
    ),
    (
        "worktree whose branch is gone",
        1,
        "git worktree add -q -b v%n \"$V/worktrees/$R/v%n\"; (in_tree v%n; c %f %n); git update-ref -d refs/heads/v%n",
    ),
    (
        "worktree without a reflog",
        1,
        "git worktree add -q --detach \"$V/worktrees/$R/v%n\"; (in_tree v%n; c %f %n; rm -f \"$(git rev-parse --git-path logs/HEAD)\")",
    ),
    // The index.
    ("staged", 3, "echo %n >s%n; git add s%n; echo %n.b >s%n"),
    (
        "staged, and something else since",
        1,
        "echo %n >f0; git add f0; echo %n.b >f0; git add f0",
    ),
    ("meant to be added", 2, "echo %n >i%n; git add -N i%n"),
    (
        "entry without a file",
        2,
        "git update-index --add --cacheinfo 100755,$(blob %n),e%n; git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),sub%n",
    ),
    (
        "flags",
        1,
        "git update-index --assume-unchanged f2; git update-index --skip-worktree f3; echo %n >f2",
    ),
    (
        "split index",
        3,
        "git update-index --split-index; echo %n >si%n; git add si%n",
    ),
    (
        "split index by config",
        2,
        "git config core.splitIndex true; git config splitIndex.maxPercentChange 100; echo %n >si%n; git add si%n; echo %n.b >sj%n; git add sj%n",
    ),
    (
        "sparse index",
        2,
        "mkdir -p d; echo %n >d/s%n; git add d; git commit -q -m %n; git sparse-checkout init --cone --sparse-index",
    ),
    ("index version 4", 1, "git update-index --index-version 4"),
    (
        "untracked cache",
        1,
        "git update-index --untracked-cache; git status >/dev/null",
    ),
    // The store.
    ("repack", 5, "git repack -q -d"),
    ("repack of all", 2, "git repack -q -a -d"),
    ("repack of all, the rest loose", 2, "git repack -q -A -d"),
    ("repack with a bitmap", 2, "git repack -q -a -d -b"),
    ("repack with a cruft pack", 2, "git repack -q -d --cruft"),
    ("repack in a row", 2, "git repack -q -d --geometric=2"),
    (
        "repack with a multi-pack-index",
        2,
        "git repack -q -d --geometric=2 --write-midx; git multi-pack-index write",
    ),
    (
        "multi-pack-index with a bitmap",
        1,
        "git repack -q -d; git multi-pack-index write --bitmap",
    ),
    (
        "kept pack",
        2,
        "git commit-tree -m %n 'HEAD^{tree}' | pack; for p in \"$(git rev-parse --git-path objects/pack)\"/*.pack; do : >\"${p%.pack}.keep\"; break; done",
    ),
    (
        "pack of what nothing reaches",
        3,
        "{ blob %n; git commit-tree -m %n 'HEAD^{tree}'; } | pack; git prune-packed -q",
    ),
    (
        "the same object in two packs",
        2,
        "git rev-parse HEAD 'HEAD^{tree}' HEAD:f0 | pack; git rev-parse HEAD HEAD:f0 | pack",
    ),
    (
        "pack unpacked",
        1,
        "for p in \"$(git rev-parse --git-path objects/pack)\"/*.pack; do [ -e \"${p%.pack}.promisor\" ] || { mv \"$p\" p%n; rm -f \"${p%.pack}\".*; rm -f \"${p%/*}/multi-pack-index\"*; git unpack-objects -q <p%n; rm p%n; }; break; done",
    ),
    ("repack that keeps all", 1, "git repack -q -a -d -k"),
    (
        "old pack indexes",
        1,
        "git -c pack.indexVersion=1 repack -q -a -d",
    ),
    (
        "small packs",
        1,
        "git -c pack.packSizeLimit=1 repack -q -a -d",
    ),
    (
        "multi-pack-index in layers",
        1,
        "git repack -q -d; git multi-pack-index write --incremental; c %f %n; git repack -q -d; git multi-pack-index write --incremental",
    ),
    ("no reverse index", 1, "rm -f .git/objects/pack/*.rev"),
    ("lists for dumb servers", 1, "git update-server-info"),
    ("commit-graph", 2, "git commit-graph write --reachable"),
    (
        "split commit-graph",
        2,
        "git commit-graph write --reachable --split --changed-paths",
    ),
    (
        "loose and unreachable",
        3,
        "blob %n; git commit-tree -m %n $(printf '100644 blob %s\\tx\\n' $(blob %n.b) | git mktree)",
    ),
    ("gc", 1, "git gc -q"),
    (
        "gc without a cruft pack",
        1,
        "git -c gc.cruftPacks=false gc -q",
    ),
    // Settings in the repo's config.
    ("never prune", 2, "git config gc.pruneExpire never"),
    ("prune later", 1, "git config gc.pruneExpire 200.days.ago"),
    ("prune at once", 1, "git config gc.pruneExpire now"),
    (
        "reflogs never expire",
        1,
        "git config gc.reflogExpire never; git config gc.reflogExpireUnreachable never",
    ),
    (
        "some reflogs never expire",
        1,
        "git config 'gc.refs/heads/*.reflogExpire' never; git config 'gc.refs/heads/*.reflogExpireUnreachable' never",
    ),
    (
        "reflogs expire at once",
        1,
        "git config gc.reflogExpire now; git config gc.reflogExpireUnreachable now",
    ),
    (
        "worktrees never expire",
        1,
        "git config gc.worktreePruneExpire never",
    ),
    ("big packs stay", 1, "git config gc.bigPackThreshold 1"),
    ("refs stay loose", 1, "git config gc.packRefs false"),
    (
        "never prune, as an included file says",
        1,
        "printf '[gc]\\n\\tpruneExpire = never\\n\\treflogExpire = never\\n\\treflogExpireUnreachable = never\\n' >.git/more; git config include.path more",
    ),
    (
        "never prune, as a file says that may be included",
        1,
        "printf '[gc]\\n\\tpruneExpire = never\\n' >.git/more; git config 'includeIf.gitdir:**/.path' more",
    ),
    (
        "never prune, as the worktree's config says",
        1,
        "git config extensions.worktreeConfig true; git config --worktree gc.pruneExpire never; git config --worktree gc.reflogExpireUnreachable never",
    ),
    (
        "never prune, in other words",
        1,
        "git config gc.pruneExpire 1.year.ago; git config gc.reflogExpire false; git config gc.reflogExpireUnreachable 1.year",
    ),
    (
        "prune at a date",
        1,
        "git config gc.pruneExpire 2005-01-01; git config gc.reflogExpireUnreachable 2005-01-01",
    ),
    (
        "some reflogs expire",
        1,
        "git config 'gc.refs/heads/*.reflogExpire' now; git config 'gc.refs/heads/*.reflogExpireUnreachable' now; git config 'gc.refs/stash.reflogExpire' 1.day",
    ),
    (
        "objects that a program names",
        1,
        "o=$(blob hooked%n); printf '#!/bin/sh\\necho %s\\n' $o >\"$O/$R.hook\"; chmod +x \"$O/$R.hook\"; git config gc.recentObjectsHook \"$O/$R.hook\"",
    ),
    (
        "precious objects",
        1,
        "git config core.repositoryFormatVersion 1; git config extensions.preciousObjects true",
    ),
    // Borrowers.
    (
        "borrower",
        2,
        "git clone -q --template= --shared . \"$V/others/$R-b%n\"; (cd \"$V/others/$R-b%n\" && c %f %n)",
    ),
    (
        "borrower of what is gone here",
        4,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --shared -b x%n . \"$V/others/$R-b%n\"; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "borrower by a relative path",
        2,
        "git checkout -q -b x%n; c %f %n; git init -q --template= --object-format=$(git rev-parse --show-object-format) \"$V/others/$R-b%n\"; echo \"../../../../$R/.git/objects\" >\"$V/others/$R-b%n/.git/objects/info/alternates\"; git -C \"$V/others/$R-b%n\" update-ref refs/heads/main $(git rev-parse HEAD); git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "borrower of a borrower",
        2,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --mirror --shared . \"$V/others/$R-m%n\"; git clone -q --template= --shared -b x%n \"$V/others/$R-m%n\" \"$V/others/$R-c%n\"; git --git-dir \"$V/others/$R-m%n\" update-ref -d refs/heads/x%n; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "bare borrower",
        1,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --bare --shared . \"$V/others/$R-b%n\"; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "borrower by a link",
        1,
        "git checkout -q -b x%n; c %f %n; ln -s \"../$R\" \"$V/others/$R-link%n\"; git init -q --template= --object-format=$(git rev-parse --show-object-format) \"$V/others/$R-b%n\"; echo \"$V/others/$R-link%n/.git/objects\" >\"$V/others/$R-b%n/.git/objects/info/alternates\"; git -C \"$V/others/$R-b%n\" update-ref refs/heads/main $(git rev-parse HEAD); git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "borrower by a quoted path",
        1,
        "git checkout -q -b x%n; c %f %n; git init -q --template= --object-format=$(git rev-parse --show-object-format) \"$V/others/$R-b%n\"; printf '# mine\\n\"../../../../%s/.git/\\\\157bjects\"\\n' \"$R\" >\"$V/others/$R-b%n/.git/objects/info/alternates\"; git -C \"$V/others/$R-b%n\" update-ref refs/heads/main $(git rev-parse HEAD); git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "borrower in a hidden place",
        1,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --shared -b x%n . \"$V/$R/.git/modules/b%n\"; git clone -q --template= --bare --shared . \"$V/others/$R-h%n/.cache/deep/er/b\"; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "borrower of what a worktree had",
        1,
        "git worktree add -q --detach \"$V/worktrees/$R/v%n\"; (in_tree v%n; c %f %n; git clone -q --template= --shared . \"$V/others/$R-b%n\"); git worktree remove --force \"$V/worktrees/$R/v%n\"",
    ),
    (
        "borrower with a commit-graph on the lender's",
        1,
        "git commit-graph write --reachable --split; git clone -q --template= --shared . \"$V/others/$R-b%n\"; (cd \"$V/others/$R-b%n\" && c %f %n && git commit-graph write --reachable --split=no-merge && c %f %n.b && git repack -q -d)",
    ),
    (
        "borrower that has nothing of its own",
        1,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --shared -b x%n . \"$V/others/$R-b%n\"; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all; git -C \"$V/others/$R-b%n\" repack -q -a -d -l; git -C \"$V/others/$R-b%n\" prune-packed -q",
    ),
    (
        "enrolled borrower",
        2,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --shared -b x%n . \"$V/${R}b\"; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all; (cd \"$V/${R}b\" && c %f %n && git reset -q --hard HEAD~1)",
    ),
    (
        "enrolled borrower of a borrower",
        1,
        "git checkout -q -b x%n; c %f %n; git clone -q --template= --mirror --shared . \"$V/others/$R-m%n\"; git clone -q --template= --shared -b x%n \"$V/others/$R-m%n\" \"$V/${R}c\"; git --git-dir \"$V/others/$R-m%n\" update-ref -d refs/heads/x%n; git checkout -q -; git branch -q -D x%n; git reflog expire --expire=now --all",
    ),
    (
        "submodule that borrows",
        1,
        "git init -q --template= --object-format=$(git rev-parse --show-object-format) \"$V/others/$R-s%n\"; (cd \"$V/others/$R-s%n\"; c a %n; c a %n.b); git submodule --quiet add --reference \"$V/$R\" \"$V/others/$R-s%n\" sub%n; git commit -q -m %n",
    ),
    (
        "submodule",
        1,
        "origin; git submodule --quiet add \"$O/origin.git\" sub%n; git commit -q -m %n; (cd sub%n && c f0 %n && git reset -q --hard HEAD~1)",
    ),
    (
        "nested repo",
        1,
        "git init -q --template= nested%n; (cd nested%n; c a %n); git add nested%n",
    ),
    // Time.
    ("aged", 2, "age 20"),
];

/// Operations that are left under way in a tree, as the last ones there.
const UNDER_WAY: &[(&str, u8, &str)] = &[
    (
        "rebase under way",
        3,
        "git checkout -q -b r%n; c new%n %n; c f0 %n.b; git checkout -q -; c f0 %n.c; git checkout -q r%n; git rebase -q -",
    ),
    (
        "rebase under way with an autostash",
        4,
        "c f0 %n; c f0 %n.b; echo %n.c >f1; GIT_SEQUENCE_EDITOR='sed -i 1s/pick/edit/' git rebase -q -i --autostash HEAD~2",
    ),
    (
        "rebase by patches under way",
        2,
        "git checkout -q -b r%n; c f0 %n.b; git checkout -q -; c f0 %n.c; git checkout -q r%n; echo %n.d >f1; git rebase -q --apply --autostash -",
    ),
    (
        "rebase with merges under way",
        1,
        "git checkout -q -b r%n; c f0 %n; git checkout -q -b r%n.b HEAD~1; c f1 %n; git merge -q -m m r%n; GIT_SEQUENCE_EDITOR=\"sed -i '/^pick/s/pick/edit/'\" git rebase -q -i -r --force-rebase HEAD~2",
    ),
    (
        "rebase that moves branches under way",
        1,
        "git checkout -q -b r%n; c f0 %n; git branch -q r%n.b; c f1 %n; GIT_SEQUENCE_EDITOR='sed -i 1s/pick/edit/' git rebase -q -i --update-refs HEAD~2",
    ),
    (
        "merge under way",
        3,
        "git checkout -q -b g%n; c f0 %n; git checkout -q -; c f0 %n.b; git merge -q g%n; git branch -q -D g%n",
    ),
    (
        "merge under way, resolved",
        3,
        "git checkout -q -b g%n; c f0 %n; git checkout -q -; c f0 %n.b; git merge -q g%n; git branch -q -D g%n; echo %n.c >f0; git add f0",
    ),
    (
        "merge under way with an autostash",
        2,
        "git checkout -q -b g%n; c f0 %n; git checkout -q -; c f0 %n.b; echo %n.c >f1; git merge -q --autostash g%n; git branch -q -D g%n",
    ),
    (
        "merge of many",
        1,
        "git checkout -q -b h%n; c new%n %n; git checkout -q -b i%n HEAD~1; c new%n.b %n; git checkout -q main; git merge -q --no-commit h%n i%n; git branch -q -D h%n i%n",
    ),
    (
        "cherry-pick under way",
        2,
        "git checkout -q -b p%n; c f0 %n; c f1 %n; c f2 %n; git checkout -q -; c f0 %n.b; git cherry-pick p%n~2 p%n~1 p%n; git branch -q -D p%n",
    ),
    (
        "revert under way",
        2,
        "c f0 %n; c f0 %n.b; git revert --no-edit HEAD~1",
    ),
    (
        "revert without a commit",
        1,
        "c f0 %n; git revert --no-commit HEAD",
    ),
    (
        "bisect under way",
        2,
        "c f0 %n; c f0 %n.b; c f0 %n.c; git bisect start HEAD HEAD~3; git bisect skip",
    ),
    (
        "bisect without a checkout",
        1,
        "c f0 %n; c f0 %n.b; git bisect start --no-checkout HEAD HEAD~2",
    ),
    (
        "patches under way",
        1,
        "git checkout -q -b a%n; c f0 %n; git format-patch -q -1 --stdout >\"$O/$R.patch\"; git checkout -q -; git branch -q -D a%n; c f0 %n.b; git am -q -3 \"$O/$R.patch\"",
    ),
    (
        "patches under way, by hand",
        1,
        "git checkout -q -b a%n; c f0 %n; git format-patch -q -1 --stdout >\"$O/$R.patch\"; git checkout -q -; c f0 %n.b; git am -q \"$O/$R.patch\"",
    ),
    (
        "detached at a tag",
        1,
        "git tag -a -m %n at%n $(git commit-tree -p HEAD -m %n 'HEAD^{tree}'); git checkout -q at%n; git tag -d at%n",
    ),
    (
        "HEAD at another ref",
        1,
        "git update-ref refs/worktree/h%n $(git commit-tree -p HEAD -m %n 'HEAD^{tree}'); git symbolic-ref HEAD refs/worktree/h%n",
    ),
    ("no branch yet", 1, "git checkout -q --orphan u%n"),
    (
        "detached at the end",
        2,
        "git checkout -q --detach; c %f %n; c %g %n.b",
    ),
    (
        "switched to nothing",
        1,
        "git switch -q --orphan u%n; echo %n >f0; git add f0",
    ),
    (
        "conflict in the index alone",
        2,
        "printf '100644 %s 1\\tq%n\\n100644 %s 2\\tq%n\\n100644 %s 3\\tq%n\\n' $(blob %n) $(blob %n.b) $(blob %n.c) | git update-index --index-info",
    ),
    (
        "conflict in the index, resolved",
        3,
        "printf '100644 %s 1\\tf0\\n100644 %s 2\\tf0\\n100644 %s 3\\tf0\\n' $(blob %n) $(blob %n.b) $(blob %n.c) | git update-index --index-info; git add f0",
    ),
    (
        "index lost",
        1,
        "rm -f \"$(git rev-parse --git-path index)\"",
    ),
];

/// Unreachable objects, made after all ageing: the young ones are kept for 14 days.
const YOUNG: &[(&str, u8, &str)] = &[
    (
        "young and unreachable",
        3,
        "blob young%n; git commit-tree -m young%n 'HEAD^{tree}'",
    ),
    (
        "young, unreachable, of old parts",
        4,
        "b=$(blob part%n); t=$(printf '100644 blob %s\\tx\\n' $b | git mktree); d=$(git rev-parse --git-path objects); for o in $b $t; do touch -d \"@$((T - 40 * 86400))\" \"$d/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-)\"; done; git commit-tree -m young%n $t",
    ),
    (
        "young pack of what nothing reaches",
        2,
        "{ blob young%n; git commit-tree -m young%n.b 'HEAD^{tree}'; } | pack; git prune-packed -q",
    ),
    (
        "old and unreachable",
        3,
        "for o in $(blob old%n) $(git commit-tree -m old%n 'HEAD^{tree}'); do touch -d \"@$((T - 40 * 86400))\" \"$(git rev-parse --git-path objects)/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-)\"; done",
    ),
];

/// Two or more packs, the largest a week old: a full repack is due.
pub(super) const DUE: &str = "in_main; for x in 1 2; do blob \"due $x ${D:-}\" | pack; done >/dev/null; \
    find .git/objects/pack -type f -mtime -7 -exec touch -d \"@$((T - 7 * 86400))\" {} +";

/// So many small packs that a geometric repack is due, with the last full one just now.
const DUE_IN_PART: &str = "in_main; for x in 1 2 3 4; do blob \"due $x\" | pack; done >/dev/null; touch .git/objects/pack/*";

struct Cook {
    random: Rng,
    seed: u64,
    n: u32,
    trees: Vec<u32>,
    day: u32,
    operations: Vec<Operation>,
}

impl Cook {
    /// Picks an entry of a table by weight.
    fn pick(
        &mut self,
        table: &[(&'static str, u8, &'static str)],
        without: &[&str],
    ) -> (&'static str, &'static str) {
        let table: Vec<_> = table
            .iter()
            .filter(|(kind, ..)| !without.contains(kind))
            .collect();
        let mut at = self.random.u32(
            ..table
                .iter()
                .map(|(_, weight, _)| u32::from(*weight))
                .sum::<u32>(),
        );
        for (kind, weight, script) in table {
            match at.checked_sub(u32::from(*weight)) {
                Some(rest) => at = rest,
                None => return (kind, script),
            }
        }
        unreachable!("the weights were summed up")
    }

    /// Fills in the placeholders.
    fn fill(&mut self, script: &str) -> String {
        self.n += 1;
        let text = script
            .replace("%n", &format!("{}.{}", self.seed, self.n))
            .replace("%k", &self.random.u8(1..5).to_string());
        let [f, g] = [0; 2].map(|_| format!("f{}", self.random.u8(..4)));
        text.replace("%f", &f).replace("%g", &g)
    }

    fn add(&mut self, place: &str, script: &str) {
        let script = self.fill(script);
        self.operations.push(Operation {
            script: format!("at {}; {place}; {script}", self.day),
        });
    }

    /// Picks the main checkout or one of the trees.
    fn place(&mut self) -> String {
        if self.trees.is_empty() || self.random.u8(..10) < 6 {
            return "in_main".to_owned();
        }
        let tree = self.trees[self.random.usize(..self.trees.len())];
        format!("in_tree w{}.{tree}", self.seed)
    }

    fn pass_time(&mut self) {
        let step = self.random.u32(..=self.day.min(40) / 2);
        self.day -= step;
    }
}

impl Recipe {
    /// Returns the recipe of a seed, without these kinds of operations.
    pub(super) fn of(seed: u64, without: &[&str]) -> Self {
        let directory = format!("acme__r{seed}");
        let mut cook = Cook {
            random: Rng::with_seed(seed),
            seed,
            n: 0,
            trees: Vec::new(),
            day: 0,
            operations: Vec::new(),
        };
        cook.day = [300, 120, 85, 40][cook.random.usize(..4)];
        let (_, script) = cook.pick(BEGINNINGS, without);
        cook.add("cd \"$V\"", script);
        for _ in 0..cook.random.u8(3..12) {
            cook.pass_time();
            let (kind, script) = cook.pick(KINDS, without);
            let place = cook.place();
            cook.add(&place, script);
            if kind.contains("worktree") && script.contains("/w%n") && !script.contains("rm -rf") {
                cook.trees.push(cook.n);
            }
        }
        let trees = cook.trees.clone();
        let places = std::iter::once("in_main".to_owned())
            .chain(trees.iter().map(|tree| format!("in_tree w{seed}.{tree}")));
        for place in places {
            if cook.random.bool() {
                cook.pass_time();
                let (_, script) = cook.pick(UNDER_WAY, without);
                cook.add(&place, script);
            }
        }
        if cook.random.u8(..10) < 8 {
            let days = [15, 20, 60, 100][cook.random.usize(..4)];
            cook.add("in_main", &format!("age {days}"));
        }
        for _ in 0..cook.random.u8(..3) {
            let (_, script) = cook.pick(YOUNG, without);
            cook.add("in_main", script);
        }
        let (settings, due) = match cook.random.u8(..10) {
            0 | 1 => ("gc: {strategy: git-gc}", None),
            2 => ("", Some(DUE_IN_PART)),
            _ => ("", Some(DUE)),
        };
        if let Some(due) = due {
            cook.add("in_main", due);
        }
        Self {
            seed,
            directory,
            settings,
            operations: cook.operations,
        }
    }

    /// Whether its config declares a format unknown to treewarden, so that runs leave it alone.
    pub(super) fn is_unknown_to_us(&self) -> bool {
        let unknown = [
            "--object-format",
            "--ref-format",
            "extensions.preciousObjects",
        ];
        self.operations
            .iter()
            .any(|operation| unknown.iter().any(|word| operation.script.contains(word)))
    }

    /// Returns the whole recipe as a shell script.
    pub(super) fn script(&self) -> String {
        let lines: Vec<&str> = self
            .operations
            .iter()
            .map(|operation| operation.script.as_str())
            .collect();
        format!("R={}\n{}\n", self.directory, lines.join("\n"))
    }
}
