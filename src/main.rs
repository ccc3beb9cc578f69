//! The doorway: parse, call the library, leave with its exit code.
//!
//! It must never hold logic: whatever is worth testing lives in the library.

use std::process::ExitCode;

/// A run's many threads hand each other what they hold; the system's allocator kept half as much
/// again for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    treewarden_unsafe::give_back_at_once();
    treewarden_unsafe::count_libgit2(treewarden::plan::limits::objects(
        treewarden::survey::memory::limit(),
    ));
    // mimalloc asks for huge pages, and the kernel zeroes 2 MiB for the first byte of each: a
    // quarter of a look's processor time, and most of the memory that it holds. A kernel that has
    // none refuses, and all is well. Children inherit it.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    treewarden::cli::main()
}
