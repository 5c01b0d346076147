//! Something there is so much of, divided among whoever asks: a source gets no more than is then left
//! for the others. Alone it gets half of it all, the next half of the rest, and nobody who asks for
//! little finds it all gone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// What there is, and who has it.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    room: Mutex<Room>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Room {
    taken: usize,
    of_source: HashMap<IpAddr, usize>,
}

/// Why there is nothing more to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// The source has as much as would be left for everybody else.
    Source,
    /// There is not so much for anybody.
    Full,
}

impl Crowded {
    /// In one word, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Full => "full",
        }
    }
}

/// What somebody has, until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    source: IpAddr,
    size: usize,
}

impl Shares {
    /// So much, all of it free.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            room: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Nothing yet, for a source.
    pub fn of(self: &Arc<Self>, source: IpAddr) -> Share {
        Share {
            shares: Arc::clone(self),
            source: source.to_canonical(),
            size: 0,
        }
    }

    /// How much is taken.
    pub fn taken(&self) -> usize {
        self.room().taken
    }

    fn take(&self, source: IpAddr, more: usize) -> Result<(), Crowded> {
        let mut room = self.room();
        let taken = room.taken.saturating_add(more);
        let left = self.limit.checked_sub(taken).ok_or(Crowded::Full)?;
        let own = room.of_source.get(&source).copied().unwrap_or(0);
        let own = own.saturating_add(more);
        if own > left {
            return Err(Crowded::Source);
        }
        room.taken = taken;
        room.of_source.insert(source, own);
        Ok(())
    }

    fn give_back(&self, source: IpAddr, size: usize) {
        let mut room = self.room();
        room.taken = room.taken.saturating_sub(size);
        if let Some(own) = room.of_source.get_mut(&source) {
            *own = own.saturating_sub(size);
            if *own == 0 {
                room.of_source.remove(&source);
            }
        }
        drop(room);
        self.freed.notify_waiters();
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// How much it is.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Makes it so much, or more if it is more; waits at most so long until others give back enough.
    pub async fn grow(&mut self, size: usize, patience: Duration) -> Result<(), Crowded> {
        let more = size.saturating_sub(self.size);
        if more == 0 {
            return Ok(());
        }
        let patience = tokio::time::sleep(patience);
        tokio::pin!(patience);
        loop {
            // From before the look, so that nothing given back is missed.
            let freed = self.shares.freed.notified();
            match self.shares.take(self.source, more) {
                Ok(()) => {
                    self.size += more;
                    return Ok(());
                }
                Err(crowded) => tokio::select! {
                    () = freed => {}
                    () = &mut patience => return Err(crowded),
                },
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.size > 0 {
            self.shares.give_back(self.source, self.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn source(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_much_leaves_as_much_to_others() {
        let shares = Shares::new(1000);
        let mut greedy: Vec<Share> = (0..100).map(|_| shares.of(source(1))).collect();
        let mut taken = 0;
        for one in &mut greedy {
            taken += usize::from(one.grow(50, SHORT).await.is_ok());
        }
        assert_eq!(taken, 10, "half of it");
        let mut other = shares.of(source(2));
        other.grow(200, SHORT).await.unwrap();
        assert_eq!(other.grow(300, SHORT).await, Err(Crowded::Source));
        let mut third = shares.of(source(3));
        third.grow(100, SHORT).await.unwrap();
        assert_eq!(third.grow(700, SHORT).await, Err(Crowded::Full));
        drop((greedy, other, third));
        let room = shares.room();
        assert_eq!((room.taken, room.of_source.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_nothing_waits_a_moment_for_it() {
        let shares = Shares::new(1000);
        let mut first = shares.of(source(1));
        first.grow(500, SHORT).await.unwrap();
        let mut second = shares.of(source(1));
        let waiting = async {
            let began = tokio::time::Instant::now();
            (second.grow(100, SHORT).await, began.elapsed())
        };
        let ending = async {
            tokio::time::sleep(SHORT / 2).await;
            drop(first);
        };
        let ((taken, waited), ()) = tokio::join!(waiting, ending);
        assert_eq!((taken, waited), (Ok(()), SHORT / 2));
    }
}
