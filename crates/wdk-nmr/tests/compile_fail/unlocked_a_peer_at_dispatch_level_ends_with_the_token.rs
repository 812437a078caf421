//! A call at DISPATCH_LEVEL that goes on below it.

mod common;
use common::*;

fn main() {
    let registration = fast_client();
    let provider = {
        let dispatch = unsafe { Dispatch::new() };
        with_spin_lock(&dispatch, |dispatch| registration.providers().at_dispatch(dispatch).next())
    };
    drop(provider);
}

fn with_spin_lock<R>(_: &Dispatch<'_>, f: impl for<'a> FnOnce(Dispatch<'a>) -> R) -> R {
    f(unsafe { Dispatch::new() })
}
