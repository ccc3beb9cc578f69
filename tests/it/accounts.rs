//! Who made a file: when a tree is reaped, files that tools made are dropped, and people's files
//! among them are rescued and restored.
//!
//! The layouts here are written by hand, as small as the recognition of each tool allows;
//! `accounts/real.rs` runs the tools themselves.

use super::support::made::{cargo, npm};
use super::support::repo::{Repo, Tree};
use super::support::{World, age, age_all, git_bytes, remove, same, write};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use treewarden::report::{RunReport, TreeOutcome};

mod real;

const MERGED: &str = "reap landed merged";
const DIRTY: &str = "reap unsaved uncommitted work";
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55";

/// People's files in directories where tools write. None of them may be lost.
const PLANTED: [&str; 64] = [
    "web/node_modules/.notes.md",
    "web/node_modules/mine/src/work.js",
    "web/node_modules/local/package.json",
    "web/node_modules/@acme/draft/index.ts",
    "web/node_modules/patch.diff",
    "web/node_modules/.bin/deploy.sh",
    "web/node_modules/.cache/todo.md",
    "web/node_modules/.cache/babel-loader/results.csv",
    "web/node_modules/.scratch/try.js",
    "web/node_modules/.vite/deps/why.md",
    "pnpm/node_modules/.pnpm/notes.md",
    "pnpm/node_modules/.pnpm/mine@1.0.0/node_modules/mine/index.js",
    "pnpm/node_modules/.pnpm/debug@4.4.3/plan.md",
    "pnpm/node_modules/.pnpm/debug@4.4.3/node_modules/mine.js",
    "rs/target/notes.md",
    "rs/target/experiments/results.csv",
    "rs/target/debug/dev.sqlite",
    "rs/target/debug/shop.sqlite",
    "rs/target/debug/deps/notes.txt",
    "rs/target/debug/examples/data.json",
    "rs/target/debug/.fingerprint/shop-0123456789abcdef/notes.md",
    "rs/target/debug/incremental/notes.md",
    "rs/target/debug/incremental/shop-3cs4v5zwrpp7u/s-holqw5zcss-15tknih-x/notes.md",
    "rs/target/tmp/measured.csv",
    "rs/target/criterion/shop/base/estimates.json",
    "rs/target/doc/todo.html",
    "rs/target/release/model.onnx",
    "rs/out/plan.md",
    "py/.venv/.env",
    "py/.venv/train.py",
    "py/.venv/bin/deploy.sh",
    "py/.venv/bin/python-notes",
    "py/.venv/data/measured.csv",
    "py/.venv/lib/python3.11/site-packages/mine.py",
    "py/.venv/lib/python3.11/site-packages/local.pth",
    "py/.venv/lib/python3.11/site-packages/six/fixture.json",
    "py/env/notebook.ipynb",
    "py/.pytest_cache/notes.md",
    "py/.pytest_cache/v/cache/mine.json",
    "py/.mypy_cache/3.11/why.txt",
    "py/.ruff_cache/todo.md",
    "py/.tox/notes.md",
    "py/.tox/py311/run.sh",
    "py/pkg/__pycache__/notes.txt",
    "py/htmlcov/todo.html",
    "py/htmlcov/notes/plan.md",
    "py/dist/README.md",
    "py/build/lib/drafts.py",
    "py/shop.egg-info/notes.md",
    "web/coverage/baseline.json",
    "web/coverage/lcov-report/findings.html",
    "web/.next/notes.md",
    "web/.next/cache/why.md",
    "web/.turbo/plan.md",
    "web/.turbo/cache/results.csv",
    "web/dist/mine.js",
    "web/dist/notes/todo.md",
    "vite/dist/assets/notes.md",
    "jvm/.gradle/notes.md",
    "jvm/build/reports/my-analysis.md",
    "jvm/build/tmp/scratch.sql",
    "mvn/target/results.csv",
    "mvn/target/surefire-reports/why.md",
    "yarn/.yarn/cache/notes.md",
];

/// People's files in the worktree's registration.
const REGISTERED: [&str; 3] = ["agent-notes.md", "config.worktree", "plans/next.md"];

/// Writes the projects' own files, which are on `main`.
fn projects(repo: &Repo<'_>) {
    for (file, text) in [
        ("web/package.json", "{}\n"),
        ("web/src/a.ts", "\n"),
        ("pnpm/package.json", "{}\n"),
        ("yarn/package.json", "{}\n"),
        ("yarn/yarn.lock", "\n"),
        ("vite/package.json", "{}\n"),
        ("vite/vite.config.ts", "\n"),
        ("vite/index.html", "\n"),
        ("vite/public/icon.svg", "<svg/>\n"),
        (
            "tsc/tsconfig.json",
            "{\"compilerOptions\": {\"outDir\": \"./lib\", \"rootDir\": \"src\"}}\n",
        ),
        ("tsc/src/deep/a.ts", "\n"),
        ("rs/Cargo.toml", "[package]\n"),
        ("py/pyproject.toml", "\n"),
        ("py/pkg/a.py", "\n"),
        ("jvm/build.gradle", "\n"),
        ("jvm/src/main/resources/app.properties", "\n"),
        ("mvn/pom.xml", "<project/>\n"),
        ("mvn/src/main/resources/app.yaml", "\n"),
        ("go/go.mod", "module example.com/shop\n"),
    ] {
        write(&repo.path.join(file), text);
    }
    repo.commit(60.0, "Makefile", "all:\n");
    repo.push();
}

/// Writes what tools leave in each project.
fn make(tree: &Tree) {
    let put = |file: &str, text: &str| write(&tree.path.join(file), text);
    node(&put);
    python(&put);
    jvm(&put);
    let at = |path: &str| tree.path.join(path);
    for target in ["rs/target", "rs/out"] {
        cargo(&at(target), "shop", b"x");
    }
    for file in [
        "debug/.fingerprint/shop-0123456789abcdef/bin-shop.json",
        "debug/.fingerprint/shop-0123456789abcdef/invoked.timestamp",
        "debug/deps/shop-0123456789abcdef",
        "debug/deps/shop-0123456789abcdef.d",
        "debug/deps/shop-0123456789abcdef.1xyz.0abc-cgu.0.rcgu.o",
        "debug/deps/libshop-0123456789abcdef.rmeta",
        "debug/incremental/shop-3cs4v5zwrpp7u/s-holqw5zcss-15tknih-x/dep-graph.bin",
        "debug/incremental/shop-3cs4v5zwrpp7u/s-holqw5zcss-15tknih.lock",
        "debug/build/ring-0123456789abcdef/out/deep/flags.txt",
        "debug/build/ring-0123456789abcdef/output",
        "release/.fingerprint/shop-0123456789abcdef/bin-shop.json",
        "doc/shop/index.html",
        "doc/shop/struct.Shop.html",
        "doc/static.files/COPYRIGHT-23e9bde6c69aea69.txt",
    ] {
        put(&format!("rs/target/{file}"), "x");
    }
    symlink("../../../acme__shop/web/node_modules", at("linked-modules")).unwrap();
    symlink("/nix/store/0c5b3-shop-1.0", at("result")).unwrap();
    symlink(
        "/root/.cache/bazel/_bazel_root/x/execroot/bin",
        at("bazel-bin"),
    )
    .unwrap();
}

fn node(put: &dyn Fn(&str, &str)) {
    put(
        "web/node_modules/.package-lock.json",
        &npm(&["react", "@acme/ui"]),
    );
    put(
        "pnpm/node_modules/.pnpm/lock.yaml",
        "packages:\n\n  debug@4.4.3:\n    resolution: {}\n  '@acme/ui@1.0.0':\n    resolution: {}\n",
    );
    put(
        "tsc/web.tsbuildinfo",
        "{\"fileNames\":[],\"version\":\"5.9.3\"}",
    );
    put("web/.eslintcache", "[{\"/data/a.ts\":\"1\"},{\"size\":1}]");
    put(
        "yarn/.pnp.cjs",
        "#!/usr/bin/env node\n/* eslint-disable */\n// \"This file is automatically generated. Do not touch it, or risk\"\n",
    );
    put(
        "yarn/.pnp.loader.mjs",
        "/* eslint-disable */\n// @ts-nocheck\n",
    );
    put("yarn/.yarn/install-state.gz", "\u{1f}x");
    put(
        "web/coverage/coverage-final.json",
        "{\"/data/web/src/a.ts\": {}}",
    );
    put("web/dist/app.js", "x");
    put("web/dist/app.js.map", "{}");
    put("vite/dist/icon.svg", "<svg/>\n");
    for file in [
        "web/node_modules/react/index.js",
        "web/node_modules/@acme/ui/package.json",
        "web/node_modules/.cache/babel-loader/0123456789abcdef0123.json",
        "web/node_modules/.vite/deps/_metadata.json",
        "pnpm/node_modules/.modules.yaml",
        "pnpm/node_modules/.pnpm/debug@4.4.3/node_modules/debug/package.json",
        "pnpm/node_modules/.pnpm/@acme+ui@1.0.0_react@19.0.0/node_modules/@acme/ui/index.js",
        "yarn/.yarn/cache/debug-npm-4.4.3-0105c6123a-d79136ec6c.zip",
        "yarn/.yarn/unplugged/esbuild-npm-0.25.12-07c7c22cce/node_modules/esbuild/bin",
        "web/coverage/lcov-report/a.ts.html",
        "web/coverage/lcov-report/base.css",
        "web/.next/BUILD_ID",
        "web/.next/cache/webpack/client-production/0.pack",
        "web/.next/server/app/index.html",
        "web/.turbo/turbo-build.log",
        "web/.turbo/cache/0123456789abcdef.tar.zst",
        "vite/dist/index.html",
        "vite/dist/assets/index-D_6Ay_gG.js",
        "tsc/lib/deep/a.js",
        "tsc/lib/deep/a.d.ts",
    ] {
        put(file, "x");
    }
}

fn python(put: &dyn Fn(&str, &str)) {
    let site = "py/.venv/lib/python3.11/site-packages";
    let record = "six/__init__.py,sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\nsix-1.dist-info/RECORD,,\n../../../bin/six,,\n\
                  ../../../README.md,,\n";
    put(&format!("{site}/six-1.dist-info/RECORD"), record);
    // Poetry writes such a `RECORD` with absolute paths; this one is from a tree elsewhere.
    put(
        &format!("{site}/shop-1.dist-info/RECORD"),
        &format!("/elsewhere/{site}/shop.pth,,\n/elsewhere/{site}/shop-1.dist-info/RECORD,,\n"),
    );
    put(&format!("{site}/shop.pth"), "x");
    for file in [
        "README.md",
        "CACHEDIR.TAG",
        ".gitignore",
        ".lock",
        "pyvenv.cfg",
        "bin/activate",
        "bin/activate_this.py",
        "bin/python3.11",
        "bin/six",
    ] {
        put(&format!("py/.venv/{file}"), "x");
    }
    for file in [
        "six/__init__.py",
        "six/__pycache__/__init__.cpython-311.pyc",
        "_virtualenv.py",
        "pip-26.3.virtualenv",
    ] {
        put(&format!("{site}/{file}"), "x");
    }
    put(
        "py/htmlcov/status.json",
        "{\"files\": {\"z_f39_a_py\": {}}}",
    );
    put("py/.pytest_cache/README.md", "# pytest cache directory #\n");
    for tagged in [".pytest_cache", ".mypy_cache", ".ruff_cache", ".tox"] {
        put(&format!("py/{tagged}/CACHEDIR.TAG"), TAG);
    }
    for file in [
        "env/pyvenv.cfg",
        "env/bin/python",
        "env/lib/python3.12/site-packages/__pycache__/x.cpython-312.pyc",
        ".pytest_cache/v/cache/nodeids",
        ".mypy_cache/3.11/shop.data.json",
        ".ruff_cache/0.17.6/7573019702974896901",
        ".tox/py311/pyvenv.cfg",
        ".tox/py311/bin/python",
        ".tox/py311/log/1-test.log",
        "pkg/__pycache__/a.cpython-311.pyc",
        "htmlcov/z_f39_a_py.html",
        "htmlcov/index.html",
        "htmlcov/style_cb_4667309f.css",
        "dist/shop-0.1-py3-none-any.whl",
        "build/bdist.linux-x86_64/x.o",
        "build/lib/pkg/a.py",
        "shop.egg-info/PKG-INFO",
    ] {
        put(&format!("py/{file}"), "x");
    }
}

fn jvm(put: &dyn Fn(&str, &str)) {
    for file in [
        "jvm/.gradle/8.5/fileHashes/fileHashes.bin",
        "jvm/build/classes/java/main/A.class",
        "jvm/build/resources/main/app.properties",
        "jvm/build/reports/tests/test/index.html",
        "jvm/build/tmp/compileJava/previous-compilation-data.bin",
        "jvm/build/libs/shop.jar",
        "mvn/target/maven-status/maven-compiler-plugin/compile/default-compile/createdFiles.lst",
        "mvn/target/classes/com/shop/A.class",
        "mvn/target/classes/app.yaml",
        "mvn/target/surefire-reports/TEST-com.shop.ATest.xml",
        "mvn/target/shop-1.0.jar",
    ] {
        put(file, "x");
    }
    put(
        "go/vendor/modules.txt",
        "# example.com/a v1.0.0\n## explicit\nexample.com/a/pkg\n",
    );
    put("go/vendor/example.com/a/pkg/a.go", "x");
    put("go/vendor/example.com/a/LICENSE", "x");
}

/// Writes the tools' binary files, which the text helpers can't write.
fn finish(tree: &Tree) {
    write(
        &tree.path.join("mvn/target/jacoco.exec"),
        [1, 0xc0, 0xc0, 0x10, 7],
    );
    write(
        &tree.path.join("yarn/.yarn/install-state.gz"),
        [0x1f, 0x8b, 8, 0],
    );
}

fn row<'a>(report: &'a RunReport, tree: &Tree) -> &'a treewarden::report::Worktree {
    report
        .worktrees()
        .find(|row| row.path == tree.path)
        .unwrap()
}

#[test]
fn what_tools_make_never_holds_a_tree_and_what_people_make_is_never_lost() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.set("worktrees: {unsaved: 1d}");
    projects(&shop);
    write(&shop.path.join("web/.env"), "KEY=the-same\n");
    write(&shop.path.join(".claude/settings.local.json"), "{}\n");
    let [clean, planted, other] = ["clean", "planted", "other"].map(|name| shop.tree(name));
    for tree in [&clean, &planted] {
        make(tree);
        finish(tree);
        tree.write("web/.env", "KEY=the-same\n")
            .write(".claude/settings.local.json", "{}\n");
    }
    other.write("web/.env", "KEY=another!\n");
    let content = |file: &str| format!("only here: {file}\n");
    for file in PLANTED {
        planted.write(file, &content(file));
    }
    for file in REGISTERED {
        write(&planted.admin.join(file), content(file));
    }
    for tree in [&clean, &planted, &other] {
        tree.age(2.0);
    }
    age_all(&planted.admin, 2.0);

    let fates = [("clean", MERGED), ("planted", DIRTY), ("other", DIRTY)];
    let fates: BTreeMap<String, String> = fates
        .iter()
        .map(|(tree, fate)| {
            (
                format!("acme/shop worktrees/acme__shop/{tree}"),
                (*fate).to_owned(),
            )
        })
        .collect();
    let dry = world.pass(0, &["report"]);
    same("what a dry run says", &world.fates(&dry), &fates);
    let why = |report: &RunReport| row(report, &planted).reasons.join("; ");
    assert!(
        why(&dry).contains(&format!(
            "and {} more",
            PLANTED.len() + REGISTERED.len() - 5
        )),
        "{}",
        why(&dry)
    );
    let report = world.night();
    same("fates", &world.fates(&report), &fates);

    let rescue = row(&report, &planted).rescue_ref.clone().unwrap();
    let held = String::from_utf8(git_bytes(
        &shop.path,
        &["ls-tree", "-r", "--name-only", &rescue],
    ))
    .unwrap();
    let tools = held
        .lines()
        .filter(|file| git_knows(&shop, file))
        .filter(|file| !PLANTED.contains(file));
    assert_eq!(
        tools.collect::<Vec<_>>(),
        [
            ".claude/settings.local.json",
            "bazel-bin",
            "linked-modules",
            "result",
            "web/.env"
        ],
        "the rescue holds what tools made"
    );
    let ran = world.treewarden(&["rescue", "restore", &rescue]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let standing = |at: &Path, files: &[&str]| -> BTreeMap<String, String> {
        files
            .iter()
            .map(|file| {
                (
                    (*file).to_owned(),
                    fs::read_to_string(at.join(file)).unwrap_or_default(),
                )
            })
            .collect()
    };
    let all = |files: &[&str]| -> BTreeMap<String, String> {
        files
            .iter()
            .map(|file| ((*file).to_owned(), content(file)))
            .collect()
    };
    same(
        "what came back",
        &standing(&planted.path, &PLANTED),
        &all(&PLANTED),
    );
    let admin = fs::read_to_string(planted.path.join(".git")).unwrap();
    let admin = Path::new(admin.trim_end().strip_prefix("gitdir: ").unwrap());
    same(
        "what came back into the registration",
        &standing(admin, &REGISTERED),
        &all(&REGISTERED),
    );
}

/// Whether the file is missing on `main`.
fn git_knows(repo: &Repo<'_>, file: &str) -> bool {
    super::support::try_git(
        &repo.path,
        0.0,
        &["cat-file", "-e", &format!("origin/main:{file}")],
    )
    .0 != Some(0)
}

/// By default such a tree is kept as long as any with unsaved work, and its row names the file.
#[test]
fn a_tree_with_a_file_among_a_tools_is_unsaved() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.commit(60.0, "Cargo.toml", "[package]\n");
    shop.push();
    let tree = shop.tree("notes");
    cargo(&tree.path.join("target"), "shop", b"x");
    tree.write("target/debug/dev.sqlite", "rows\n").age(8.0);
    let report = world.night();
    let fates = [(
        "acme/shop worktrees/acme__shop/notes",
        "keep unsaved recent",
    )];
    same("fates", &world.fates(&report), &super::support::map(&fates));
    let row = row(&report, &tree);
    assert!(
        row.reasons
            .iter()
            .any(|why| why.contains("target/debug/dev.sqlite is untracked")),
        "{:?}",
        row.reasons
    );
}

/// A wheel's file counts as somebody's if its content was edited, but not if only its time changed.
#[test]
fn a_wheel_tells_what_was_edited() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let site = ".venv/lib/python3.11/site-packages";
    let [same_size, longer, touched] = ["same-size", "longer", "touched"].map(|name| {
        let tree = shop.tree(name);
        let record = "six.py,sha256=LXEWQrcmsEQBYnyp-6wy9chTD7GQPMTbAiWHF5IaSIE,1\nsix-1.dist-info/RECORD,,\n";
        tree.write(".venv/pyvenv.cfg", "home = /usr/bin\n").write(&format!("{site}/six.py"), "x");
        tree.write(&format!("{site}/six-1.dist-info/RECORD"), record);
        tree.age(9.0);
        tree
    });
    for (tree, text) in [(&same_size, "y"), (&longer, "yy"), (&touched, "x")] {
        let file = tree.path.join(site).join("six.py");
        write(&file, text);
        age(&file, 2.0);
    }
    let fates = world.fates(&world.pass(0, &["report"]));
    let expected = [
        ("same-size", "keep unsaved recent"),
        ("longer", "keep unsaved recent"),
        ("touched", MERGED),
    ];
    let expected: Vec<(String, &str)> = expected
        .iter()
        .map(|(tree, fate)| (format!("acme/shop worktrees/acme__shop/{tree}"), *fate))
        .collect();
    let expected: Vec<(&str, &str)> = expected
        .iter()
        .map(|(tree, fate)| (tree.as_str(), *fate))
        .collect();
    same("fates", &fates, &super::support::map(&expected));
}

/// A file written into `target` after the survey, and before the tree is removed.
#[test]
fn what_is_written_among_a_tools_while_the_tree_goes_is_seen() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    shop.commit(60.0, "Cargo.toml", "[package]\n");
    shop.push();
    let tree = shop.tree("late");
    cargo(&tree.path.join("target"), "shop", b"x");
    tree.age(2.0);
    let late = tree.path.join("target/debug/late.csv");
    // The probe runs twice: after all trees were surveyed, and just before they are removed.
    let (first, second) = (world.beside("first"), world.beside("second"));
    let write_late = format!(
        "if [ -e {0} ]; then echo late >{1}; touch {2}; fi; touch {0}; exit 1",
        first.display(),
        late.display(),
        second.display()
    );
    shop.set(&format!("busy_probe: [sh, -c, '{write_late}']"));
    let report = world.night();
    assert!(second.exists(), "nobody wrote");
    let row = row(&report, &tree);
    assert_eq!(
        (&row.outcome, row.because.as_str()),
        (&TreeOutcome::Kept, "busy"),
        "{row:?}"
    );
    assert_eq!(fs::read_to_string(&late).unwrap(), "late\n");
}

/// The operator's config overrides any recognition, for directories, files and links.
#[test]
fn the_operators_word_is_good_for_files_and_links() {
    let world = World::new();
    let shop = world.repo("acme/shop");
    let said = "{name: model.bin, beside: README.md}, {name: current, beside: README.md}, {name: out, beside: README.md}";
    shop.set(&format!("worktrees: {{made_again: [{said}]}}"));
    let tree = shop.tree("said");
    tree.write("model.bin", "weights\n")
        .write("out/.notes", "x")
        .write("deep/model.bin", "mine\n");
    symlink("out/1", tree.path.join("current")).unwrap();
    tree.age(2.0);
    let report = world.night();
    let row = row(&report, &tree);
    assert!(
        row.reasons
            .iter()
            .any(|why| why == "deep/model.bin is untracked"),
        "{row:?}"
    );
    remove(&tree.path.join("deep/model.bin"));
    tree.age(2.0);
    let fates = [("acme/shop worktrees/acme__shop/said", MERGED)];
    same(
        "fates",
        &world.fates(&world.night()),
        &super::support::map(&fates),
    );
}
