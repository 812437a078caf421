//! Stops a driver, and says what it waits for if that takes too long.
//!
//! The request to stop a driver may itself wait until DriverUnload has returned, and whoever asks for the state of the
//! service meanwhile may wait as well. So both are done on a thread of their own, and a driver whose unload hangs does
//! not hang the verification.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::services::State;
use crate::failure::Failure;

/// SERVICE_STOP_PENDING (`SERVICE_STATUS`).
const STOP_PENDING: u32 = 3;
const POLL: Duration = Duration::from_millis(5);

/// A service that can be stopped from any thread.
pub(super) trait Stoppable: Clone + Send + 'static {
    fn name(&self) -> &str;
    /// Asks the driver to stop. It may still be stopping when this returns, if it does.
    fn stop(&self) -> Result<(), Failure>;
    fn state(&self) -> Result<State, Failure>;
}

/// Why a driver has not stopped.
#[derive(Debug)]
pub(super) enum NotStopped {
    /// Its unload hangs, as the text says: whatever is done to the service from now on may hang, too.
    Hangs(String),
    /// Windows refused.
    Refused(Failure),
}

/// What the thread has seen of it.
enum Seen {
    /// The request to stop has returned.
    Asked,
    State(State),
    Refused(Failure),
}

/// Stops the driver and waits until its image is unloaded, for as long as `limit`.
pub(super) fn stop(service: &impl Stoppable, limit: Duration) -> Result<(), NotStopped> {
    let (sender, receiver) = mpsc::channel();
    let of_thread = service.clone();
    thread::spawn(move || watch(&of_thread, &sender));

    let deadline = Instant::now() + limit;
    // Until the request has returned there is none.
    let mut last = None;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Seen::State(State::Stopped)) => return Ok(()),
            Ok(Seen::Refused(failure)) => return Err(NotStopped::Refused(failure)),
            Ok(Seen::Asked) => last = Some(None),
            Ok(Seen::State(state)) => last = Some(Some(state)),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => {
                let text = format!("the thread that stops {} ended without a result", service.name());
                return Err(NotStopped::Refused(Failure::State(text)));
            }
        }
        // Its messages could go on for ever.
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(NotStopped::Hangs(waits_for(service.name(), last, limit)))
}

/// Stops the driver, and tells its state until it has stopped or nobody listens.
fn watch(service: &impl Stoppable, seen: &Sender<Seen>) {
    if let Err(failure) = service.stop() {
        let _ = seen.send(Seen::Refused(failure));
        return;
    }
    let _ = seen.send(Seen::Asked);
    loop {
        let message = service.state().map_or_else(Seen::Refused, Seen::State);
        let is_last = matches!(message, Seen::State(State::Stopped) | Seen::Refused(_));
        if seen.send(message).is_err() || is_last {
            return;
        }
        thread::sleep(POLL);
    }
}

/// `last` is what was seen last of a driver that has not stopped: nothing until the request has returned, then no state
/// until one is known.
fn waits_for(name: &str, last: Option<Option<State>>, limit: Duration) -> String {
    let seconds = limit.as_secs_f64();
    match last {
        None => format!(
            "{name} does not stop: the request to stop it has not returned after {seconds} s. Windows waits in it for \
             DriverUnload, and that most likely for a detach that is never completed"
        ),
        Some(None) => format!(
            "{name} does not stop: the request to stop it has returned, but Windows has not said for {seconds} s what \
             state the service is in"
        ),
        Some(Some(State::Other(STOP_PENDING))) => format!(
            "{name} does not stop: it is STOP_PENDING (state 3) after {seconds} s. Windows waits until the last handle \
             of its device is closed, or DriverUnload waits for a detach that is never completed"
        ),
        Some(Some(State::Running)) => {
            format!("{name} does not stop: it is still running {seconds} s after it was asked to")
        }
        Some(Some(state)) => format!("{name} does not stop: it is in state {state:?} after {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};

    use super::*;

    /// How long the service manager of a test keeps its answers back, or longer if the machine is busy.
    const LIMIT: Duration = Duration::from_millis(200);

    /// A door that stays closed, for calls that never return. The test opens it at its end.
    #[derive(Clone, Default)]
    struct Door(Arc<(Mutex<bool>, Condvar)>);

    impl Door {
        fn pass(&self) {
            let (is_open, opened) = &*self.0;
            drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
        }
    }

    impl Drop for Door {
        fn drop(&mut self) {
            let (is_open, opened) = &*self.0;
            *is_open.lock().unwrap() = true;
            opened.notify_all();
        }
    }

    /// A service of which a test decides what it does.
    #[derive(Clone)]
    struct Fake {
        stop: Arc<dyn Fn() -> Result<(), Failure> + Send + Sync>,
        state: Arc<dyn Fn() -> Result<State, Failure> + Send + Sync>,
    }

    impl Fake {
        fn new(
            stop: impl Fn() -> Result<(), Failure> + Send + Sync + 'static,
            state: impl Fn() -> Result<State, Failure> + Send + Sync + 'static,
        ) -> Self {
            Self { stop: Arc::new(stop), state: Arc::new(state) }
        }
    }

    impl Stoppable for Fake {
        fn name(&self) -> &str {
            "sluice"
        }
        fn stop(&self) -> Result<(), Failure> {
            (self.stop)()
        }
        fn state(&self) -> Result<State, Failure> {
            (self.state)()
        }
    }

    fn hang(service: &Fake) -> String {
        match stop(service, LIMIT) {
            Err(NotStopped::Hangs(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_that_never_returns_is_reported() {
        let door = Door::default();
        let at_door = Door(door.0.clone());
        let service = Fake::new(
            move || {
                at_door.pass();
                Ok(())
            },
            || panic!("nobody asks before the request has returned"),
        );
        let text = hang(&service);
        assert!(
            text.starts_with("sluice does not stop: the request to stop it has not returned after 0.2 s"),
            "{text}"
        );
        assert!(text.contains("waits in it for DriverUnload"), "{text}");
    }

    #[test]
    fn a_service_that_stays_in_stop_pending_is_reported() {
        let service = Fake::new(|| Ok(()), || Ok(State::Other(STOP_PENDING)));
        let text = hang(&service);
        assert!(text.starts_with("sluice does not stop: it is STOP_PENDING (state 3) after 0.2 s"), "{text}");
        assert!(text.contains("handle of its device"), "{text}");
    }

    #[test]
    fn a_service_whose_state_cannot_be_had_is_reported() {
        let door = Door::default();
        let at_door = Door(door.0.clone());
        let service = Fake::new(
            || Ok(()),
            move || {
                at_door.pass();
                Ok(State::Stopped)
            },
        );
        let text = hang(&service);
        assert!(text.contains("Windows has not said for 0.2 s what state"), "{text}");
    }

    #[test]
    fn a_driver_that_takes_its_time_has_stopped() {
        let asked = AtomicUsize::new(0);
        let states = [State::Running, State::Other(STOP_PENDING), State::Stopped];
        let service = Fake::new(|| Ok(()), move || Ok(states[asked.fetch_add(1, Ordering::Relaxed)]));
        assert!(stop(&service, Duration::from_secs(600)).is_ok());
    }

    #[test]
    fn what_windows_refuses_is_no_hang() {
        let refused = || Failure::State("access is denied".to_owned());
        for service in
            [Fake::new(move || Err(refused()), || Ok(State::Running)), Fake::new(|| Ok(()), move || Err(refused()))]
        {
            let outcome = stop(&service, Duration::from_secs(600));
            assert!(matches!(outcome, Err(NotStopped::Refused(_))), "{outcome:?}");
        }
    }
}
