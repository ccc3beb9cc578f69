//! The doorway: parse, call the library, leave with its exit code.
//!
//! It must never hold logic: whatever is worth testing lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    treewarden::cli::main()
}
