//! Whether memory is there at all, asked without touching it.

/// Whether `length` bytes at `address` are mapped and readable. Linux can tell; elsewhere the answer is yes.
#[cfg(target_os = "linux")]
pub(crate) fn is_mapped(address: usize, length: usize) -> bool {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::sync::LazyLock;

    /// The longest structure that is looked at.
    const LONGEST: usize = 128;
    static MEMORY: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/self/mem").ok());

    // Where /proc is closed to us, nothing can be said against the memory.
    let Some(memory) = &*MEMORY else { return true };
    memory.read_exact_at(&mut [0; LONGEST][..length.min(LONGEST)], address as u64).is_ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_mapped(_: usize, _: usize) -> bool {
    true
}
