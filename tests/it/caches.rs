//! Real caches of real tools: the survey lists their contents as units, and each tool still works
//! when all of them are gone.
//!
//! Ignored by default, because it needs the tools and their registries:
//! `cargo test --test it -- --ignored caches`.

#![expect(
    clippy::disallowed_methods,
    reason = "it runs real tools, and lets units of a temporary cache vanish"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use treewarden::config::policy;
use treewarden::ecosystems::last_use::LastUseProbe;
use treewarden::ecosystems::lister::Inspection;
use treewarden::facts::cache::{Size, Unit};
use treewarden::fs::stop::Stop;
use treewarden::fs::volume_path::VolumePath;
use treewarden::survey::caches;
use treewarden::survey::size;

/// Serves the working directory as a package index: pip caches only responses with an `ETag` or a
/// maximum age.
const SERVER: &str = r#"
import http.server, subprocess, sys, threading
class Handler(http.server.SimpleHTTPRequestHandler):
    def end_headers(self):
        self.send_header("ETag", '"1"')
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/unit-1.0-py3-none-any.whl"
command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-index", "--trusted-host", "127.0.0.1", "-d", "out", url]
sys.exit(subprocess.run(command).returncode)
"#;

/// Writes the smallest wheel that pip accepts.
const WHEEL: &str = r#"
import zipfile
with zipfile.ZipFile("unit-1.0-py3-none-any.whl", "w") as wheel:
    info = "unit-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: unit\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
"#;

/// A volume with one cache, and a working directory beside it.
struct Bench {
    volume: TempDir,
    work: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            volume: tempfile::tempdir().unwrap(),
            work: tempfile::tempdir().unwrap(),
        }
    }

    fn cache(&self) -> std::path::PathBuf {
        self.volume.path().join("cache")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.work.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs a tool in the working directory, with `variable` set to the cache. It must succeed.
    fn run(&self, variable: &str, command: &[&str]) {
        let mut tool = Command::new(command[0]);
        tool.args(&command[1..])
            .current_dir(self.work.path())
            .env(variable, self.cache());
        tool.env_remove("PIP_FIND_LINKS")
            .env_remove("PIP_NO_CACHE_DIR");
        let Output { status, stderr, .. } = tool.output().unwrap();
        assert!(
            status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
    }

    fn units(&self, kind: &str) -> Vec<Unit> {
        let root: Arc<Path> = self.volume.path().canonicalize().unwrap().into();
        let place = Some(VolumePath::new(&root, Path::new("cache")).unwrap());
        let policy = policy::Cache {
            name: "real".into(),
            kind: treewarden::ecosystems::kind(kind).unwrap(),
            place,
            outside: None,
            depth: 1,
            min_age: Duration::ZERO,
            reserve: Size::default(),
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
        seen.units
    }

    /// Checks the units, removes them all, and checks that `refill` restores the same ones.
    fn proves(&self, kind: &str, expected: &[&str], refill: impl Fn()) {
        let units = self.units(kind);
        assert_eq!(
            names(&units),
            expected.iter().map(ToString::to_string).collect()
        );
        for unit in &units {
            assert!(
                size::size(&unit.paths, &treewarden::fs::stop::Stop::never())
                    .unwrap()
                    .inodes
                    > 0,
                "{}",
                unit.name
            );
            for path in unit.paths.iter().map(VolumePath::path) {
                if path.is_dir() {
                    fs::remove_dir_all(path).unwrap();
                } else {
                    fs::remove_file(path).unwrap();
                }
            }
        }
        assert_eq!(self.units(kind), []);
        refill();
        assert_eq!(names(&self.units(kind)), names(&units));
    }
}

fn names(units: &[Unit]) -> BTreeSet<String> {
    units.iter().map(|unit| unit.name.clone()).collect()
}

#[test]
#[ignore = "needs npm, pip, go and cargo with registries"]
fn npm() {
    let bench = Bench::new();
    bench.write("package.json", r#"{"name": "x", "version": "1.0.0"}"#);
    let install = |package: &str| {
        bench.run(
            "npm_config_cache",
            &[
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--prefer-offline",
                package,
            ],
        );
    };
    install("left-pad@1.3.0");
    install("is-number@7.0.0");
    let expected = [
        "is-number (metadata)",
        "is-number-7.0.0.tgz",
        "left-pad (metadata)",
        "left-pad-1.3.0.tgz",
    ];
    // Without a lock file npm needs the metadata; with `--prefer-offline` it trusts the cached
    // index, however old.
    bench.proves("npm", &expected, || {
        fs::remove_dir_all(bench.work.path().join("node_modules")).unwrap();
        fs::remove_file(bench.work.path().join("package-lock.json")).unwrap();
        bench.run(
            "npm_config_cache",
            &[
                "npm",
                "install",
                "--no-audit",
                "--no-fund",
                "--prefer-offline",
            ],
        );
    });
}

#[test]
#[ignore = "needs npm, pip, go and cargo with registries"]
fn cargo() {
    let bench = Bench::new();
    bench.write("Cargo.toml", "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nitoa = \"=1.0.18\"\n");
    bench.write("src/lib.rs", "");
    let fetch = || bench.run("CARGO_HOME", &["cargo", "fetch"]);
    fetch();
    bench.proves("cargo", &["itoa-1.0.18"], fetch);
}

#[test]
#[ignore = "needs npm, pip, go and cargo with registries"]
fn cargo_git() {
    let bench = Bench::new();
    bench.write(
        "dependency/Cargo.toml",
        "[package]\nname = \"dependency\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    );
    bench.write("dependency/src/lib.rs", "");
    let dependency = bench.work.path().join("dependency").display().to_string();
    for arguments in [
        &["init", "-q"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@x",
            "commit",
            "-qm",
            "x",
        ],
    ] {
        bench.run(
            "UNUSED",
            &[&["git", "-C", &dependency][..], arguments].concat(),
        );
    }
    let manifest = format!(
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\ndependency = {{git = \"file://{dependency}\"}}\n"
    );
    bench.write("Cargo.toml", &manifest);
    bench.write("src/lib.rs", "");
    let fetch = || bench.run("CARGO_HOME", &["cargo", "fetch"]);
    fetch();
    let units = bench.units("cargo");
    assert_eq!((units.len(), units[0].paths.len()), (1, 2), "{units:?}");
    assert!(units[0].name.starts_with("git db dependency-"), "{units:?}");
    bench.proves("cargo", &[&units[0].name], fetch);
}

#[test]
#[ignore = "needs npm, pip, go and cargo with registries"]
fn pip() {
    let bench = Bench::new();
    bench.run("UNUSED", &["python3", "-c", WHEEL]);
    let download = || {
        let _gone = fs::remove_dir_all(bench.work.path().join("out"));
        bench.run("PIP_CACHE_DIR", &["python3", "-c", SERVER]);
    };
    download();
    // The digest in the name depends on the URL, and so on the port: one unit, of two files or,
    // with an older pip, of one.
    let units = bench.units("pip");
    let paths = if units[0].name.contains("http-v2/") {
        2
    } else {
        1
    };
    assert_eq!((units.len(), units[0].paths.len()), (1, paths), "{units:?}");
    for path in units[0].paths.iter().map(VolumePath::path) {
        fs::remove_file(path).unwrap();
    }
    download();
    assert_eq!(bench.units("pip").len(), 1);
}

#[test]
#[ignore = "needs npm, pip, go and cargo with registries"]
fn pip_wheels() {
    let bench = Bench::new();
    // pip builds the registry's source archive, and caches the wheel.
    let build = || {
        let _gone = fs::remove_dir_all(bench.work.path().join("out"));
        bench.run(
            "PIP_CACHE_DIR",
            &[
                "python3",
                "-m",
                "pip",
                "wheel",
                "--no-deps",
                "--no-binary",
                "toml",
                "-w",
                "out",
                "toml==0.10.2",
            ],
        );
    };
    build();
    let wheels = || {
        bench
            .units("pip")
            .into_iter()
            .filter(|unit| !unit.name.contains("http"))
            .collect::<Vec<_>>()
    };
    let units = wheels();
    assert!(
        names(&units).contains("toml-0.10.2-py2.py3-none-any.whl"),
        "{units:?}"
    );
    for path in units
        .iter()
        .flat_map(|unit| &unit.paths)
        .map(VolumePath::path)
    {
        fs::remove_dir_all(path).unwrap();
    }
    build();
    assert_eq!(names(&wheels()), names(&units));
}

#[test]
#[ignore = "needs npm, pip, go and cargo with registries"]
fn go_build() {
    let bench = Bench::new();
    bench.write("go.mod", "module example.com/x\n");
    bench.write("main.go", "package main\n\nfunc main() {}\n");
    // Go 1.20 and newer index a directory only if its files are at least 2 s old. Old times avoid a
    // further unit in the second build.
    let old = fs::FileTimes::new()
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 50));
    for name in ["go.mod", "main.go"] {
        fs::File::open(bench.work.path().join(name))
            .unwrap()
            .set_times(old)
            .unwrap();
    }
    let build = || {
        // Go reuses an existing output as far as it can.
        let _gone = fs::remove_file(bench.work.path().join("out"));
        bench.run("GOCACHE", &["go", "build", "-o", "out", "."]);
    };
    build();
    let units = names(&bench.units("go-build"));
    assert!(
        units.iter().any(|name| name.ends_with("-a"))
            && units.iter().any(|name| name.ends_with("-d")),
        "{units:?}"
    );
    let expected: Vec<&str> = units.iter().map(String::as_str).collect();
    bench.proves("go-build", &expected, build);
}
