//! A client of PyTorch's `TCPStore`: keys and values in a small server that `torchrun` hosts. By it processes that no MPI started find
//! each other.

mod wire;

use std::net::{TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

use self::wire::{Query, Wire};
use crate::error::DistributedError;
use crate::rank::Rank;
use crate::timeout;

/// How often a server that is not there yet is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// How often the first rank looks who has come.
const LOOK: Duration = Duration::from_millis(10);
/// How long a server may take to answer the first question: what speaks another protocol may stay silent.
const GREETING: Duration = Duration::from_secs(10);
/// More clients than any run has: what the first answer of another program is read as.
const MOST_CLIENTS: i64 = 1 << 24;

/// A connection to a store. All keys begin with a prefix of the run, so that runs that share a store do not meet.
///
/// The protocol is that of PyTorch 2.15 with either of its servers (libuv, or one thread that polls): a client says what it is first.
#[derive(Debug)]
pub struct Store {
    wire: Wire,
    address: String,
    prefix: String,
    limit: Duration,
}

impl Store {
    /// The store that torchrun hosts for the processes that it starts, at `MASTER_ADDR` and `MASTER_PORT`. Keys are those of this
    /// run (`TORCHELASTIC_RUN_ID`), of this attempt (`TORCHELASTIC_RESTART_COUNT`) and of this number of processes.
    ///
    /// # Errors
    /// If torchrun hosts none or does not say where, or as for [`connect`](Self::connect).
    pub fn of_torchrun(rank: &Rank) -> Result<Self, DistributedError> {
        Self::of(rank, |name| std::env::var(name).ok())
    }

    fn of(
        rank: &Rank,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, DistributedError> {
        let hosted = variable("TORCHELASTIC_USE_AGENT_STORE");
        if hosted.is_none_or(|hosted| hosted != "True") {
            return Err(DistributedError::NoStore { world: rank.world });
        }
        let required = |name: &'static str| {
            variable(name).ok_or_else(|| DistributedError::Variable {
                launcher: rank.launcher.name(),
                present: "TORCHELASTIC_USE_AGENT_STORE",
                variable: name,
                problem: "is missing".to_owned(),
                remedy: "start the processes with `torchrun`",
            })
        };
        let (host, port) = (required("MASTER_ADDR")?, required("MASTER_PORT")?);
        let or = |name, other: &str| variable(name).unwrap_or_else(|| other.to_owned());
        let prefix = format!(
            "nextscale/{}/{}/{}/",
            or("TORCHELASTIC_RUN_ID", "none"),
            or("TORCHELASTIC_RESTART_COUNT", "0"),
            rank.world
        );
        Self::connect(&address(&host, &port), &prefix, timeout::of_first())
    }

    /// Connects with the store at `address` (`HOST:PORT`), whose keys are to begin with `prefix`. `limit` is how long the server and,
    /// later, other ranks are waited for.
    ///
    /// # Errors
    /// If nothing listens there within that time, or something else than a store.
    pub fn connect(address: &str, prefix: &str, limit: Duration) -> Result<Self, DistributedError> {
        let stream = reach(address, limit)?;
        let mut store = Self {
            wire: Wire::new(stream),
            address: address.to_owned(),
            prefix: prefix.to_owned(),
            limit,
        };
        // Only a store counts; so its answer also tells what it is.
        let key = store.key("clients");
        let greeted = store.wire.greet(&key, limit.min(GREETING));
        let ours = greeted.is_ok_and(|clients| (1..=MOST_CLIENTS).contains(&clients));
        ours.then_some(store)
            .ok_or_else(|| DistributedError::OtherStore {
                address: address.to_owned(),
            })
    }

    /// Writes a value.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), DistributedError> {
        let key = self.key(key);
        let sent = self.wire.send(Query::Set, &[key.as_bytes(), value]);
        sent.map_err(|error| self.lost(&error))
    }

    /// Adds to a number, which is 0 before, and returns the sum.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn add(&mut self, key: &str, n: i64) -> Result<i64, DistributedError> {
        let key = self.key(key);
        let sum = self.wire.add(&key, n, self.limit);
        sum.map_err(|error| self.lost(&error))
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn has(&mut self, key: &str) -> Result<bool, DistributedError> {
        let key = self.key(key);
        let has = self.wire.check(&key, self.limit);
        has.map_err(|error| self.lost(&error))
    }

    /// The value of a key, which is waited for; none if it has none within `limit`.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub fn get(&mut self, key: &str, limit: Duration) -> Result<Option<Vec<u8>>, DistributedError> {
        let key = self.key(key);
        let patience = self.limit;
        let mut value = || {
            let has = self.wire.wait(&key, limit, patience)?;
            has.then(|| self.wire.get(&key, patience)).transpose()
        };
        value().map_err(|error| self.lost(&error))
    }

    /// The bytes of every rank, in the order of the ranks, under a name that is used once. All ranks call it.
    ///
    /// # Errors
    /// As for [`set`](Self::set), or a rank does not come in time.
    pub fn exchange(
        &mut self,
        rank: &Rank,
        name: &str,
        own: &[u8],
    ) -> Result<Vec<Vec<u8>>, DistributedError> {
        let of = |rank: usize| format!("{name}/{rank}");
        let all = format!("{name}/all");
        self.set(&of(rank.rank), own)?;
        if !rank.is_first() {
            let limit = timeout::of_others(self.limit);
            let found = self.get(&all, limit)?;
            let found = found.ok_or_else(|| self.missing("0".to_owned()))?;
            return wire::split(&found, rank.world).ok_or_else(|| DistributedError::OtherStore {
                address: self.address.clone(),
            });
        }
        self.await_all(rank.world, of)?;
        let mut parts = Vec::with_capacity(rank.world);
        for other in 0..rank.world {
            let part = self.get(&of(other), self.limit)?;
            parts.push(part.unwrap_or_default());
        }
        self.set(&all, &wire::join(&parts))?;
        Ok(parts)
    }

    /// Waits until the keys of all ranks have values.
    fn await_all(
        &mut self,
        world: usize,
        key: impl Fn(usize) -> String,
    ) -> Result<(), DistributedError> {
        let started = Instant::now();
        let mut absent: Vec<usize> = (0..world).collect();
        loop {
            let mut still = Vec::new();
            for rank in absent {
                if !self.has(&key(rank))? {
                    still.push(rank);
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            if started.elapsed() > self.limit {
                let ranks: Vec<String> = still.iter().map(usize::to_string).collect();
                return Err(self.missing(ranks.join(", ")));
            }
            absent = still;
            sleep(LOOK);
        }
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn missing(&self, ranks: String) -> DistributedError {
        DistributedError::Missing {
            ranks,
            seconds: self.limit.as_secs(),
        }
    }

    fn lost(&self, error: &std::io::Error) -> DistributedError {
        DistributedError::StoreLost {
            address: self.address.clone(),
            reason: error.to_string(),
        }
    }
}

/// `HOST:PORT`, where the host may be an address of IPv6.
fn address(host: &str, port: &str) -> String {
    let bare = host.contains(':') && !host.starts_with('[');
    let [open, close] = if bare { ["[", "]"] } else { ["", ""] };
    format!("{open}{host}{close}:{port}")
}

/// A connection to what listens at an address, which is tried until `limit` is over.
fn reach(address: &str, limit: Duration) -> Result<TcpStream, DistributedError> {
    let started = Instant::now();
    loop {
        let left = limit
            .saturating_sub(started.elapsed())
            .max(Duration::from_secs(1));
        let attempt = address.to_socket_addrs().and_then(|found| {
            let mut last = std::io::Error::other("the name has no address");
            for one in found {
                match TcpStream::connect_timeout(&one, left) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        });
        match attempt {
            Ok(stream) => return Ok(stream),
            Err(error) if started.elapsed() >= limit => {
                return Err(DistributedError::StoreAway {
                    address: address.to_owned(),
                    seconds: limit.as_secs(),
                    reason: error.to_string(),
                });
            }
            Err(_) => sleep(RETRY.min(limit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rank::Launcher;

    #[test]
    fn a_store_needs_torchrun() {
        let rank = Rank {
            rank: 1,
            world: 2,
            local_rank: 1,
            local_world: None,
            launcher: Launcher::Torchrun,
        };
        let told = |set: &[(&str, &str)]| {
            let found = |name: &str| {
                let pair = set.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            };
            Store::of(&rank, found).unwrap_err().to_string()
        };
        let none = "no store is hosted by which the 2 processes could find each other: start them with `torchrun`, or with `mpirun` and a build with MPI";
        assert_eq!(told(&[]), none);
        assert_eq!(told(&[("TORCHELASTIC_USE_AGENT_STORE", "False")]), none);
        assert_eq!(
            told(&[("TORCHELASTIC_USE_AGENT_STORE", "True")]),
            "torchrun set TORCHELASTIC_USE_AGENT_STORE but MASTER_ADDR is missing: start the processes with `torchrun`"
        );
    }

    #[test]
    fn addresses_of_both_kinds() {
        assert_eq!(address("node1", "29500"), "node1:29500");
        assert_eq!(address("fe80::1", "29500"), "[fe80::1]:29500");
        assert_eq!(address("[fe80::1]", "29500"), "[fe80::1]:29500");
    }
}
