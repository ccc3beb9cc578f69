//! The doorway: parse, call the library, leave with its exit code. Whatever is worth testing is in
//! the library.

use std::process::ExitCode;

/// A run's many threads pass memory to each other. With the system's allocator, the run kept half
/// as much again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    treewarden_unsafe::give_back_at_once();
    treewarden_unsafe::open_without_waiting();
    treewarden_unsafe::count_libgit2(treewarden::plan::limits::objects(
        treewarden::survey::memory::limit(),
    ));
    // mimalloc asks for huge pages, and the kernel zeroes 2 MiB for the first byte of each: a
    // quarter of a survey's processor time, and most of its memory. A kernel without huge pages
    // refuses this call, which does no harm. Children inherit the setting.
    rustix::thread::disable_transparent_huge_pages(true).ok();
    treewarden::cli::main()
}
