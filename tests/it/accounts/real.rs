//! The same with real tools, which install and build their projects. The trees are then reaped as
//! landed, because none of their files is somebody's.

#![expect(
    clippy::disallowed_methods,
    reason = "real tools make what stands in the trees"
)]

use super::super::support::repo::{Repo, Tree};
use super::super::support::{World, same, write};
use super::MERGED;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;
use treewarden::report::{ReasonName, RunReport};

/// A project, and the shell commands that install and build it.
struct Project {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    made: &'static str,
    /// Lock files and the like, which a person would commit.
    committed: &'static [&'static str],
}

const PACKAGE: (&str, &str) = (
    "package.json",
    r#"{"name": "shop", "version": "1.0.0", "private": true, "type": "module", "dependencies": {"@babel/core": "^7", "debug": "^4", "esbuild": "^0.25.0"}, "devDependencies": {"typescript": "^5"}}"#,
);
const WORKSPACE: (&str, &str) = (
    "package.json",
    r#"{"name": "shop", "version": "1.0.0", "private": true, "workspaces": ["packages/*"], "dependencies": {"@babel/core": "^7", "debug": "^4"}}"#,
);
const PART_A: (&str, &str) = (
    "packages/a/package.json",
    r#"{"name": "a", "version": "1.0.0", "dependencies": {"debug": "^3", "b": "1.0.0"}}"#,
);
const PART_B: (&str, &str) = (
    "packages/b/package.json",
    r#"{"name": "b", "version": "1.0.0", "dependencies": {"debug": "^2"}}"#,
);
const NODE_LINKER: (&str, &str) = (".yarnrc.yml", "nodeLinker: node-modules\n");
const NO_LOCK: (&str, &str) = ("yarn.lock", "");
const PYTHON: (&str, &str) = (
    "pyproject.toml",
    "[project]\nname = \"shop\"\nversion = \"0.1\"\nrequires-python = \">=3.11\"\ndependencies = [\"requests\"]\n",
);

/// What `npm create` writes, without what is installed and built.
const WEB: &[&str] = &[
    "web/src",
    "web/public",
    "web/.gitignore",
    "web/.oxlintrc.json",
    ":(glob)web/*.json",
    ":(glob)web/*.md",
    ":(glob)web/*.html",
    ":(glob)web/*.ts",
    ":(glob)web/*.js",
];

const PROJECTS: [Project; 20] = [
    Project {
        name: "npm",
        files: &[PACKAGE],
        made: "npm install --no-audit --no-fund",
        committed: &["package-lock.json"],
    },
    Project {
        name: "npm-workspaces",
        files: &[WORKSPACE, PART_A, PART_B],
        made: "npm install --no-audit --no-fund",
        committed: &["package-lock.json"],
    },
    Project {
        name: "pnpm-10",
        files: &[PACKAGE],
        made: "pnpm-10 install --ignore-scripts",
        committed: &["pnpm-lock.yaml"],
    },
    Project {
        name: "pnpm-12",
        files: &[
            PACKAGE,
            ("pnpm-workspace.yaml", "packages: ['packages/*']\n"),
            PART_B,
        ],
        made: "pnpm-12 install --ignore-scripts",
        committed: &["pnpm-lock.yaml"],
    },
    Project {
        name: "yarn-1",
        files: &[WORKSPACE, PART_A, PART_B],
        made: "yarn-1 install",
        committed: &["yarn.lock"],
    },
    Project {
        name: "yarn-4-modules",
        files: &[WORKSPACE, PART_B, NODE_LINKER, NO_LOCK],
        made: "yarn-4 install",
        committed: &["yarn.lock", "package.json", "packages/b/package.json"],
    },
    Project {
        name: "yarn-4-pnp",
        files: &[PACKAGE, NO_LOCK],
        made: "yarn-4 install",
        committed: &["yarn.lock", "package.json"],
    },
    Project {
        name: "yarn-4-own-cache",
        files: &[
            PACKAGE,
            NO_LOCK,
            (".yarnrc.yml", "enableGlobalCache: false\n"),
        ],
        made: "yarn-4 install",
        committed: &["yarn.lock", "package.json"],
    },
    Project {
        name: "bun",
        files: &[PACKAGE],
        made: "bun install",
        committed: &["bun.lock"],
    },
    Project {
        name: "bun-isolated",
        files: &[WORKSPACE, PART_A, PART_B],
        made: "bun install --linker isolated",
        committed: &["bun.lock"],
    },
    Project {
        name: "deno",
        files: &[PACKAGE],
        made: "deno install --allow-scripts",
        committed: &["deno.lock"],
    },
    Project {
        name: "pip",
        files: &[
            (
                "pyproject.toml",
                "[project]\nname = \"shop\"\nversion = \"0.1\"\n[tool.setuptools]\npackages = [\"shop\"]\n",
            ),
            ("shop/__init__.py", "x: int = 1\n"),
            (
                "tests/test_shop.py",
                "import shop\n\n\ndef test_x():\n    assert shop.x\n",
            ),
        ],
        made: "python3 -m venv .venv && .venv/bin/pip install -q casbin==1.18.2 pytest pytest-cov mypy ruff setuptools build && \
               .venv/bin/pip install -q -e . && .venv/bin/pytest -q --cov=shop --cov-report=html --cov-report=xml && \
               .venv/bin/mypy shop && .venv/bin/ruff check shop && .venv/bin/python -m build -q",
        committed: &[],
    },
    Project {
        name: "uv-pip",
        files: &[],
        made: "uv venv -q && uv pip install -q casbin==1.18.2 requests greenlet && .venv/bin/python -c 'import requests'",
        committed: &[],
    },
    Project {
        name: "uv-sync",
        files: &[PYTHON],
        made: "uv sync -q && .venv/bin/python -c 'import requests'",
        committed: &["uv.lock"],
    },
    Project {
        name: "virtualenv",
        files: &[],
        made: "virtualenv -q env && env/bin/pip install -q ipykernel requests",
        committed: &[],
    },
    Project {
        name: "poetry",
        files: &[
            (
                "pyproject.toml",
                "[project]\nname = \"shop\"\nversion = \"0.1\"\nrequires-python = \">=3.11\"\ndependencies = []\n",
            ),
            ("shop/__init__.py", "\n"),
        ],
        made: "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install -q && .venv/bin/pip install -q requests",
        committed: &["poetry.lock"],
    },
    Project {
        name: "cargo",
        files: &[
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"app\", \"lib\"]\nresolver = \"2\"\n",
            ),
            (
                "app/Cargo.toml",
                "[package]\nname = \"my-app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nmy-lib = {path = \"../lib\"}\n\
                 serde = {version = \"1\", features = [\"derive\"]}\n",
            ),
            (
                "app/src/main.rs",
                "fn main() {\n    println!(\"{}\", my_lib::x());\n}\n",
            ),
            ("app/examples/show.rs", "fn main() {}\n"),
            (
                "app/tests/it.rs",
                "#[test]\nfn x() {\n    assert_eq!(my_lib::x(), 1);\n}\n",
            ),
            (
                "app/build.rs",
                "fn main() {\n    std::fs::write(format!(\"{}/x\", std::env::var(\"OUT_DIR\").unwrap()), \"x\").unwrap();\n}\n",
            ),
            (
                "lib/Cargo.toml",
                "[package]\nname = \"my-lib\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[lib]\ncrate-type = [\"rlib\", \"cdylib\"]\n",
            ),
            (
                "lib/src/lib.rs",
                "/// X.\npub fn x() -> u32 {\n    1\n}\n\npub struct Shop;\n",
            ),
        ],
        made: "cargo build -q --all-targets && cargo test -q && cargo build -q --release && cargo doc -q --no-deps && \
               cargo check -q --target-dir out",
        committed: &["Cargo.lock"],
    },
    Project {
        name: "go",
        files: &[
            (
                "go.mod",
                "module example.com/shop\n\ngo 1.21\n\nrequire example.com/a v1.0.0\n\nreplace example.com/a => ./a\n",
            ),
            (
                "main.go",
                "package main\n\nimport \"example.com/a/deep\"\n\nfunc main() { println(deep.X()) }\n",
            ),
            ("a/go.mod", "module example.com/a\n\ngo 1.21\n"),
            (
                "main_test.go",
                "package main\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) {}\n",
            ),
            ("a/LICENSE", "Do what you like.\n"),
            ("a/deep/x.go", "package deep\n\nfunc X() int { return 1 }\n"),
        ],
        made: "export GOFLAGS= GOPROXY=off GOTOOLCHAIN=local; go mod vendor && go build -mod=vendor -o bin/tool . && go build -mod=vendor && \
               go test -c -mod=vendor -o shop.test .",
        committed: &[],
    },
    Project {
        name: "vite",
        files: &[],
        made: "npm create --yes vite@latest web -- --template react-ts --no-interactive && cd web && npm install --no-audit --no-fund && \
               npm run build && npm install --no-audit --no-fund -D vitest @vitest/coverage-v8 eslint && \
               echo 'export const add = (a: number, b: number) => a + b' >src/add.ts && \
               echo 'import {test, expect} from \"vitest\"; import {add} from \"./add\"; test(\"a\", () => expect(add(1, 2)).toBe(3))' >src/add.test.ts && \
               npx vitest run --coverage --coverage.reporter=html --coverage.reporter=lcov --coverage.reporter=json",
        committed: WEB,
    },
    Project {
        name: "tsc-and-webpack",
        files: &[
            PACKAGE,
            (
                "src/a.ts",
                "import createDebug from 'debug'\n\nexport const a: number = 1\ncreateDebug('a')\n",
            ),
            (
                "tsconfig.json",
                "{\"compilerOptions\": {\"outDir\": \"lib\", \"rootDir\": \"src\", \"declaration\": true, \"incremental\": true, \"types\": [], \"skipLibCheck\": true, \"noImplicitAny\": false, \"module\": \"nodenext\"}}\n",
            ),
        ],
        made: "npm install --no-audit --no-fund --no-save webpack webpack-cli && npx tsc; npx webpack --mode production --devtool source-map --entry ./lib/a.js",
        committed: &["package-lock.json"],
    },
];

impl Project {
    /// Installs and builds the project in a tree of its own, and merges the tree's commit.
    fn make(&self, repo: &Repo<'_>) -> Tree {
        for (file, text) in self.files {
            write(&repo.path.join(file), text);
        }
        repo.commit(60.0, "Makefile", "all:\n");
        repo.push();
        let tree = repo.tree("built");
        let mut shell = Command::new("bash");
        shell
            .args(["-euc", self.made])
            .current_dir(&tree.path)
            .env("CI", "")
            .env("YARN_ENABLE_TELEMETRY", "0")
            .env("GOFLAGS", "-mod=mod");
        for name in [
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
            "PIP_NO_CACHE_DIR",
            "npm_config_cache",
            "YARN_CACHE_FOLDER",
            "VIRTUAL_ENV",
        ] {
            shell.env_remove(name);
        }
        let ran = shell
            .env("YARN_ENABLE_IMMUTABLE_INSTALLS", "false")
            .output()
            .unwrap();
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        assert!(ran.status.success(), "{}: {told}", self.name);
        for file in self.committed {
            // Not every version of a tool writes each of these files.
            super::super::support::try_git(&tree.path, 60.0, &["add", "-f", file]);
        }
        if !self.committed.is_empty() {
            super::super::support::try_git(&tree.path, 60.0, &["commit", "-q", "-m", "Locked"]);
            tree.git(&["push", "-q", "origin", "HEAD:main"]);
        }
        tree.age(3.0);
        tree
    }
}

#[test]
#[ignore = "needs npm, pnpm, yarn, bun, deno, uv, virtualenv, poetry, cargo and go with registries"]
fn no_file_that_a_tool_made_is_somebodys() {
    let world = World::new();
    let repos: Vec<Repo<'_>> = PROJECTS
        .iter()
        .map(|project| world.repo(&format!("acme/{}", project.name)))
        .collect();
    let trees: Vec<Tree> = PROJECTS
        .par_iter()
        .zip(&repos)
        .map(|(project, repo)| project.make(repo))
        .collect();
    let fate = |repo: &Repo<'_>| {
        (
            format!("{} worktrees/{}/built", repo.name, repo.directory()),
            MERGED.to_owned(),
        )
    };
    let expected: BTreeMap<String, String> = repos.iter().map(fate).collect();
    let why = |report: &RunReport| {
        let rows = report
            .worktrees()
            .filter(|row| row.because != ReasonName::Merged);
        rows.map(|row| format!("{}: {}", world.below(&row.path), row.reasons.join("; ")))
            .collect::<Vec<_>>()
    };
    world.set("run", "max_reaped: 100");
    let dry = world.pass(0, &["report"]);
    assert_eq!(why(&dry), Vec::<String>::new());
    let report = world.night();
    same("fates", &world.fates(&report), &expected);
    assert!(trees.iter().all(|tree| !tree.path.exists()));
}
