//! libgit2's allocations, counted for the repo that they are made for, and refused above its limit.
//!
//! libgit2 allocates whatever a repo's files ask for: an index of some megabytes becomes a
//! gigabyte. It handles a failed allocation like any other error. A header before each piece names
//! its owner, because a piece may be freed in another thread, and after its repo is done.

use libc::{c_char, c_int, c_void};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// Bytes that a thread counts before it updates the account: a counter shared by many threads slows
/// each of them.
const BATCH: isize = 64 << 10;

/// The memory limit of one repo, in bytes.
#[derive(Debug)]
pub struct Account {
    most: usize,
    held: AtomicIsize,
    refused: AtomicUsize,
}

impl Account {
    /// Opens an account of so many bytes. It is never closed, because libgit2 may keep a piece of
    /// it until the process ends. A run opens a few for each repo.
    #[must_use]
    pub fn open(most: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            most,
            held: AtomicIsize::new(0),
            refused: AtomicUsize::new(0),
        }))
    }

    /// Returns the limit in bytes.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Returns the counted bytes. Each thread may have a few more.
    #[must_use]
    pub fn held(&self) -> usize {
        usize::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Returns how often more was requested.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts so many bytes. Returns false and counts none if fewer are left.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX / 2);
        let held = self
            .held
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes);
        let has_room = usize::try_from(held).is_ok_and(|held| held <= self.most) || held < 0;
        if !has_room {
            self.held.fetch_sub(bytes, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Releases what was counted.
    pub fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(
            isize::try_from(bytes).unwrap_or(isize::MAX / 2),
            Ordering::Relaxed,
        );
    }

    /// Counts libgit2's allocations in this thread for this account, or for none, until the result
    /// is dropped.
    #[must_use]
    pub fn enter(account: Option<&'static Self>) -> Entered {
        settle();
        Entered {
            before: MINE.replace(account),
            _of_this_thread: PhantomData,
        }
    }
}

/// See [`Account::enter`].
#[derive(Debug)]
pub struct Entered {
    before: Option<&'static Account>,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        settle();
        MINE.set(self.before);
    }
}

thread_local! {
    // Neither has a destructor, so both are available while a thread ends.
    static MINE: Cell<Option<&'static Account>> = const { Cell::new(None) };
    /// Bytes that this thread counted for that account and has not added yet.
    static UNTOLD: Cell<isize> = const { Cell::new(0) };
}

/// Adds to the account what was not added yet.
fn settle() {
    let untold = UNTOLD.replace(0);
    if let Some(account) = MINE.get() {
        account.held.fetch_add(untold, Ordering::Relaxed);
    }
}

/// The header before each piece. It is 16 bytes long, so that pieces stay aligned to that.
#[repr(C, align(16))]
struct Header {
    owner: Option<&'static Account>,
    bytes: usize,
}

fn charge(bytes: usize) -> bool {
    let Some(account) = MINE.get() else {
        return true;
    };
    let untold = UNTOLD
        .get()
        .saturating_add(isize::try_from(bytes).unwrap_or(isize::MAX / 2));
    if untold < BATCH {
        UNTOLD.set(untold);
        return true;
    }
    settle();
    account.take(bytes)
}

fn credit(owner: Option<&'static Account>, bytes: usize) {
    let Some(owner) = owner else { return };
    if !MINE.get().is_some_and(|mine| ptr::eq(mine, owner)) {
        return owner.give_back(bytes);
    }
    UNTOLD.set(UNTOLD.get().saturating_sub_unsigned(bytes));
    if UNTOLD.get() < -BATCH {
        settle();
    }
}

unsafe extern "C" fn allocate(bytes: usize, file: *const c_char, line: c_int) -> *mut c_void {
    // SAFETY: there is no old piece.
    unsafe { resize(null_mut(), bytes, file, line) }
}

/// # Safety
/// `old` is null, or came from here and was not freed.
unsafe extern "C" fn resize(
    old: *mut c_void,
    bytes: usize,
    _file: *const c_char,
    _line: c_int,
) -> *mut c_void {
    let Some(whole) = bytes.checked_add(size_of::<Header>()) else {
        return null_mut();
    };
    if !charge(bytes) {
        return null_mut();
    }
    let owner = MINE.get();
    // SAFETY: a piece that came from here has its header before it, which was written, and both are
    // one block of `realloc`. That aligns blocks for anything up to 16 bytes, so the header fits,
    // and what follows it is aligned, too. On failure the old block is unchanged.
    unsafe {
        let old = if old.is_null() {
            null_mut()
        } else {
            old.cast::<Header>().sub(1)
        };
        let before = (!old.is_null()).then(|| old.read());
        let new = libc::realloc(old.cast(), whole).cast::<Header>();
        if new.is_null() {
            credit(owner, bytes);
            return null_mut();
        }
        new.write(Header { owner, bytes });
        if let Some(Header { owner, bytes }) = before {
            credit(owner, bytes);
        }
        new.add(1).cast()
    }
}

/// # Safety
/// `piece` is null, or came from here and was not freed.
unsafe extern "C" fn free(piece: *mut c_void) {
    if piece.is_null() {
        return;
    }
    // SAFETY: as in `resize`; nobody uses the piece any more.
    unsafe {
        let header = piece.cast::<Header>().sub(1);
        let Header { owner, bytes } = header.read();
        credit(owner, bytes);
        libc::free(header.cast());
    }
}

/// As in `git2/sys/alloc.h`.
#[repr(C)]
struct Allocator {
    allocate: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    resize: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// Makes libgit2 allocate here, and cache no more than so many bytes of objects for all repos. Must
/// be called before any other use of libgit2: what it allocated elsewhere must not be freed here.
///
/// # Panics
/// libgit2 doesn't know how to set a size.
pub fn count_libgit2(objects: usize) {
    let mut here = Allocator {
        allocate,
        resize,
        free,
    };
    let option = libgit2_sys::GIT_OPT_SET_ALLOCATOR.cast_signed();
    // SAFETY: it copies the functions, which do what `malloc`, `realloc` and `free` do; nobody has
    // used libgit2 yet, in this thread or another.
    unsafe { libgit2_sys::git_libgit2_opts(option, &raw mut here) };
    // SAFETY: a number that libgit2 reads without a lock is written before anybody reads it.
    unsafe {
        git2::opts::set_cache_max_size(
            libc::ssize_t::try_from(objects).unwrap_or(libc::ssize_t::MAX),
        )
    }
    .expect("it takes any size");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocated(bytes: usize) -> *mut c_void {
        // SAFETY: no old piece.
        unsafe { allocate(bytes, ptr::null(), 0) }
    }

    #[test]
    fn what_is_allocated_counts_for_whom_it_was_until_it_is_freed() {
        let (one, other) = (Account::open(10 << 20), Account::open(1 << 20));
        let nobodys = allocated(4 << 20);
        let entered = Account::enter(Some(one));
        let mut mine = allocated(4 << 20);
        assert_eq!(one.held(), 4 << 20);
        let inner = Account::enter(Some(other));
        assert!(allocated(2 << 20).is_null());
        assert_eq!((other.held(), other.refusals()), (0, 1));
        // SAFETY: both came from `allocate`, and nobody else has them.
        unsafe {
            free(nobodys);
            mine.cast::<u8>().write(7);
            drop(inner);
            mine = resize(mine, 6 << 20, ptr::null(), 0);
            assert_eq!(mine.cast::<u8>().read(), 7);
        }
        assert_eq!(one.held(), 6 << 20);
        assert!(allocated(5 << 20).is_null());
        drop(entered);
        let piece = mine as usize;
        // SAFETY: it came from there, and nobody else has it.
        std::thread::spawn(move || unsafe { free(piece as *mut c_void) })
            .join()
            .unwrap();
        assert_eq!((one.held(), one.refusals()), (0, 1));
    }

    #[test]
    fn many_small_pieces_count_as_well() {
        let account = Account::open(1 << 20);
        let entered = Account::enter(Some(account));
        let pieces: Vec<_> = (0..100_000)
            .map(|_| allocated(100))
            .take_while(|piece| !piece.is_null())
            .collect();
        assert!((9_000..12_000).contains(&pieces.len()), "{}", pieces.len());
        // SAFETY: as above.
        pieces.into_iter().for_each(|piece| unsafe { free(piece) });
        drop(entered);
        assert_eq!(account.held(), 0);
    }
}
