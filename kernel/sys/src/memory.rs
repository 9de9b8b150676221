//! Keeping a small process small: what the C library's allocator holds back.

/// Lets all threads allocate from one heap. A second thread would otherwise get its own, whose touched pages stay when
/// it ends. To be called before there are threads.
pub fn use_one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_still_works_afterwards() {
        use_one_heap();
        let kept: Vec<Vec<u8>> = (0..100).map(|number| vec![number; 5_000]).collect();
        drop((0..100).map(|number| vec![number; 50_000]).collect::<Vec<Vec<u8>>>());
        trim_heap();
        assert!((0..).zip(&kept).all(|(number, bytes)| *bytes == [number; 5_000]));
    }
}
