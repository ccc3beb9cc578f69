//! Gradle: its own cache beside the build, and what each of its plugins writes into `build`,
//! recognised by its shapes.

use super::account::{Opinion, Says, Tool, extensions, files, opinion};
use super::directory::{Directory, beside, ends_with};
use super::ecosystem::Ecosystem;

pub(super) static GRADLE: Ecosystem = Ecosystem {
    output: &[CACHE, BUILD],
    ..Ecosystem::named("Gradle")
};

const CACHE: Tool = Tool {
    signs: &[],
    made: |parent, name| name == ".gradle" && beside(parent, &SCRIPTS, name, &["."]),
    account: |_| cache(),
};
const BUILD: Tool = Tool {
    signs: &[],
    made: |parent, name| {
        name == "build"
            && beside(
                parent,
                &SCRIPTS,
                name,
                &["classes", "intermediates", "kotlin", "tmp"],
            )
    },
    account: |_| build(),
};

const SCRIPTS: [&str; 4] = [
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
];

fn cache() -> Opinion {
    let shaped = |name: &str| {
        ends_with(
            name,
            &[
                "bin",
                "lock",
                "probe",
                "properties",
                "salive",
                "metadata",
                "class",
                "db",
                "ser",
            ],
        ) || name.starts_with("workspace-id.txt")
    };
    files(shaped)
}

/// The directories of Gradle's own plugins, and the extensions in each.
const MADE: [(&str, &[&str]); 14] = [
    (
        "classes",
        &["class", "kotlin_module", "kotlin_builtins", "MF"],
    ),
    ("distributions", &["zip", "tar", "tgz", "gz"]),
    (
        "docs",
        &[
            "css", "html", "js", "svg", "png", "zip", "gif", "ttf", "woff", "woff2",
        ],
    ),
    (
        "generated",
        &[
            "java",
            "kt",
            "class",
            "properties",
            "json",
            "xml",
            "pb",
            "proto",
        ],
    ),
    ("install", &["jar", "bat"]),
    (
        "intermediates",
        &[
            "class",
            "dex",
            "flat",
            "jar",
            "json",
            "bin",
            "xml",
            "so",
            "txt",
            "properties",
            "ap_",
        ],
    ),
    ("jacoco", &["exec"]),
    (
        "kotlin",
        &[
            "bin",
            "tab",
            "tab_i",
            "keystream",
            "len",
            "values",
            "at",
            "s",
            "jar",
            "lock",
        ],
    ),
    ("libs", &["jar", "war", "module", "klib", "aar"]),
    ("outputs", &["aar", "apk", "json", "txt", "xml", "aab"]),
    (
        "reports",
        &[
            "css", "gif", "html", "js", "png", "sarif", "svg", "xml", "csv",
        ],
    ),
    ("scripts", &["bat"]),
    ("test-results", &["bin", "xml", "idx"]),
    (
        "tmp",
        &[
            "MF",
            "bin",
            "class",
            "java",
            "jar",
            "properties",
            "xml",
            "flat",
            "kt",
            "lst",
        ],
    ),
];

fn build() -> Opinion {
    opinion(|_, directory, kind| {
        if directory == "resources" && kind.is_dir() {
            return Says::Below(opinion(|_, set, kind| {
                if kind.is_dir() {
                    Says::Below(super::maven::resources(set.to_owned(), String::new()))
                } else {
                    Says::Nothing
                }
            }));
        }
        let made = MADE
            .iter()
            .find(|(name, _)| *name == directory && kind.is_dir());
        let Some(&(name, shapes)) = made else {
            return (!kind.is_dir() && directory == ".transforms").into();
        };
        // A report or a class is in the directory of its task or source set. Only archives,
        // JaCoCo's data and start scripts are directly in here.
        let flat = ["distributions", "jacoco", "libs", "scripts"].contains(&name);
        let start_script = move |directory: &Directory, file: &str| {
            matches!(name, "scripts" | "install")
                && directory.text(file).is_some_and(|text| {
                    text.contains("Gradle start up script") || text.contains("DEFAULT_JVM_OPTS")
                })
        };
        let own_page =
            move |file: &str| name == "reports" && file.starts_with("configuration-cache");
        Says::Below(opinion(move |directory, file, kind| match kind.is_dir() {
            true if name == "install" => Says::Below(start_scripts()),
            true => Says::Below(extensions(shapes)),
            false => ((flat && ends_with(file, shapes))
                || start_script(directory, file)
                || own_page(file))
            .into(),
        }))
    })
}

/// Claims an installed application: its archives, and the scripts that start it.
fn start_scripts() -> Opinion {
    opinion(|directory, name, kind| {
        if kind.is_dir() {
            return Says::Below(start_scripts());
        }
        (ends_with(name, &["jar", "bat"])
            || directory
                .text(name)
                .is_some_and(|text| text.contains("DEFAULT_JVM_OPTS")))
        .into()
    })
}
