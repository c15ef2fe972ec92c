//! Reading on a thread of its own what is needed next, while what was read before is used.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Items that are read by number, of which one is read ahead. The thread ends with it.
pub(crate) struct ReadAhead<T> {
    wanted: Sender<usize>,
    read: Receiver<T>,
    /// The number of the item that is being read.
    ahead: Option<usize>,
}

impl<T: Send + 'static> ReadAhead<T> {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn new(read: impl Fn(usize) -> T + Send + 'static) -> io::Result<Self> {
        let (wanted, numbers) = channel();
        let (items, results) = channel();
        let work = move || {
            for number in numbers {
                if items.send(read(number)).is_err() {
                    return;
                }
            }
        };
        let named = thread::Builder::new().name("read ahead".to_owned());
        named.spawn(work)?;
        Ok(Self {
            wanted,
            read: results,
            ahead: None,
        })
    }

    /// Item `number`, while `next` is read from here on; none if the thread has ended, since it panicked.
    pub fn take(&mut self, number: usize, next: usize) -> Option<T> {
        let ahead = self.ahead.take();
        if ahead != Some(number) {
            if ahead.is_some() {
                drop(self.read.recv().ok()?);
            }
            self.wanted.send(number).ok()?;
        }
        let item = self.read.recv().ok()?;
        self.wanted.send(next).ok()?;
        self.ahead = Some(next);
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_any_order() {
        let mut squares = ReadAhead::new(|number| number * number).unwrap();
        for (number, next) in [(0, 1), (1, 2), (2, 0), (0, 1), (5, 6), (6, 7), (3, 4)] {
            assert_eq!(squares.take(number, next), Some(number * number));
        }
    }

    #[test]
    fn the_next_one_is_read_meanwhile() {
        let (told, reads) = channel();
        let mut items = ReadAhead::new(move |number| told.send(number)).unwrap();
        items.take(3, 4).unwrap().unwrap();
        assert_eq!((reads.recv(), reads.recv()), (Ok(3), Ok(4)));
        items.take(4, 5).unwrap().unwrap();
        assert_eq!(reads.recv(), Ok(5));
    }

    #[test]
    fn a_panic_is_no_item() {
        let mut items = ReadAhead::new(|number| assert_ne!(number, 2)).unwrap();
        assert_eq!(items.take(1, 2), Some(()));
        assert_eq!(items.take(2, 3), None);
        assert_eq!(items.take(3, 4), None);
    }
}
