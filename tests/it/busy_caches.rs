//! Real tools' caches while the real program evicts: between two installs, half way through a unit,
//! and during an install.
//!
//! Each tool gets projects with lock files, and a cache on a volume. Evicted packages are fetched
//! again, cached ones install offline, and nothing is ever left incomplete. Most tests are ignored
//! by default: they need the tools that `.ci/run` puts into `target/ci/bin`, and their registries.

#![expect(
    clippy::disallowed_methods,
    reason = "it runs real tools, and lets units of a temporary cache vanish"
)]

mod builds;

use self::builds::{bazel, ccache, huggingface, huggingface_shared, npx, sccache, turbo, uv_run};
use super::support::{World, age_all, fifo, temporary, write};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use treewarden::config::policy;
use treewarden::ecosystems::last_use::LastUseProbe;
use treewarden::ecosystems::lister::Inspection;
use treewarden::facts::cache::{Size, Unit};
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::report::UnitOutcome;
use treewarden::survey::caches;

/// How long installs run against eviction.
const BUSY: Duration = Duration::from_secs(8);

/// A test needs more installs and evictions than this.
const ENOUGH: usize = 3;

/// A tool: its packages, how a project asks for them, and how it runs.
struct Tool {
    kind: &'static str,
    /// Its name in the config.
    name: &'static str,
    /// Three packages without dependencies, each as a part of its unit's name.
    packages: [&'static str; 3],
    /// Writes a project that uses these packages.
    project: fn(&Bench, &Path, &[&str]),
    /// The shell command that installs, run in the project's directory. `$CACHE` is the cache;
    /// `$OFFLINE` is empty if the network may be used.
    install: &'static str,
}

/// A volume with one cache, and projects beside it.
struct Bench {
    tool: Tool,
    world: World,
    work: TempDir,
}

impl Bench {
    fn new(tool: Tool) -> Self {
        let world = World::new();
        // With a budget of 1 byte, all that may be evicted is evicted.
        world.set("eviction", "budget: 1");
        world.set("caches", &format!("{{kind: {}, path: cache}}", tool.name));
        fs::create_dir(world.at("cache")).unwrap();
        Self {
            tool,
            world,
            work: temporary(),
        }
    }

    /// Installs a project with these packages, and creates it first if it is missing.
    fn install(&self, packages: &[&str], offline: bool) -> Result<(), String> {
        let directory = self.directory(packages);
        if !directory.exists() {
            fs::create_dir(&directory).unwrap();
            (self.tool.project)(self, &directory, packages);
        }
        let mut shell = Command::new("bash");
        shell
            .args(["-euc", self.tool.install])
            .current_dir(&directory)
            .env("CACHE", self.world.at("cache"));
        shell
            .env("WORK", self.work.path())
            .env("XDG_CACHE_HOME", self.work.path().join("xdg"))
            .env_remove("PIP_FIND_LINKS")
            .env_remove("PIP_NO_CACHE_DIR")
            // In CI, tools refuse to write a lock file.
            .env_remove("CI")
            .env("YARN_ENABLE_IMMUTABLE_INSTALLS", "false")
            .env("OFFLINE", if offline { "yes" } else { "" });
        let Output {
            status,
            stdout,
            stderr,
        } = shell.output().unwrap();
        let said = || {
            format!(
                "{}{}",
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            )
        };
        if status.success() {
            Ok(())
        } else {
            Err(said())
        }
    }

    fn directory(&self, packages: &[&str]) -> PathBuf {
        self.work.path().join(packages.join("+").replace('/', "_"))
    }

    /// Removes what installs wrote, and with it every hard link into the cache.
    fn clean(&self) {
        for project in fs::read_dir(self.work.path()).unwrap().flatten() {
            for made in ["node_modules", "out"] {
                let _none = fs::remove_dir_all(project.path().join(made));
            }
        }
    }

    /// Returns the cache's units after `clean`.
    fn units(&self) -> Vec<Unit> {
        self.clean();
        self.units_as_they_are()
    }

    fn units_as_they_are(&self) -> Vec<Unit> {
        let root: Arc<Path> = self.world.root.canonicalize().unwrap().into();
        let place = Some(VolumePath::new(&root, Path::new("cache")).unwrap());
        let (kind, min_age, reserve) = (self.tool.kind, Duration::ZERO, Size::default());
        let policy = policy::Cache {
            name: "real".into(),
            kind: treewarden::ecosystems::kind(kind).unwrap(),
            place,
            outside: None,
            depth: 1,
            min_age,
            reserve,
            budget: None,
        };
        let probe = LastUseProbe::open(&root, true).unwrap();
        let inspection = Inspection {
            probe: &probe,
            gate: &Some,
            stop: &Stop::never(),
        };
        let seen = caches::survey(&[policy], &[], inspection).remove(0);
        assert_eq!(seen.problems, Vec::<String>::new());
        let mut units = seen.units;
        units.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let paths: Vec<&VolumePath> = units.iter().flat_map(|unit| &unit.paths).collect();
        assert_eq!(
            paths.len(),
            paths.iter().collect::<BTreeSet<_>>().len(),
            "a path in two units"
        );
        units
    }

    fn names(&self) -> BTreeSet<String> {
        self.units().into_iter().map(|unit| unit.name).collect()
    }

    /// Takes away the first `count` paths of a unit, as eviction moves them.
    fn take(&self, unit: &Unit, count: usize) {
        for path in unit.paths.iter().take(count) {
            fs::rename(
                path.path(),
                self.work.path().join(format!("gone-{}", uuid())),
            )
            .unwrap();
        }
    }

    #[track_caller]
    fn works(&self, packages: &[&str], offline: bool) {
        if let Err(said) = self.install(packages, offline) {
            panic!("{packages:?}, offline: {offline}: {said}");
        }
    }

    #[track_caller]
    fn fails_offline(&self, packages: &[&str]) {
        assert!(
            self.install(packages, true).is_err(),
            "{packages:?} needs nothing that went"
        );
    }

    /// Checks that installs work after each kind of eviction. `expected` are parts of the names of
    /// further units than the packages'.
    fn withstands(&self, expected: &[&str]) {
        self.world.set("eviction", "min_age: 0s");
        let [first, second, third] = self.tool.packages;
        let all = [first, second, third];
        self.works(&all, false);
        self.works(&[first, third], false);
        self.works(&[second], false);
        let names = self.names();
        let expected = self
            .tool
            .packages
            .map(bare)
            .into_iter()
            .chain(expected.iter().copied())
            .collect::<Vec<_>>();
        let unexpected = names
            .iter()
            .filter(|name| !expected.iter().any(|part| name.contains(part)))
            .collect::<Vec<_>>();
        let missing = expected
            .iter()
            .filter(|part| !names.iter().any(|name| name.contains(*part)))
            .collect::<Vec<_>>();
        assert!(
            unexpected.is_empty() && missing.is_empty(),
            "unexpected: {unexpected:?}, missing: {missing:?}"
        );

        // As after a kill half way through a unit: without its first path, and with only its last.
        let several: Vec<Unit> = self
            .units()
            .into_iter()
            .filter(|unit| unit.paths.len() > 1)
            .take(3)
            .collect();
        for (name, count) in several.iter().flat_map(|unit| {
            BTreeSet::from([1, unit.paths.len() - 1])
                .into_iter()
                .map(|count| (&unit.name, count))
        }) {
            let unit = self
                .units()
                .into_iter()
                .find(|unit| unit.name == *name)
                .unwrap_or_else(|| panic!("{name} did not come back"));
            self.take(&unit, count);
            self.works(&all, false);
        }
        self.works(&all, true);
        // A unit that one project needs.
        let needed: Vec<Unit> = self
            .units()
            .into_iter()
            .filter(|unit| unit.name.contains(bare(second)))
            .collect();
        for unit in &needed {
            self.take(unit, unit.paths.len());
        }
        self.works(&[first, third], true);
        self.fails_offline(&[second]);
        self.works(&all, false);
        // Every second unit.
        self.units()
            .iter()
            .step_by(2)
            .for_each(|unit| self.take(unit, unit.paths.len()));
        self.works(&all, false);
        self.works(&all, true);
        // All units, evicted by the program.
        let before = self.units();
        let report = self.world.pass(1, &["run"]);
        let outcomes = report
            .eviction
            .units
            .iter()
            .filter(|unit| unit.outcome == UnitOutcome::Evicted)
            .count();
        assert_eq!(outcomes, before.len(), "{:?}", report.eviction);
        assert_eq!(self.units(), []);
        self.fails_offline(&all);
        self.works(&all, false);
        self.works(&all, true);
    }

    /// Repeats a project's offline install while the program keeps evicting everything else.
    fn goes_on(&self, min_age: Duration) {
        self.world
            .set("eviction", &format!("min_age: {}s", min_age.as_secs()));
        let [hot, cold @ ..] = self.tool.packages;
        // The second install has a lock file, with which npm sends other requests to the registry.
        self.works(&[hot], false);
        self.works(&[hot], false);
        let names = self.names();
        self.works(&cold, false);
        self.clean();
        if self.tool.kind == "pnpm" {
            self.works(&[hot], false);
            self.keeps_a_tree_of(hot);
        }
        // All files look two days old, so the reads of a job from here on are the only sign of use.
        age_all(&self.world.at("cache"), 2.0);
        self.works(&[hot], true);
        let (done, evicted, began) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
        let (installs, failures) = std::thread::scope(|scope| {
            let installing = scope.spawn(|| {
                let (mut installs, mut failures) = (0, Vec::new());
                // Goes on longer on a slow machine, until there were enough of both.
                while began.elapsed() < BUSY
                    || ((installs <= ENOUGH || evicted.load(Ordering::Relaxed) <= ENOUGH)
                        && began.elapsed() < 9 * BUSY)
                {
                    installs += 1;
                    failures.extend(self.install(&[hot], true).err());
                }
                done.store(true, Ordering::Relaxed);
                (installs, failures)
            });
            while !done.load(Ordering::Relaxed) {
                let gone = self.evict();
                evicted.fetch_add(gone, Ordering::Relaxed);
                if gone > 0 {
                    self.works(&cold, false);
                    let _none = fs::remove_dir_all(self.directory(&cold).join("node_modules"));
                    let _none = fs::remove_dir_all(self.directory(&cold).join("out"));
                    let others = self
                        .units_as_they_are()
                        .into_iter()
                        .filter(|unit| !names.contains(&unit.name));
                    others
                        .flat_map(|unit| unit.paths)
                        .for_each(|path| age_all(&path.path(), 2.0));
                }
            }
            installing.join().unwrap()
        });
        let evicted = evicted.into_inner();
        println!(
            "{}: {installs} installs, {} failed; {evicted} units evicted",
            self.tool.name,
            failures.len()
        );
        assert!(
            failures.is_empty(),
            "{} of {installs} installs failed, first: {}",
            failures.len(),
            failures[0]
        );
        assert!(
            installs > ENOUGH && evicted > ENOUGH,
            "{installs} installs, {evicted} units evicted"
        );
    }

    /// Checks that units that lock files name stay, though they are older than the others, and
    /// suffice to install offline (except with pip, which always asks the index).
    fn keeps_what_is_named(&self) {
        let [named, other, another] = self.tool.packages;
        // The second install has a lock file, with which npm sends other requests to the registry.
        self.works(&[named], false);
        self.works(&[named], false);
        let before = self.units();
        let shop = self.world.repo("acme/shop");
        for file in fs::read_dir(self.directory(&[named]))
            .unwrap()
            .map(Result::unwrap)
            .filter(|file| file.file_type().unwrap().is_file())
        {
            // Skips what was built, which is not text.
            let Ok(text) = fs::read_to_string(file.path()) else {
                continue;
            };
            shop.commit(60.0, file.file_name().to_str().unwrap(), &text);
        }
        shop.push();
        self.works(&[other, another], false);
        self.clean();
        age_all(&self.world.at("cache"), 3.0);
        before
            .iter()
            .flat_map(|unit| &unit.paths)
            .for_each(|path| age_all(&path.path(), 300.0));
        self.world.set("eviction", "min_age: 0s");
        self.evict();
        let left = self.names();
        let has = |package: &str| left.iter().any(|name| name.contains(bare(package)));
        assert_eq!(
            [has(named), has(other), has(another)],
            [true, false, false],
            "{left:?}"
        );
        let works_offline = self.tool.kind != "pip";
        self.works(&[named], works_offline);
        if works_offline {
            self.fails_offline(&[other, another]);
        }
        self.works(&[other, another], false);
    }

    /// Keeps a copy of the tree that has the package as hard links.
    fn keeps_a_tree_of(&self, package: &str) {
        let copied = Command::new("cp")
            .arg("-al")
            .arg(self.directory(&[package]).join("node_modules"))
            .arg(self.work.path().join("kept"))
            .status();
        assert!(copied.unwrap().success());
    }

    /// Checks that the tool makes again what it lacks: a part of a unit, half of all units, and all
    /// of them. Its units have no names that the test knows.
    fn makes_again(&self) {
        self.world.set("eviction", "min_age: 0s");
        let all = self.tool.packages;
        self.works(&all, false);
        self.works(&all, false);
        let units = self.units();
        assert!(units.len() >= all.len(), "{units:?}");
        for unit in units.iter().filter(|unit| unit.paths.len() > 1).take(3) {
            for count in 1..unit.paths.len() {
                let units = self.units();
                let unit = units.iter().find(|other| other.name == unit.name).unwrap();
                self.take(unit, count.min(unit.paths.len() - 1));
                self.works(&all, false);
            }
        }
        self.units()
            .iter()
            .step_by(2)
            .for_each(|unit| self.take(unit, unit.paths.len()));
        self.works(&all, false);
        self.clean();
        // What something else in the cache has as hard links goes after that.
        while self.evict() > 0 {}
        assert_eq!(self.units(), []);
        self.works(&all, false);
        assert!(self.units().len() >= all.len());
    }

    /// Checks that eviction never breaks a tool at work, though even units that it is about to use
    /// may be evicted: it holds a lock, or does without what is gone.
    fn is_waited_for(&self) {
        self.world.set("eviction", "min_age: 0s");
        let all = self.tool.packages;
        self.works(&all, false);
        let (done, mut evicted) = (AtomicBool::new(false), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let began = Instant::now();
                while began.elapsed() < BUSY {
                    self.clean();
                    self.works(&all, false);
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                evicted += self.evict();
            }
        });
        assert!(evicted > ENOUGH, "{evicted} units evicted");
        self.works(&all, false);
        self.works(&all, true);
    }

    /// Runs the program once; returns how many units it evicted.
    fn evict(&self) -> usize {
        let units = self.world.pass(1, &["run"]).eviction.units;
        let failed: Vec<_> = units
            .iter()
            .filter(|unit| matches!(unit.outcome, UnitOutcome::Failed(_)))
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
        units
            .iter()
            .filter(|unit| unit.outcome == UnitOutcome::Evicted)
            .count()
    }
}

/// Returns a package's name without its version.
fn bare(package: &str) -> &str {
    package
        .rsplit_once('@')
        .or_else(|| package.rsplit_once('-'))
        .unwrap()
        .0
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::new_v4()
}

/// Depends on each package: `left-pad@1.3.0` becomes `"left-pad": "1.3.0"`.
fn package_json(_: &Bench, directory: &Path, packages: &[&str]) {
    let dependencies = packages.iter().map(|package| {
        let (name, version) = package.rsplit_once('@').unwrap();
        format!("\"{name}\": \"{version}\"")
    });
    let dependencies = dependencies.collect::<Vec<_>>().join(", ");
    fs::write(
        directory.join("package.json"),
        format!(
            "{{\"name\": \"x\", \"version\": \"1.0.0\", \"dependencies\": {{{dependencies}}}}}"
        ),
    )
    .unwrap();
    fs::write(directory.join("yarn.lock"), "").unwrap();
    fs::write(
        directory.join(".yarnrc.yml"),
        "nodeLinker: node-modules\nenableTelemetry: false\nenableGlobalCache: true\n",
    )
    .unwrap();
}

const NODE_PACKAGES: [&str; 3] = ["left-pad@1.3.0", "is-number@7.0.0", "escape-html@1.0.3"];

fn pnpm(install: &'static str) -> Tool {
    Tool {
        kind: "pnpm",
        name: "pnpm",
        packages: NODE_PACKAGES,
        project: package_json,
        install,
    }
}

const PNPM_10: &str =
    "rm -rf node_modules; pnpm-10 install --store-dir $CACHE ${OFFLINE:+--offline}";
const PNPM_12: &str =
    "rm -rf node_modules; pnpm-12 install --store-dir $CACHE ${OFFLINE:+--offline}";

fn yarn_4() -> Tool {
    let install = "rm -rf node_modules; [ -z $OFFLINE ] || export YARN_ENABLE_NETWORK=false; YARN_GLOBAL_FOLDER=$CACHE yarn-4 install";
    Tool {
        kind: "yarn",
        name: "yarn",
        packages: NODE_PACKAGES,
        project: package_json,
        install,
    }
}

fn yarn_1() -> Tool {
    let install = "rm -rf node_modules; YARN_CACHE_FOLDER=$CACHE yarn-1 install --no-progress ${OFFLINE:+--offline}";
    Tool {
        kind: "yarn",
        name: "yarn",
        packages: NODE_PACKAGES,
        project: package_json,
        install,
    }
}

/// bun has no offline switch, but needs no network if the lock file has everything.
fn bun() -> Tool {
    let install = "rm -rf node_modules yarn.lock; [ -z $OFFLINE ] || export HTTPS_PROXY=http://127.0.0.1:1 HTTP_PROXY=http://127.0.0.1:1; BUN_INSTALL_CACHE_DIR=$CACHE bun install --no-progress";
    Tool {
        kind: "bun",
        name: "bun",
        packages: NODE_PACKAGES,
        project: package_json,
        install,
    }
}

/// Deno with a `node_modules`.
fn deno() -> Tool {
    let install =
        "rm -rf node_modules yarn.lock; DENO_DIR=$CACHE deno install ${OFFLINE:+--cached-only}";
    Tool {
        kind: "deno",
        name: "deno",
        packages: NODE_PACKAGES,
        project: package_json,
        install,
    }
}

/// Deno without a `node_modules`: the program reads the cache itself. Deno's own output for
/// `main.ts` is below a hidden directory, because the project is, so it is no unit.
fn deno_run() -> Tool {
    let project: fn(&Bench, &Path, &[&str]) = |_, directory, packages| {
        let imports = packages
            .iter()
            .map(|package| format!("import \"npm:{package}\";\n"));
        fs::write(directory.join("main.ts"), imports.collect::<String>()).unwrap();
        fs::write(directory.join("deno.json"), "{}").unwrap();
    };
    Tool {
        kind: "deno",
        name: "deno",
        packages: NODE_PACKAGES,
        project,
        install: "DENO_DIR=$CACHE deno run ${OFFLINE:+--cached-only} main.ts",
    }
}

fn npm() -> Tool {
    let install = "rm -rf node_modules; npm_config_cache=$CACHE npm install --no-audit --no-fund ${OFFLINE:+--offline}";
    Tool {
        kind: "npm",
        name: "npm",
        packages: NODE_PACKAGES,
        project: package_json,
        install,
    }
}

fn requirements(_: &Bench, directory: &Path, packages: &[&str]) {
    let lines: Vec<String> = packages
        .iter()
        .map(|package| format!("{}\n", package.replacen('-', "==", 1)))
        .collect();
    fs::write(directory.join("requirements.txt"), lines.concat()).unwrap();
    fs::write(directory.join("build.txt"), "setuptools==80.9.0\n").unwrap();
}

/// The last one is built from source.
const PYTHON_PACKAGES: [&str; 3] = ["six-1.17.0", "idna-3.10", "toml-0.10.2"];

fn uv() -> Tool {
    let install = "rm -rf out; UV_CACHE_DIR=$CACHE UV_PYTHON_DOWNLOADS=never uv pip install --no-config --target out --no-deps \
                   --no-binary toml --build-constraint build.txt ${OFFLINE:+--offline} -r requirements.txt; [ -d out ]";
    Tool {
        kind: "uv",
        name: "uv",
        packages: PYTHON_PACKAGES,
        project: requirements,
        install,
    }
}

fn pip() -> Tool {
    // pip always keeps what it builds; the registry decides whether it keeps what it downloads.
    let packages = ["toml-0.10.2", "six-1.17.0", "docopt-0.6.2"];
    let install = "rm -rf out; PIP_CACHE_DIR=$CACHE PIP_CONSTRAINT=build.txt python3 -m pip install --quiet --target out --no-deps \
                   --no-binary toml,six,docopt -r requirements.txt";
    Tool {
        kind: "pip",
        name: "pip",
        packages,
        project: requirements,
        install,
    }
}

const CRATES: [&str; 3] = ["itoa-1.0.15", "cfg-if-1.0.0", "fnv-1.0.7"];

fn cargo() -> Tool {
    let project: fn(&Bench, &Path, &[&str]) = |_, directory, packages| {
        let lines = packages.iter().map(|package| {
            let (name, version) = package.rsplit_once('-').unwrap();
            format!("{name} = \"={version}\"\n")
        });
        let manifest = format!(
            "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n{}",
            lines.collect::<String>()
        );
        fs::write(directory.join("Cargo.toml"), manifest).unwrap();
        fs::create_dir(directory.join("src")).unwrap();
        fs::write(directory.join("src/lib.rs"), "").unwrap();
    };
    let install = "rm -rf target; CARGO_TARGET_DIR=target CARGO_HOME=$CACHE cargo check ${OFFLINE:+--offline}";
    Tool {
        kind: "cargo",
        name: "cargo",
        packages: CRATES,
        project,
        install,
    }
}

const MODULES: [&str; 3] = [
    "example.com/Acme/one@v1.0.0",
    "example.com/two@v0.2.0",
    "example.com/three@v0.3.0",
];

/// Writes a file-based module proxy for Go, with these modules.
const PROXY: &str = r#"
import os, sys, zipfile
for module in sys.argv[1:]:
    path, version = module.split("@")
    directory = "proxy/" + "".join("!" + c.lower() if c.isupper() else c for c in path) + "/@v"
    os.makedirs(directory, exist_ok=True)
    manifest = f"module {path}\n"
    open(f"{directory}/list", "w").write(version + "\n")
    open(f"{directory}/{version}.info", "w").write(f'{{"Version": "{version}"}}')
    open(f"{directory}/{version}.mod", "w").write(manifest)
    with zipfile.ZipFile(f"{directory}/{version}.zip", "w") as archive:
        archive.writestr(f"{module}/go.mod", manifest)
        archive.writestr(f"{module}/x.go", f"package {path.split('/')[-1]}\n\nconst Name = {path!r}\n".replace("'", '"'))
"#;

fn go_project(bench: &Bench, directory: &Path, packages: &[&str]) {
    let made = Command::new("python3")
        .args(["-c", PROXY])
        .args(MODULES)
        .current_dir(bench.work.path())
        .status()
        .unwrap();
    assert!(made.success());
    let modules: Vec<(&str, &str)> = packages
        .iter()
        .map(|package| package.split_once('@').unwrap())
        .collect();
    let each = |line: fn(&str, &str) -> String| {
        modules
            .iter()
            .map(|(path, version)| line(path, version))
            .collect::<String>()
    };
    let requires = each(|path, version| format!("require {path} {version}\n"));
    let imports = each(|path, _| format!("import \"{path}\"\n"));
    let prints = each(|path, _| format!("\tprintln({}.Name)\n", path.rsplit_once('/').unwrap().1));
    fs::write(
        directory.join("go.mod"),
        format!("module example.com/x\n\ngo 1.21\n\n{requires}"),
    )
    .unwrap();
    fs::write(
        directory.join("main.go"),
        format!("package main\n\n{imports}\nfunc main() {{\n{prints}}}\n"),
    )
    .unwrap();
}

fn go_mod() -> Tool {
    let install = "export GOMODCACHE=$CACHE GOCACHE=$WORK/gocache GOPROXY=file://$WORK/proxy GOSUMDB=off GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off; \
                   [ -z $OFFLINE ] || export GOPROXY=off; rm -f out; go build -o out . && ./out && go mod verify";
    Tool {
        kind: "go-mod",
        name: "go-mod",
        packages: MODULES,
        project: go_project,
        install,
    }
}

fn go_build() -> Tool {
    let install = "export GOMODCACHE=$WORK/modules GOCACHE=$CACHE GOPROXY=file://$WORK/proxy GOSUMDB=off GOFLAGS=-mod=mod GOTOOLCHAIN=local GOWORK=off; \
                   rm -f out; go build -o out . && ./out";
    Tool {
        kind: "go-build",
        name: "go-build",
        packages: MODULES,
        project: go_project,
        install,
    }
}

#[test]
fn what_its_tool_holds_stays() {
    let world = World::new();
    world.set("eviction", "budget: 1, min_age: 0s");
    world.set("caches", "{kind: uv, path: cache}");
    let (unit, lock) = (
        world.at("cache/wheels-v7/pypi/six/1.17.0-py3-none-any.http"),
        world.at("cache/.lock"),
    );
    write(&unit, "x");
    write(&lock, "");
    age_all(&world.at("cache"), 2.0);
    let outcome = || {
        let mut units = world.pass(1, &["run"]).eviction.units;
        assert_eq!(
            (units.len(), units[0].unit.as_str()),
            (1, "six-1.17.0-py3-none-any")
        );
        units.remove(0).outcome
    };
    // uv holds this lock while it runs.
    let held = fs::File::open(&lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockShared).unwrap();
    assert_eq!(
        outcome(),
        UnitOutcome::Skipped("its tool is at work and holds `cache/.lock`".to_owned())
    );
    drop(held);
    // A link, FIFO or directory that an agent put there is neither followed nor waited for.
    let elsewhere = world.beside("elsewhere");
    write(&elsewhere, "precious");
    for plant in [
        (|from, to| std::os::unix::fs::symlink(from, to).unwrap()) as fn(&Path, &Path),
        |_, to| fifo(to),
        |_, to| fs::create_dir(to).unwrap(),
    ] {
        super::support::remove(&lock);
        plant(&elsewhere, &lock);
        let outcome = outcome();
        assert!(
            matches!(&outcome, UnitOutcome::Failed(why) if why.starts_with("failed to lock")),
            "{outcome:?}"
        );
    }
    assert!(unit.exists());
    super::support::remove(&lock);
    assert_eq!(outcome(), UnitOutcome::Evicted);
    assert!(!unit.exists() && !lock.exists());
}

/// Defines the tests: `name: tool, what(arguments)`.
macro_rules! tests {
    ($($name:ident: $tool:expr, $what:ident($($expected:expr),*);)*) => {$(
        #[test]
        #[ignore = "needs the tools of .ci/run and their registries"]
        fn $name() {
            Bench::new($tool).$what($($expected),*);
        }
    )*};
}

const AN_HOUR: Duration = Duration::from_hours(1);

tests! {
    npm_withstands: npm(), withstands(&[]);
    cargo_withstands: cargo(), withstands(&[]);
    go_mod_withstands: go_mod(), withstands(&[]);
    uv_withstands: uv(), withstands(&["setuptools"]);
    pnpm_10_withstands: pnpm(PNPM_10), withstands(&[]);
    yarn_1_withstands: yarn_1(), withstands(&[]);
    yarn_4_withstands: yarn_4(), withstands(&[]);
    bun_withstands: bun(), withstands(&[".npm"]);
    deno_withstands: deno(), withstands(&["registry.json"]);
    deno_run_withstands: deno_run(), withstands(&["registry.json"]);
    npm_keeps: npm(), keeps_what_is_named();
    cargo_keeps: cargo(), keeps_what_is_named();
    pip_keeps: pip(), keeps_what_is_named();
    go_mod_keeps: go_mod(), keeps_what_is_named();
    uv_keeps: uv(), keeps_what_is_named();
    pnpm_10_keeps: pnpm(PNPM_10), keeps_what_is_named();
    yarn_1_keeps: yarn_1(), keeps_what_is_named();
    yarn_4_keeps: yarn_4(), keeps_what_is_named();
    bun_keeps: bun(), keeps_what_is_named();
    deno_keeps: deno(), keeps_what_is_named();
    deno_run_keeps: deno_run(), keeps_what_is_named();
    npm_goes_on: npm(), goes_on(AN_HOUR);
    pip_goes_on: pip(), goes_on(AN_HOUR);
    cargo_goes_on: cargo(), goes_on(AN_HOUR);
    go_mod_goes_on: go_mod(), goes_on(AN_HOUR);
    go_build_goes_on: go_build(), goes_on(AN_HOUR);
    uv_goes_on: uv(), goes_on(AN_HOUR);
    uv_is_waited_for: uv(), is_waited_for();
    // These need real time to pass, because a link's change time can't be set back.
    pnpm_10_goes_on: pnpm(PNPM_10), goes_on(Duration::from_secs(2));
    bun_goes_on: bun(), goes_on(Duration::from_secs(2));
    deno_goes_on: deno(), goes_on(Duration::from_secs(2));
    deno_run_goes_on: deno_run(), goes_on(Duration::from_secs(2));
    pnpm_12_goes_on: pnpm(PNPM_12), goes_on(Duration::from_secs(2));
    yarn_1_goes_on: yarn_1(), goes_on(AN_HOUR);
    ccache_makes_again: ccache(), makes_again();
    ccache_goes_on: ccache(), goes_on(AN_HOUR);
    ccache_does_without: ccache(), is_waited_for();
    sccache_makes_again: sccache(), makes_again();
    sccache_goes_on: sccache(), goes_on(AN_HOUR);
    sccache_does_without: sccache(), is_waited_for();
    turbo_makes_again: turbo(), makes_again();
    turbo_goes_on: turbo(), goes_on(AN_HOUR);
    turbo_does_without: turbo(), is_waited_for();
    bazel_makes_again: bazel(), makes_again();
    bazel_goes_on: bazel(), goes_on(AN_HOUR);
    bazel_does_without: bazel(), is_waited_for();
    npx_makes_again: npx(), makes_again();
    npx_goes_on: npx(), goes_on(AN_HOUR);
    uv_run_makes_again: uv_run(), makes_again();
    uv_run_goes_on: uv_run(), goes_on(AN_HOUR);
    uv_run_is_waited_for: uv_run(), is_waited_for();
    huggingface_withstands: huggingface(), withstands(&[]);
    huggingface_makes_again: huggingface_shared(), makes_again();
    huggingface_goes_on: huggingface(), goes_on(AN_HOUR);
    huggingface_shared_goes_on: huggingface_shared(), goes_on(AN_HOUR);
    yarn_4_goes_on: yarn_4(), goes_on(AN_HOUR);
}
