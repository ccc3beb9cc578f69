//! The output of tools, as small as their own records allow.

use super::write;
use std::path::Path;

/// Returns npm's own record of what it installed.
pub(crate) fn npm(packages: &[&str]) -> String {
    let named: Vec<String> = packages
        .iter()
        .map(|name| format!("\"node_modules/{name}\": {{}}"))
        .collect();
    format!("{{\"packages\": {{{}}}}}", named.join(", "))
}

/// Writes a target directory of Cargo with one program.
pub(crate) fn cargo(target: &Path, program: &str, content: &[u8]) {
    write(
        &target.join("CACHEDIR.TAG"),
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    write(&target.join(".rustc_info.json"), "{}");
    write(&target.join("debug/.cargo-lock"), "");
    write(
        &target.join(format!("debug/{program}.d")),
        format!("{program}: src/main.rs\n"),
    );
    write(&target.join("debug").join(program), content);
}
