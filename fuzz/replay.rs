//! What a fuzz target is built to: a program with a fuzzer or, without the feature `fuzzer`, one that gives the target
//! a corpus.

/// The entry of a fuzz target: what it does with one input.
#[cfg(feature = "fuzzer")]
#[macro_export]
macro_rules! target {
    (|$data:ident| $run:expr) => {
        libfuzzer_sys::fuzz_target!(|$data: &[u8]| {
            $run;
        });
    };
}

/// The entry of a fuzz target: what it does with one input.
#[cfg(not(feature = "fuzzer"))]
#[macro_export]
macro_rules! target {
    (|$data:ident| $run:expr) => {
        fn main() {
            $crate::replay(|$data: &[u8]| {
                $run;
            });
        }
    };
}

#[cfg(not(feature = "fuzzer"))]
pub use replaying::replay;

#[cfg(not(feature = "fuzzer"))]
mod replaying {
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// Gives the target every input of the folder that the argument names. With the feature `edges`, prints the names
    /// of the inputs that reach nothing that the others do not reach as well, one a line.
    pub fn replay(run: fn(&[u8])) {
        let folder = PathBuf::from(env::args_os().nth(1).expect("the folder of the inputs"));
        let inputs = inputs(&folder);
        inputs.iter().for_each(|(_, input)| run(input));
        // Behind all of them once: what is set up only once is reached by whichever comes first.
        #[cfg(feature = "edges")]
        super::edges::print_needless(inputs, run);
    }

    fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut inputs: Vec<_> = files
            .map(|file| {
                let path = file.expect("the folder can be read").path();
                let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                (path.file_name().expect("a file").to_string_lossy().into_owned(), bytes)
            })
            .collect();
        inputs.sort();
        inputs
    }
}

#[cfg(feature = "edges")]
mod edges {
    use std::collections::HashMap;
    use std::slice;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    /// The names of inputs that stay, whatever others reach: each was the first to show a mistake.
    const REGRESSION: &str = "regression-";

    static COUNTERS: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    /// What the code that `-sanitizer-coverage-inline-8bit-counters` adds calls at the start: each object file says
    /// where the counters of the whole program are, one for each edge.
    ///
    /// # Safety
    ///
    /// They lie between `start` and `stop`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
        COUNTERS.store(start, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        COUNT.store(unsafe { stop.offset_from_unsigned(start) }, Ordering::Relaxed);
    }

    fn counters() -> &'static mut [u8] {
        let (counters, count) = (COUNTERS.load(Ordering::Relaxed), COUNT.load(Ordering::Relaxed));
        assert!(!counters.is_null(), "built without counters");
        // SAFETY: as the compiler said above. Nothing else looks at them, and no other thread runs the target now.
        unsafe { slice::from_raw_parts_mut(counters, count) }
    }

    /// Prints the names of the inputs without which as much is reached.
    pub(crate) fn print_needless(mut inputs: Vec<(String, Vec<u8>)>, run: fn(&[u8])) {
        inputs.sort_by_key(|(name, input)| (!name.starts_with(REGRESSION), input.len(), name.clone()));
        let reached: Vec<Vec<(usize, u8)>> = inputs
            .iter()
            .map(|(_, input)| {
                counters().fill(0);
                run(input);
                // Each edge with how often: the number of bits of that number.
                let reached = counters().iter().enumerate().filter(|(_, count)| **count != 0);
                reached.map(|(edge, count)| (edge, (u8::BITS - count.leading_zeros()) as u8)).collect()
            })
            .collect();
        let mut by: HashMap<(usize, u8), usize> = HashMap::new();
        reached.iter().flatten().for_each(|edge| *by.entry(*edge).or_default() += 1);
        // From the largest on: what a small one reaches needs no large one.
        for ((name, _), reached) in inputs.iter().zip(&reached).rev() {
            if !name.starts_with(REGRESSION) && reached.iter().all(|edge| by[edge] > 1) {
                reached.iter().for_each(|edge| *by.get_mut(edge).expect("it was counted") -= 1);
                println!("{name}");
            }
        }
    }
}
