//! Tools whose caches hold what they built, and hubs that they fetch from.

use super::{Bench, Tool, bare};
use crate::support::{World, write};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Three things to build or to fetch, each with a version that only the harness reads.
const PARTS: [&str; 3] = ["one-1", "two-1", "three-1"];

/// Writes a C program for each part.
fn sources(_: &Bench, directory: &Path, parts: &[&str]) {
    for part in parts {
        let name = bare(part);
        let text = format!("const char *{name}(void) {{ return \"{name}\"; }}\n");
        fs::write(directory.join(format!("{name}.c")), text).unwrap();
    }
}

/// Compiles each part with `$CC`, and compares it with what the compiler makes.
const COMPILE: &str = "rm -rf out; mkdir out; for file in *.c; do $CC -c $file -o out/$file.o; \
                       cc -c $file -o out/plain.o; cmp out/$file.o out/plain.o; done";

fn compiler(kind: &'static str, install: String) -> Tool {
    Tool {
        kind,
        name: kind,
        packages: PARTS,
        project: sources,
        install: install.leak(),
    }
}

/// ccache, which stores objects as files of their own.
pub(super) fn ccache() -> Tool {
    compiler(
        "ccache",
        format!("export CCACHE_DIR=$CACHE CCACHE_FILECLONE=1 CC='ccache cc'; {COMPILE}"),
    )
}

/// sccache, with a server that outlives each build.
pub(super) fn sccache() -> Tool {
    compiler(
        "sccache",
        format!(
            "export SCCACHE_DIR=$CACHE SCCACHE_SERVER_UDS=$WORK/socket SCCACHE_IDLE_TIMEOUT=5 \
             SCCACHE_DIRECT=true CC='sccache cc'; {COMPILE}"
        ),
    )
}

/// Turborepo: a workspace with a package for each part.
pub(super) fn turbo() -> Tool {
    let project: fn(&Bench, &Path, &[&str]) = |_, directory, parts| {
        let write = |path: &str, text: &str| {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let root = r#"{"name": "x", "packageManager": "npm@11.0.0", "workspaces": ["parts/*"]}"#;
        write("package.json", root);
        write(
            "turbo.json",
            r#"{"tasks": {"build": {"outputs": ["out/**"]}}}"#,
        );
        for name in parts.iter().map(|part| bare(part)) {
            let build = r#"{"build": "mkdir -p out && cp source out/made"}"#;
            let manifest =
                format!(r#"{{"name": "{name}", "version": "1.0.0", "scripts": {build}}}"#);
            write(&format!("parts/{name}/package.json"), &manifest);
            write(&format!("parts/{name}/source"), name);
        }
    };
    let install = "rm -rf parts/*/out; export TURBO_TELEMETRY_DISABLED=1 TURBO_CACHE_DIR=$CACHE; \
                   turbo run build; for part in parts/*; do cmp $part/source $part/out/made; done";
    Tool {
        kind: "turbo",
        name: "turbo",
        packages: PARTS,
        project,
        install,
    }
}

/// Bazel, with the disk cache and the repository cache in one directory. For each part there is an
/// archive that it downloads, and an action that copies what is in there.
pub(super) fn bazel() -> Tool {
    let project: fn(&Bench, &Path, &[&str]) = |_, directory, parts| {
        let names: Vec<&str> = parts.iter().map(|part| bare(part)).collect();
        let made = Command::new("bash")
            .args(["-euc", BAZEL_PROJECT, "bash"])
            .args(names)
            .current_dir(directory)
            .status();
        assert!(made.unwrap().success());
    };
    let install = "build() { bazel --output_user_root=$WORK/bases --max_idle_secs=10 \
                   --host_jvm_args=-Xmx256m $@ --repository_cache=$CACHE/cache/repos/v1; }; \
                   build clean; build sync $(printf -- '--only=%s ' $(basename -s .tar *.tar)); \
                   build build --disk_cache=$CACHE //:all; \
                   for name in *.tar; do cmp $name.txt bazel-bin/${name%.tar}.out; done";
    Tool {
        kind: "bazel",
        name: "bazel",
        packages: PARTS,
        project,
        install,
    }
}

const BAZEL_PROJECT: &str = r#"
echo 'load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")' >WORKSPACE
for name; do
    mkdir data
    echo 'exports_files(["data"])' >data/BUILD
    echo $name | tee $name.tar.txt >data/data
    touch data/WORKSPACE
    tar -C data --sort=name --mtime=@0 --owner=0 --group=0 -cf $name.tar .
    rm -r data
    sum=$(sha256sum $name.tar | cut -d' ' -f1)
    echo "http_archive(name = '$name', urls = ['file://$PWD/$name.tar'], sha256 = '$sum')" >>WORKSPACE
    echo "genrule(name = '$name', srcs = ['@$name//:data'], outs = ['$name.out'], cmd = 'cp \$< \$@')" >>BUILD
done
"#;

/// An output base stays as long as its workspace or its server does.
#[test]
#[ignore = "needs the tools of .ci/run"]
fn an_output_base_of_bazel_goes_after_its_workspace() {
    let world = World::new();
    world.set("eviction", "budget: 1, min_age: 0s");
    world.set("caches", "{kind: bazel, path: bazel}");
    let (workspace, away) = (world.at("trees/one"), world.beside("away"));
    write(&workspace.join("WORKSPACE"), "");
    let action = "genrule(name = 'one', outs = ['one.out'], cmd = 'echo one >$@')\n";
    write(&workspace.join("BUILD"), action);
    let bazel = |command: &[&str]| {
        let ran = Command::new("bazel")
            .arg(format!(
                "--output_user_root={}",
                world.at("bazel").display()
            ))
            .args(["--max_idle_secs=10", "--host_jvm_args=-Xmx256m"])
            .args(command)
            .current_dir(&workspace)
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    };
    let evicted = || world.pass(1, &["run"]).eviction.units.len();
    bazel(&["build", "//:one"]);
    assert_eq!(evicted(), 0);
    fs::rename(&workspace, &away).unwrap();
    assert_eq!(evicted(), 0);
    fs::rename(&away, &workspace).unwrap();
    bazel(&["shutdown"]);
    assert_eq!(evicted(), 0);
    fs::rename(&workspace, &away).unwrap();
    assert_eq!(evicted(), 1);
    fs::rename(&away, &workspace).unwrap();
    bazel(&["build", "//:one"]);
    bazel(&["shutdown"]);
}

/// Programs of npm packages, run by `npx`.
pub(super) fn npx() -> Tool {
    let install = "for package in $(cat packages); do \
                   npm_config_cache=$CACHE npx ${OFFLINE:+--offline} --yes $package --version; done";
    Tool {
        kind: "npm",
        name: "npm",
        packages: ["mkdirp@3.0.1", "mime@3.0.0", "json5@2.2.3"],
        project: |_, directory, packages| {
            fs::write(directory.join("packages"), packages.join(" ")).unwrap();
        },
        install,
    }
}

/// Scripts with dependencies, and a tool, each in an environment that uv keeps in its cache.
pub(super) fn uv_run() -> Tool {
    let project: fn(&Bench, &Path, &[&str]) = |_, directory, packages| {
        for package in packages {
            let spec = package.replacen('-', "==", 1);
            let name = bare(package);
            let script = format!(
                "# /// script\n# dependencies = [\"{spec}\"]\n# ///\nimport {name}\nassert {name}.__file__\n"
            );
            fs::write(directory.join(format!("{name}.py")), script).unwrap();
        }
    };
    let install = "export UV_CACHE_DIR=$CACHE UV_PYTHON_DOWNLOADS=never; \
                   for script in *.py; do uv run ${OFFLINE:+--offline} --script $script; done; \
                   uvx ${OFFLINE:+--offline} --from pycowsay==0.0.0.2 pycowsay moo";
    Tool {
        kind: "uv",
        name: "uv",
        packages: ["six-1.17.0", "idna-3.10", "toml-0.10.2"],
        project,
        install,
    }
}

/// Serves a hub, and fetches two files of each model that it is told of. `SHARED` also moves what
/// was fetched to where models share it, as the library itself does with a hub that has Xet.
const HUB: &str = r#"
import hashlib, http.server, os, sys, threading

def content(path):
    return (path * 1000).encode()

class Hub(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        data = content(self.path)
        self.send_response(200)
        self.send_header("X-Repo-Commit", "a" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        return data

    def do_GET(self):
        self.wfile.write(self.do_HEAD())

    def log_message(self, *_):
        pass

hub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{hub.server_port}"
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import _shared_blobs

for model in sys.argv[1:]:
    for file in ["config.json", "weights/model.bin"]:
        path = hf_hub_download(f"acme/{model}", file)
        want = content(f"/acme/{model}/resolve/main/{file}")
        assert open(path, "rb").read() == want, path
        blob = os.path.join(os.path.dirname(path), os.readlink(path))
        if "SHARED" in os.environ and not os.path.islink(blob):
            assert _shared_blobs.publish_blob_to_shared_store(
                blob_path=blob, xet_hash=os.path.basename(blob),
                cache_dir=os.environ["HF_HUB_CACHE"], expected_size=len(want))
"#;

fn hub(install: &'static str) -> Tool {
    let project: fn(&Bench, &Path, &[&str]) = |_, directory, parts| {
        let names: Vec<&str> = parts.iter().map(|part| bare(part)).collect();
        fs::write(directory.join("models"), names.join(" ")).unwrap();
        fs::write(directory.join("hub.py"), HUB).unwrap();
    };
    Tool {
        kind: "huggingface",
        name: "huggingface",
        packages: PARTS,
        project,
        install,
    }
}

pub(super) fn huggingface() -> Tool {
    hub(
        "export HF_HUB_CACHE=$CACHE HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=${OFFLINE:+1}; \
         python3 hub.py $(cat models)",
    )
}

pub(super) fn huggingface_shared() -> Tool {
    hub(
        "export HF_HUB_CACHE=$CACHE HF_HUB_DISABLE_TELEMETRY=1 SHARED=1; python3 hub.py $(cat models)",
    )
}
