//! Keeping a small process small: what the C library's allocator holds back, and what was once used of the stack.

use std::ptr;

/// Sets the allocator up for a process that is small most of the time: one heap for all threads (a thread's own would
/// keep its touched pages when the thread ends), and blocks from 32 KiB on outside of it, so that they leave no holes. To
/// be called before there are threads.
pub fn use_frugal_heap() {
    #[cfg(target_env = "gnu")]
    {
        /// Bytes.
        const LARGE: i32 = 32 * 1024;
        // SAFETY: mallopt takes two integers and only sets parameters of the allocator.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Gives free pages of the heap back to the kernel, wherever they are in it.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only releases memory that the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives the pages of the main thread's stack back that earlier, deeper calls have used. On other threads it does
/// nothing.
pub fn trim_stack() {
    if let Some((start, end)) = main_stack() {
        discard_below_caller(start, end);
    }
}

/// A function of its own, so that its frame is the lowest.
#[inline(never)]
fn discard_below_caller(start: usize, end: usize) {
    /// Bytes left for the rest of this frame and for the call, which need some dozens.
    const MARGIN: usize = 1024;
    let page = rustix::param::page_size();
    let marker = 0_u8;
    let here = ptr::from_ref(std::hint::black_box(&marker)).addr();
    let dead = here.saturating_sub(MARGIN) & !(page - 1);
    if !(start..end).contains(&dead) {
        return;
    }
    // SAFETY: the range is in the mapping of the main thread's stack and ends below this function's frame, which is in
    // there too, so this is the main thread: everything below its frame is dead.
    unsafe {
        libc::madvise(ptr::without_provenance_mut(start), dead - start, libc::MADV_DONTNEED);
    }
}

/// The mapping that the kernel calls `[stack]`.
fn main_stack() -> Option<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[stack]"))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_still_works_afterwards() {
        use_frugal_heap();
        let kept: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 5_000]).collect();
        drop((0..100).map(|number| vec![number; 50_000]).collect::<Vec<Vec<u8>>>());
        trim_heap();
        assert!((0..).zip(&kept).all(|(number, bytes)| *bytes == [number; 5_000]));
    }

    #[test]
    fn the_stack_of_another_thread_is_left_alone() {
        let kept = std::hint::black_box([7_u8; 100_000]);
        let (start, end) = main_stack().unwrap();
        assert!(start < end && !(start..end).contains(&ptr::from_ref(&kept).addr()));
        trim_stack();
        assert!(kept.iter().all(|byte| *byte == 7));
    }
}
