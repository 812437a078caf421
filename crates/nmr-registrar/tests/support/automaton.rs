//! The life of a binding in docs/nmr-rules.md, written a second time, from the outside: what the modules of a test
//! see is checked against it. It shares nothing with the registrar's own state type.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{HANDLE, NTSTATUS, STATUS_PENDING, STATUS_SUCCESS, Side};

/// One side of a binding.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    detach_called: bool,
    detach_returned: Option<NTSTATUS>,
    completed: bool,
    cleaned: bool,
}

impl Part {
    fn is_done(&self) -> bool {
        match self.detach_returned {
            Some(STATUS_PENDING) => self.completed,
            Some(_) => true,
            None => false,
        }
    }
}

/// How far the attachment came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attach {
    Offered,
    Proposed,
    Agreed,
    Attached,
    Rejected,
}

#[derive(Debug)]
struct Binding {
    attach: Attach,
    parts: [Part; 2],
    /// Which registration each side belongs to: a number that the test gave.
    registrations: [Option<usize>; 2],
}

#[derive(Default)]
struct State {
    bindings: HashMap<usize, Binding>,
    closed: Vec<usize>,
    errors: Vec<String>,
}

/// Watches all the modules of a test. Errors are kept, not panicked with: a callback of C cannot unwind.
#[derive(Clone, Default)]
pub struct Automaton(Arc<Mutex<State>>);

impl Automaton {
    fn with(&self, handle: HANDLE, registration: Option<usize>, f: impl FnOnce(&mut Binding) -> Result<(), String>) {
        let state = &mut *self.0.lock().unwrap();
        if registration.is_some_and(|registration| state.closed.contains(&registration)) {
            state.errors.push(format!("{handle:?}: a callback for a registration whose wait has returned"));
        }
        match state.bindings.get_mut(&handle.addr()) {
            None => state.errors.push(format!("{handle:?}: an event of an unknown binding")),
            Some(binding) => {
                if let Err(error) = f(binding) {
                    let error = format!("{handle:?}: {error}, at {binding:?}");
                    state.errors.push(error);
                }
            }
        }
    }

    pub fn client_attach_called(&self, handle: HANDLE, registration: usize) {
        let state = &mut *self.0.lock().unwrap();
        let binding =
            Binding { attach: Attach::Offered, parts: [Part::default(); 2], registrations: [Some(registration), None] };
        if state.bindings.insert(handle.addr(), binding).is_some() {
            state.errors.push(format!("{handle:?} was offered twice"));
        }
        if state.closed.contains(&registration) {
            state.errors.push(format!("{handle:?} was offered to a client whose wait has returned"));
        }
    }

    pub fn provider_attach_called(&self, handle: HANDLE, registration: usize) {
        self.with(handle, Some(registration), |binding| {
            binding.registrations[1] = Some(registration);
            expect(binding.attach == Attach::Offered, "proposed without an offer")?;
            binding.attach = Attach::Proposed;
            Ok(())
        });
    }

    pub fn provider_attach_returns(&self, handle: HANDLE, status: NTSTATUS) {
        self.with(handle, None, |binding| {
            expect(binding.attach == Attach::Proposed, "answered without a proposal")?;
            binding.attach = if status == STATUS_SUCCESS { Attach::Agreed } else { Attach::Offered };
            Ok(())
        });
    }

    pub fn client_attach_returns(&self, handle: HANDLE, status: NTSTATUS) {
        self.with(handle, None, |binding| {
            let agreed = binding.attach == Attach::Agreed;
            expect(agreed == (status == STATUS_SUCCESS), "the client's status differs from the provider's")?;
            binding.attach = if agreed { Attach::Attached } else { Attach::Rejected };
            Ok(())
        });
    }

    pub fn detach_called(&self, side: Side, handle: HANDLE, registration: usize) {
        self.with(handle, Some(registration), |binding| {
            expect(binding.attach == Attach::Attached, "a detach without an attachment, or before it was over")?;
            let part = &mut binding.parts[side as usize];
            expect(!part.detach_called, "a second detach")?;
            part.detach_called = true;
            Ok(())
        });
    }

    pub fn detach_returns(&self, side: Side, handle: HANDLE, status: NTSTATUS) {
        self.with(handle, None, |binding| {
            binding.parts[side as usize].detach_returned = Some(status);
            Ok(())
        });
    }

    /// To be called before the Complete function is.
    pub fn completes(&self, side: Side, handle: HANDLE) {
        self.with(handle, None, |binding| {
            binding.parts[side as usize].completed = true;
            Ok(())
        });
    }

    pub fn cleanup_called(&self, side: Side, handle: HANDLE, registration: usize) {
        self.with(handle, Some(registration), |binding| {
            expect(binding.parts.iter().all(Part::is_done), "a cleanup before both sides were done")?;
            let part = &mut binding.parts[side as usize];
            expect(!part.cleaned, "a second cleanup")?;
            part.cleaned = true;
            Ok(())
        });
    }

    /// The wait for a registration has returned: every binding of it must be gone, and none may come.
    pub fn wait_returned(&self, registration: usize) {
        let state = &mut *self.0.lock().unwrap();
        state.closed.push(registration);
        for (handle, binding) in &state.bindings {
            let gone = match binding.attach {
                Attach::Rejected => binding.parts.iter().all(|part| !part.detach_called && !part.cleaned),
                Attach::Attached => binding.parts.iter().all(|part| part.cleaned),
                _ => false,
            };
            if binding.registrations.contains(&Some(registration)) && !gone {
                state.errors.push(format!("{handle:#x}: the wait returned too early, at {binding:?}"));
            }
        }
    }

    /// What went wrong, and how many bindings attached.
    pub fn result(&self) -> (Vec<String>, usize) {
        let state = self.0.lock().unwrap();
        let attached = state.bindings.values().filter(|binding| binding.attach == Attach::Attached).count();
        (state.errors.clone(), attached)
    }
}

fn expect(condition: bool, otherwise: &str) -> Result<(), String> {
    if condition { Ok(()) } else { Err(otherwise.to_owned()) }
}
