//! Whether cards record their launches as CUDA graphs, and who may use a card meanwhile.
//!
//! While one thread records, what other threads ask of the card would be recorded too, or refused. So everything that uses a card
//! holds [`shared`], and recording holds [`alone`].

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static IS_ON: AtomicBool = AtomicBool::new(false);
static CARD: RwLock<()> = RwLock::new(());

thread_local! {
    /// How many [`Shared`] this thread has.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What they hold, together.
    static HELD: RefCell<Option<RwLockReadGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// Turns graphs on for the rest of this process.
pub fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Whether graphs are recorded.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The card's use by this thread, which keeps others from recording.
#[must_use]
pub struct Shared(PhantomData<*const ()>);

/// Held by a thread while it uses a card; none if nothing is ever recorded.
pub fn shared() -> Option<Shared> {
    is_on().then(|| {
        DEPTH.set(DEPTH.get() + 1);
        take();
        Shared(PhantomData)
    })
}

impl Drop for Shared {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            leave();
        }
    }
}

/// Waits for `work`, which does not use the card: others may record meanwhile.
pub fn waiting<T>(work: impl FnOnce() -> T) -> T {
    leave();
    let _back = Back;
    work()
}

/// The only use of the card.
#[must_use]
pub struct Alone {
    writer: Option<RwLockWriteGuard<'static, ()>>,
}

/// Held by a thread while it records: waits until all others have let go of the card, and keeps them away.
pub fn alone() -> Alone {
    leave();
    let writer = CARD.write().unwrap_or_else(PoisonError::into_inner);
    Alone {
        writer: Some(writer),
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        drop(self.writer.take());
        take();
    }
}

/// Takes the card again at its end.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        take();
    }
}

/// Takes the card if this thread has a [`Shared`] and does not hold it already.
fn take() {
    HELD.with_borrow_mut(|held| {
        if DEPTH.get() > 0 && held.is_none() {
            *held = Some(CARD.read().unwrap_or_else(PoisonError::into_inner));
        }
    });
}

fn leave() {
    HELD.with_borrow_mut(|held| drop(held.take()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_records_is_alone() {
        assert!(shared().is_none(), "nothing is recorded");
        turn_on();
        let others = || std::thread::scope(|s| s.spawn(|| CARD.try_write().is_ok()).join());
        let mine = shared();
        let again = shared();
        drop(again);
        assert!(!others().unwrap(), "this thread still uses the card");
        assert!(waiting(others).unwrap(), "it does not while it waits");
        assert!(!others().unwrap());
        let alone = alone();
        let readers = || std::thread::scope(|s| s.spawn(|| CARD.try_read().is_ok()).join());
        assert!(!readers().unwrap());
        drop(alone);
        assert!(readers().unwrap() && !others().unwrap());
        drop(mine);
        assert!(others().unwrap());
    }
}
