//! Panics are faults of the program: they end in one sentence, exit code 70, and nothing of the runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use nextscale_pipelines::error::panic_message;

/// `EX_SOFTWARE` of `sysexits.h`.
pub(crate) const EXIT_CODE: u8 = 70;

/// Where the last panic was.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Runs the program. Panics of any thread print nothing by themselves.
pub(crate) fn guarded(program: impl FnOnce() -> ExitCode) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }));
    catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|panic| {
        eprintln!(
            "error: nextscale failed, and the fault is its own: {}",
            panic_message(&*panic)
        );
        report()
    })
}

/// Asks for a report, and gives the exit code.
pub(crate) fn report() -> ExitCode {
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    eprintln!(
        "  hint: please report it with the command and these lines{place}: {}/issues",
        env!("CARGO_PKG_REPOSITORY")
    );
    ExitCode::from(EXIT_CODE)
}
