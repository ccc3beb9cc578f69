//! Files that libgit2 opens: it never waits for one.
//!
//! libgit2 opens a repo's files by their paths, and waits if one is a FIFO: for ever, and nobody
//! can end that. Every entry can be swapped for a FIFO after it was inspected. So the `open` that C
//! code in this program calls is this one, the system's except that it waits for nothing and
//! refuses a FIFO. Rust's standard library calls `open64` on glibc, and this one on musl.

use libc::{c_char, c_int, c_uint};
use std::ffi::CStr;

/// Where a FIFO is what somebody passed to this process. All of `/dev` would be too much: a volume
/// may be mounted in `/dev/shm`.
const OF_THE_SYSTEM: [&[u8]; 3] = [b"/dev/fd/", b"/dev/stdin", b"/proc/"];

/// Makes C code of this program open files without waiting for them. The linker takes the system's
/// `open` unless something here is used.
pub fn open_without_waiting() {
    std::hint::black_box(open as *const ());
}

/// Opens a file. The caller of the real function passes `permissions` only if it creates one. By
/// the C calling conventions of Linux they are then where they are here, and anything else is
/// ignored.
///
/// # Safety
/// As for the system's: `path` is null, or ends with a NUL.
#[unsafe(no_mangle)]
unsafe extern "C" fn open(path: *const c_char, flags: c_int, permissions: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    let name = (!path.is_null()).then(|| unsafe { CStr::from_ptr(path) }.to_bytes());
    let is_systems = name.is_some_and(|name| OF_THE_SYSTEM.iter().any(|of| name.starts_with(of)));
    // Who doesn't wait by itself knows what a FIFO is.
    let is_careful = flags & libc::O_NONBLOCK == 0 && !is_systems;
    let more = if is_careful {
        libc::O_NONBLOCK | libc::O_NOCTTY
    } else {
        0
    };
    let flags = flags | libc::O_LARGEFILE | more;
    // SAFETY: the kernel checks the path, and what it opens is a new descriptor.
    let opened =
        unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, permissions) };
    let opened = c_int::try_from(opened).unwrap_or(-1);
    if is_careful && opened >= 0 && is_fifo(opened) {
        // SAFETY: it was opened here and nobody has it; `errno` belongs to this thread.
        unsafe {
            libc::close(opened);
            *libc::__errno_location() = libc::EINVAL;
        }
        return -1;
    }
    opened
}

fn is_fifo(descriptor: c_int) -> bool {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: there is room for the answer, which is read only if there is one.
    unsafe {
        libc::fstat(descriptor, stat.as_mut_ptr()) == 0
            && stat.assume_init().st_mode & libc::S_IFMT == libc::S_IFIFO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, OFlags};
    use std::sync::mpsc;
    use std::time::Duration;

    #[expect(clippy::disallowed_methods, reason = "a test clears up after itself")]
    #[test]
    fn libgit2_waits_for_no_fifo() {
        open_without_waiting();
        let place = std::env::temp_dir().join(format!("treewarden-fifo-{}", std::process::id()));
        let repo = git2::Repository::init_bare(&place).unwrap();
        let fifo = place.join("refs/heads/main");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // With somebody at its other end, it could be opened, and read without an end.
        let (told, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for held in [false, true] {
                let _other = held.then(|| {
                    let both = OFlags::RDWR | OFlags::NONBLOCK;
                    rustix::fs::open(&fifo, both, Mode::empty()).unwrap()
                });
                let error = repo.refname_to_id("refs/heads/main").unwrap_err();
                told.send(error.message().to_owned()).unwrap();
            }
        });
        let both = [(); 2].map(|()| answers.recv_timeout(Duration::from_secs(20)));
        std::fs::remove_dir_all(&place).unwrap();
        for told in both {
            assert!(told.unwrap().contains("Invalid argument"));
        }
        let file = place.with_extension("file");
        std::fs::write(&file, "content").unwrap();
        let hash = git2::Oid::hash_file(git2::ObjectType::Blob, &file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(hash.to_string(), "6b584e8ece562ebffc15d38808cd6b98fc3d97ea");
    }
}
