//! A notification event, as KEVENT is one: KeInitializeEvent, KeSetEvent, KeWaitForSingleObject.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

#[derive(Default)]
pub struct Event(Mutex<bool>, Condvar);

impl Event {
    pub fn set(&self) {
        *self.0.lock().expect("no panic") = true;
        self.1.notify_all();
    }

    /// False: the event was not set in time.
    pub fn wait(&self, timeout: Duration) -> bool {
        let guard = self.0.lock().expect("no panic");
        let (set, _) = self.1.wait_timeout_while(guard, timeout, |set| !*set).expect("no panic");
        *set
    }
}
