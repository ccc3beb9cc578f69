//! The doorway: parse, call the library, leave with its exit code.
//!
//! It must never hold logic: whatever is worth testing lives in the library.

use std::process::ExitCode;

/// A night's many threads hand each other what they hold; the system's allocator kept half as much again for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    treewarden_unsafe::give_back_at_once();
    treewarden::cli::main()
}
