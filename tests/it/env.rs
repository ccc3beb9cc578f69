//! `treewarden env`: the output of each format, as its readers parse it, and where the real tools
//! then find their caches.

use super::support::{World, git, map, same, write};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use treewarden::commands::agent::env;
use treewarden::ecosystems;

const CACHES: &str = "{kind: pip, path: c/pip}, {kind: uv, path: c/uv}, {kind: go-mod, path: c/go/mod}, {kind: go-build, path: c/go/build}, \
                      {kind: npm, path: c/npm}, {kind: pnpm, path: c/pnpm}, {kind: yarn, path: c/yarn}, {kind: bun, path: c/bun}, {kind: deno, path: c/deno}, {kind: cargo, path: c/cargo}, {kind: cargo-target, path: c/target}, \
                      {kind: ccache, path: c/ccache}, {kind: sccache, path: c/sccache}, {kind: turbo, path: c/turbo}, {kind: bazel, path: c/bazel}, {kind: huggingface, path: c/hub}, \
                      {kind: folder, name: models, path: c/models}, {kind: build-output}";

/// Returns the variables, with the volume's root removed from their values.
fn expected() -> BTreeMap<String, String> {
    map(&[
        ("BUN_INSTALL_CACHE_DIR", "c/bun"),
        ("CARGO_HOME", "c/cargo"),
        ("CARGO_TARGET_DIR", "c/target"),
        ("CCACHE_DIR", "c/ccache"),
        ("DENO_DIR", "c/deno"),
        ("GOCACHE", "c/go/build"),
        ("GOMODCACHE", "c/go/mod"),
        ("HF_HUB_CACHE", "c/hub"),
        ("PIP_CACHE_DIR", "c/pip"),
        ("SCCACHE_DIR", "c/sccache"),
        ("TURBO_CACHE_DIR", "c/turbo"),
        ("UV_CACHE_DIR", "c/uv"),
        ("YARN_CACHE_FOLDER", "c/yarn"),
        ("YARN_GLOBAL_FOLDER", "c/yarn"),
        ("npm_config_cache", "c/npm"),
        ("npm_config_store_dir", "c/pnpm"),
        ("pnpm_config_store_dir", "c/pnpm"),
    ])
}

fn printed(world: &World, format: &str) -> String {
    let ran = world.treewarden(&["env", "--format", format]);
    assert!(ran.code == 0 && ran.err.is_empty(), "{format}: {ran:?}");
    ran.out
}

fn below(
    world: &World,
    values: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let root = format!("{}/", world.root.display());
    values
        .into_iter()
        .map(|(name, value)| (name, value.strip_prefix(&root).unwrap_or(&value).to_owned()))
        .collect()
}

/// A new tool has to be added to the list above.
#[test]
fn every_tool_is_told_of_its_cache() {
    let known: BTreeSet<&str> = ecosystems::layouts()
        .flat_map(|layout| (layout.variables)(Path::new("/")))
        .map(|(name, _)| name)
        .collect();
    let told = expected();
    assert_eq!(
        told.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
}

#[test]
fn every_format_says_the_same() {
    let world = World::new();
    world.set("caches", CACHES);
    let pairs = |lines: &str| {
        lines
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Vec<_>>()
    };
    let json: BTreeMap<String, String> = serde_json::from_str(&printed(&world, "json")).unwrap();
    same("json", &below(&world, json), &expected());
    same(
        "dotenv",
        &below(&world, pairs(&printed(&world, "dotenv"))),
        &expected(),
    );
    let shell = format!("eval \"$({} env)\"; env", env!("CARGO_BIN_EXE_treewarden"));
    let said = world.program("sh", &["-c", &shell]).out;
    let ours = pairs(&said)
        .into_iter()
        .filter(|(name, _)| expected().contains_key(name));
    same("shell", &below(&world, ours), &expected());
    let map: serde_yaml::Value = serde_yaml::from_str(&printed(&world, "configmap")).unwrap();
    assert_eq!(
        (
            map["apiVersion"].as_str(),
            map["kind"].as_str(),
            map["metadata"]["name"].as_str()
        ),
        (Some("v1"), Some("ConfigMap"), Some("treewarden-env"))
    );
    let data: BTreeMap<String, String> = serde_yaml::from_value(map["data"].clone()).unwrap();
    same("configmap", &below(&world, data), &expected());
}

#[test]
fn npm_is_told_of_the_directory_above_its_cacache() {
    let config = "volume: {root: /data}\nrepos: []\ncaches: [{kind: npm, path: c/npm/_cacache}]\n";
    let variables = env::variables(&treewarden::config::parse("test", config).unwrap());
    let said = env::render(&variables, env::Format::Dotenv).unwrap();
    assert_eq!(said, "npm_config_cache=/data/c/npm\n");
}

#[test]
fn the_oddest_path_is_quoted_right() {
    let world = World::new();
    for odd in [
        "with space",
        "it's",
        "$HOME `id` $(id) \"x\" #;&|*?",
        "über ✓",
        "- : {a: b}",
        "!x",
    ] {
        let policy = treewarden::config::parse(
            "test",
            &format!(
                "volume: {{root: /data}}\nrepos: []\ncaches: [{{kind: npm, path: {}}}]\n",
                serde_json::to_string(odd).unwrap()
            ),
        );
        let variables = env::variables(&policy.unwrap());
        let value = format!("/data/{odd}");
        let said = |format| env::render(&variables, format).unwrap();
        let shell = format!(
            "{}printf %s \"$npm_config_cache\"",
            said(env::Format::Shell)
        );
        assert_eq!(world.program("sh", &["-c", &shell]).out, value);
        assert_eq!(world.program("bash", &["-c", &shell]).out, value);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&said(env::Format::Json)).unwrap()["npm_config_cache"],
            *value
        );
        let map: serde_yaml::Value = serde_yaml::from_str(&said(env::Format::Configmap)).unwrap();
        assert_eq!(
            map["data"]["npm_config_cache"].as_str(),
            Some(value.as_str())
        );
        if let Ok(dotenv) = env::render(&variables, env::Format::Dotenv) {
            assert_eq!(dotenv, format!("npm_config_cache='{value}'\n"));
            assert_eq!(
                world
                    .program(
                        "sh",
                        &["-c", &format!("{dotenv}printf %s \"$npm_config_cache\"")]
                    )
                    .out,
                value
            );
        }
    }
}

#[test]
#[ignore = "needs the tools of .ci/run"]
fn every_tool_finds_its_cache_on_the_volume() {
    let world = World::new();
    world.set("caches", CACHES);
    let shop = world.repo("acme/shop");
    // Cargo has no command that prints it, so the test looks at where it fetches to.
    let dependency = world.beside("dependency");
    write(
        &dependency.join("Cargo.toml"),
        "[package]\nname = \"dependency\"\nversion = \"0.1.0\"\n",
    );
    write(&dependency.join("src/lib.rs"), "");
    git(&dependency, 60.0, &["init", "-q", "--template=", "."]);
    git(&dependency, 60.0, &["add", "."]);
    git(&dependency, 60.0, &["commit", "-q", "-m", "x"]);
    write(&shop.path.join("src/lib.rs"), "");
    let manifest = format!(
        "[package]\nname = \"x\"\nversion = \"0.1.0\"\n[dependencies]\ndependency = {{git = \"file://{}\"}}\n",
        dependency.display()
    );
    write(&shop.path.join("Cargo.toml"), manifest);
    write(&shop.path.join("berry/package.json"), "{\"name\": \"x\"}\n");
    write(&shop.path.join("berry/yarn.lock"), "");
    let table = [
        ("pip", "pip cache dir", "c/pip"),
        ("uv", "uv cache dir", "c/uv"),
        ("go-mod", "go env GOMODCACHE", "c/go/mod"),
        ("go-build", "go env GOCACHE", "c/go/build"),
        ("npm", "npm config get cache", "c/npm"),
        ("pnpm 10", "pnpm-10 store path", "c/pnpm/v10"),
        ("pnpm 12", "pnpm-12 store path", "c/pnpm/v11"),
        ("bun", "bun pm cache", "c/bun"),
        (
            "deno",
            "deno info --json | sed -n 's/.*\"denoDir\": \"\\(.*\\)\".*/\\1/p'",
            "c/deno",
        ),
        ("yarn 1", "yarn-1 --silent cache dir", "c/yarn/v6"),
        (
            "yarn 4",
            "cd berry; yarn-4 config get cacheFolder",
            "c/yarn/cache",
        ),
        ("ccache", "ccache --get-config cache_dir", "c/ccache"),
        (
            "sccache",
            "export SCCACHE_SERVER_UDS=$PWD/socket SCCACHE_IDLE_TIMEOUT=5; echo 'int x;' >x.c; \
             sccache cc -c x.c; sccache --stop-server >/dev/null; ls -d $SCCACHE_DIR/?/? | sed 's|/./.$||'",
            "c/sccache",
        ),
        (
            "turbo",
            "mkdir turbo && cd turbo && echo '{\"name\": \"x\", \"packageManager\": \"npm@11.0.0\", \"scripts\": {\"build\": \"true\"}}' >package.json; \
             echo '{\"tasks\": {\"build\": {}}}' >turbo.json; TURBO_TELEMETRY_DISABLED=1 turbo run build >out; \
             ls $TURBO_CACHE_DIR/*.zst | sed 's|/[^/]*$||'",
            "c/turbo",
        ),
        (
            "huggingface",
            "python3 -c 'from huggingface_hub import constants; print(constants.HF_HUB_CACHE)'",
            "c/hub",
        ),
        (
            "cargo",
            "cargo fetch --quiet; ls -d $CARGO_HOME/git/db/dependency-* | sed 's|/git/.*||'",
            "c/cargo",
        ),
        (
            "cargo-target",
            "cargo metadata --no-deps --format-version 1 | grep -o '\"target_directory\":\"[^\"]*' | cut -d'\"' -f4",
            "c/target",
        ),
    ];
    // Rustup's cargo finds its toolchain through the home directory.
    let home = std::env::var("HOME").unwrap();
    let told = table.iter().map(|(tool, ask, _)| {
        let ran = world.treewarden(&[
            "exec",
            "acme/shop",
            "--",
            "sh",
            "-c",
            &format!("export HOME={home}; {ask}"),
        ]);
        (
            (*tool).to_owned(),
            if ran.code == 0 {
                ran.out.trim().to_owned()
            } else {
                format!("{ran:?}")
            },
        )
    });
    let expected = table
        .iter()
        .map(|(tool, _, place)| ((*tool).to_owned(), (*place).to_owned()))
        .collect();
    same("caches", &below(&world, told), &expected);
}
