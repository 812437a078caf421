//! How a file is replaced whole, so that whenever the machine fails the old content is there or the new one.
//!
//! The new file is made beside the old one, written, and flushed; then it gets the old one's name. One handle does all
//! of it: what is closed and opened again can meanwhile be opened by others, virus scanners first of all, and a file
//! that others have open cannot be renamed in the old way ("FILE_RENAME_INFORMATION").

use crate::NTSTATUS;
use crate::status::{
    STATUS_ACCESS_DENIED, STATUS_DELETE_PENDING, STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_INFO_CLASS,
    STATUS_INVALID_PARAMETER, STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED, STATUS_SHARING_VIOLATION,
};

/// The steps, each of which the file system may refuse.
pub(crate) trait Steps {
    /// The new file, open.
    type New;

    /// Removes the file that has the name of the new one, if there is one: a crash has left it, or somebody has made it
    /// to say who may open ours.
    fn remove_leftover(&self) -> Result<(), NTSTATUS>;

    /// Makes the new file, which nobody else can open as long as the handle is.
    fn create(&self) -> Result<Self::New, NTSTATUS>;

    /// Writes behind what has been written.
    fn write(&self, new: &Self::New, bytes: &[u8]) -> Result<(), NTSTATUS>;

    /// Returns when everything is on the disk.
    fn flush(&self, new: &Self::New) -> Result<(), NTSTATUS>;

    /// Gives the new file the name of the old one, which is gone at the same moment.
    fn rename(&self, new: &Self::New) -> Result<(), NTSTATUS>;

    /// Removes the new file, if it can be.
    fn discard(&self, new: Self::New);

    /// Lets time go by.
    fn wait(&self, milliseconds: u32);
}

/// Replaces a file by one with `parts` as its content.
///
/// # Errors
///
/// What a step returned. The old file is what it was, and nothing is left of the new one.
pub(crate) fn replace(steps: &impl Steps, parts: &[&[u8]]) -> Result<(), NTSTATUS> {
    let create = || steps.remove_leftover().and_then(|()| steps.create());
    let new = patiently(|milliseconds| steps.wait(milliseconds), create)?;
    let written = parts.iter().try_for_each(|part| steps.write(&new, part)).and_then(|()| steps.flush(&new));
    let renamed = written.and_then(|()| patiently(|milliseconds| steps.wait(milliseconds), || steps.rename(&new)));
    match renamed {
        Ok(()) => {
            // The name is in the file system's log at least.
            let _ = steps.flush(&new);
            Ok(())
        }
        Err(status) => {
            steps.discard(new);
            Err(status)
        }
    }
}

/// For how many milliseconds to wait before each further try: half a second in all.
const WAITS: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Tries again while somebody else, who will soon be done, is in the way.
pub(crate) fn patiently<T>(
    wait: impl Fn(u32),
    mut attempt: impl FnMut() -> Result<T, NTSTATUS>,
) -> Result<T, NTSTATUS> {
    for milliseconds in WAITS {
        match attempt() {
            // ACCESS_DENIED: a rename in the old way, while somebody has the file open that is to be replaced.
            Err(STATUS_SHARING_VIOLATION | STATUS_DELETE_PENDING | STATUS_ACCESS_DENIED) => wait(milliseconds),
            other => return other,
        }
    }
    attempt()
}

/// Does something the way that Windows 10 version 1709 brought, with POSIX semantics, or the old way where the file
/// system does not know that.
pub(crate) fn posix_or_old(
    posix: impl FnOnce() -> Result<(), NTSTATUS>,
    old: impl FnOnce() -> Result<(), NTSTATUS>,
) -> Result<(), NTSTATUS> {
    match posix() {
        Err(
            STATUS_INVALID_INFO_CLASS
            | STATUS_INVALID_PARAMETER
            | STATUS_NOT_SUPPORTED
            | STATUS_NOT_IMPLEMENTED
            | STATUS_INVALID_DEVICE_REQUEST,
        ) => old(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::cell::{Cell, RefCell};

    use super::*;

    const STATUS_DISK_FULL: NTSTATUS = 0xC000_007F_u32.cast_signed();

    /// A folder with two files, and what happens to each step.
    #[derive(Default)]
    struct Folder {
        old: RefCell<Option<Vec<u8>>>,
        new: RefCell<Option<Vec<u8>>>,
        /// How often the step of that name fails from now on, and with which status.
        faults: RefCell<Vec<(&'static str, usize, NTSTATUS)>>,
        /// How many bytes the disk has left.
        room: Cell<Option<usize>>,
        waited: Cell<u32>,
        steps: RefCell<Vec<&'static str>>,
    }

    impl Folder {
        fn with(old: &[u8]) -> Self {
            Self { old: RefCell::new(Some(old.to_vec())), ..Self::default() }
        }

        fn step(&self, name: &'static str) -> Result<(), NTSTATUS> {
            self.steps.borrow_mut().push(name);
            match self.faults.borrow_mut().iter_mut().find(|(step, times, _)| *step == name && *times > 0) {
                Some((_, times, status)) => {
                    *times -= 1;
                    Err(*status)
                }
                None => Ok(()),
            }
        }
    }

    impl Steps for Folder {
        type New = ();

        fn remove_leftover(&self) -> Result<(), NTSTATUS> {
            self.step("remove")?;
            *self.new.borrow_mut() = None;
            Ok(())
        }
        fn create(&self) -> Result<(), NTSTATUS> {
            self.step("create")?;
            assert_eq!(self.new.replace(Some(Vec::new())), None, "FILE_CREATE of a file that is there");
            Ok(())
        }
        fn write(&self, (): &(), bytes: &[u8]) -> Result<(), NTSTATUS> {
            self.step("write")?;
            let fits = self.room.get().map_or(bytes.len(), |room| room.min(bytes.len()));
            self.new.borrow_mut().as_mut().unwrap().extend_from_slice(&bytes[..fits]);
            self.room.set(self.room.get().map(|room| room - fits));
            if fits == bytes.len() { Ok(()) } else { Err(STATUS_DISK_FULL) }
        }
        fn flush(&self, (): &()) -> Result<(), NTSTATUS> {
            self.step("flush")
        }
        fn rename(&self, (): &()) -> Result<(), NTSTATUS> {
            self.step("rename")?;
            *self.old.borrow_mut() = self.new.borrow_mut().take();
            Ok(())
        }
        fn discard(&self, (): ()) {
            *self.new.borrow_mut() = None;
        }
        fn wait(&self, milliseconds: u32) {
            self.waited.set(self.waited.get() + milliseconds);
        }
    }

    #[test]
    fn the_new_content_is_on_the_disk_before_it_has_the_name() {
        let folder = Folder::with(b"old");
        replace(&folder, &[b"ne", b"w"]).unwrap();
        assert_eq!(folder.old.borrow().as_deref(), Some(&b"new"[..]));
        assert_eq!(*folder.steps.borrow(), ["remove", "create", "write", "write", "flush", "rename", "flush"]);
        assert_eq!(folder.waited.get(), 0);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_of_the_new_one() {
        for room in 0..6 {
            let folder = Folder::with(b"old");
            folder.room.set(Some(room));
            assert_eq!(replace(&folder, &[b"new", b"end"]), Err(STATUS_DISK_FULL), "room for {room}");
            assert_eq!(folder.old.borrow().as_deref(), Some(&b"old"[..]));
            assert_eq!(*folder.new.borrow(), None);
        }
    }

    #[test]
    fn whatever_step_fails_the_old_file_is_what_it_was() {
        for step in ["remove", "create", "write", "flush", "rename"] {
            let folder = Folder::with(b"old");
            *folder.faults.borrow_mut() = vec![(step, 1, STATUS_DISK_FULL)];
            assert_eq!(replace(&folder, &[b"new"]), Err(STATUS_DISK_FULL), "{step}");
            assert_eq!(folder.old.borrow().as_deref(), Some(&b"old"[..]), "{step}");
            assert_eq!(*folder.new.borrow(), None, "{step}");
        }
    }

    #[test]
    fn who_is_in_the_way_for_a_moment_is_waited_for() {
        for status in [STATUS_SHARING_VIOLATION, STATUS_DELETE_PENDING, STATUS_ACCESS_DENIED] {
            for step in ["remove", "create", "rename"] {
                let folder = Folder::with(b"old");
                *folder.faults.borrow_mut() = vec![(step, 5, status)];
                replace(&folder, &[b"new"]).unwrap();
                assert_eq!(folder.old.borrow().as_deref(), Some(&b"new"[..]));
                assert_eq!(folder.waited.get(), 1 + 2 + 4 + 8 + 16);
            }
        }
    }

    #[test]
    fn who_stays_in_the_way_is_not_waited_for_without_end() {
        let folder = Folder::with(b"old");
        *folder.faults.borrow_mut() = vec![("rename", usize::MAX, STATUS_SHARING_VIOLATION)];
        assert_eq!(replace(&folder, &[b"new"]), Err(STATUS_SHARING_VIOLATION));
        assert_eq!((folder.waited.get(), folder.new.borrow().is_none()), (511, true));
    }

    #[test]
    fn what_a_crash_left_is_not_taken_over() {
        let folder = Folder::with(b"old");
        *folder.new.borrow_mut() = Some(b"half of a".to_vec());
        replace(&folder, &[b"new"]).unwrap();
        assert_eq!(folder.old.borrow().as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_file_system_without_posix_semantics_is_asked_in_the_old_way() {
        for unknown in [
            STATUS_INVALID_INFO_CLASS,
            STATUS_INVALID_PARAMETER,
            STATUS_NOT_SUPPORTED,
            STATUS_NOT_IMPLEMENTED,
            STATUS_INVALID_DEVICE_REQUEST,
        ] {
            assert_eq!(posix_or_old(|| Err(unknown), || Ok(())), Ok(()));
        }
        let old = || panic!("a refusal is no lack of knowledge");
        assert_eq!(posix_or_old(|| Err(STATUS_DISK_FULL), old), Err(STATUS_DISK_FULL));
        assert_eq!(posix_or_old(|| Ok(()), old), Ok(()));
    }
}
