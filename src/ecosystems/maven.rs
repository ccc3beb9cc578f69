//! Maven's `target`: classes, copies of the resources, test reports, archives. A file is a copy
//! only if the sources have a resource of that path.

use super::account::{Opinion, Says, Tool, extensions, files, opinion};
use super::directory::{Directory, beside, ends_with};
use super::ecosystem::Ecosystem;

pub(super) static MAVEN: Ecosystem = Ecosystem {
    output: &[TARGET],
    ..Ecosystem::named("Maven")
};

const TARGET: Tool = Tool {
    signs: &[],
    made: |parent, name| {
        name == "target"
            && beside(
                parent,
                &["pom.xml"],
                name,
                &[
                    "maven-status",
                    "maven-archiver",
                    "classes",
                    "surefire-reports",
                ],
            )
    },
    account: |_| target(),
};

fn target() -> Opinion {
    opinion(|directory, name, kind| match (name, kind.is_dir()) {
        ("classes", true) => Says::Below(either(
            classes(),
            resources("main".to_owned(), String::new()),
        )),
        ("test-classes", true) => Says::Below(either(
            classes(),
            resources("test".to_owned(), String::new()),
        )),
        ("maven-status", true) => Says::Below(extensions(&["lst"])),
        ("maven-archiver", true) => Says::Below(extensions(&["properties"])),
        ("generated-sources" | "generated-test-sources", true) => {
            Says::Below(extensions(&["java", "kt"]))
        }
        ("surefire-reports" | "failsafe-reports", true) => Says::Below(files(is_test_report)),
        ("site" | "reports" | "apidocs" | "jacoco", true) => Says::Below(extensions(&[
            "css", "csv", "gif", "html", "js", "png", "svg", "xml",
        ])),
        ("dependency-maven-plugin-markers", true) => Says::Below(extensions(&["marker"])),
        (_, true) => Says::Nothing,
        (_, false) => (ends_with(name, &["jar", "war", "ear", "original"])
            || is_jacoco(directory, name))
        .into(),
    })
}

fn classes() -> Opinion {
    files(|name| ends_with(name, &["class", "kotlin_module"]))
}

fn is_test_report(name: &str) -> bool {
    let shaped = ends_with(name, &["xml", "txt"])
        && (name.starts_with("TEST-") || name.split('.').count() > 2 || name.contains("Test"));
    shaped
        || ends_with(name, &["dump", "dumpstream"])
        || name == "failsafe-summary.xml"
        || name == "testng-results.xml"
}

/// Returns whether it is a file of jacoco's agent, which begins with a header block.
fn is_jacoco(directory: &Directory, name: &str) -> bool {
    ends_with(name, &["exec"])
        && directory
            .note(name)
            .is_some_and(|bytes| bytes.starts_with(&[1, 0xc0, 0xc0]))
}

/// Claims copies of the project's `src/SET/resources`.
pub(super) fn resources(set: String, path: String) -> Opinion {
    opinion(move |directory, name, kind| {
        let here = format!("{path}{name}");
        if kind.is_dir() {
            return Says::Below(resources(set.clone(), format!("{here}/")));
        }
        directory
            .above()
            .iter()
            .any(|above| above.has(&format!("src/{set}/resources/{here}")))
            .into()
    })
}

/// Returns an opinion that claims what either of two claims.
fn either(one: Opinion, other: Opinion) -> Opinion {
    opinion(move |directory, name, kind| {
        match (one(directory, name, kind), other(directory, name, kind)) {
            (Says::Below(one), Says::Below(other)) => Says::Below(either(one, other)),
            (Says::Nothing, said) | (said, _) => said,
        }
    })
}
