//! Learning of other nodes: the address book in use, shared by the service (which dials)
//! and the sessions (which ask peers and answer them).
//!
//! What always holds: an address that a peer sends is a candidate and nothing more. A peer is
//! asked once a connection, and answers once. An answer without a question is not looked at.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use trefoil_crypto::SecretKey;
use trefoil_types::{B256, Offence, PeerId, Time};

use crate::{
    config::Discovery,
    discovery::{
        address_book::{AddressBook, DialCandidate},
        address_book_file,
        outbound::{DialPurpose, Dialer},
        peer_record::{ADDRESSES_MAX, PeerRecord, RECORDS_MAX},
        reachability::may_tell,
    },
};

#[derive(Debug)]
pub(crate) struct Finder {
    file: PathBuf,
    network: B256,
    /// Whether anyone may connect: members may tell of each other's networks.
    public: bool,
    /// This node's own record.
    own: Option<PeerRecord>,
    state: Mutex<BookAndDialer>,
}

#[derive(Debug)]
struct BookAndDialer {
    book: AddressBook,
    dialer: Dialer,
}

impl Finder {
    pub fn open(config: Discovery, identity: &SecretKey, network: B256, public: bool) -> Self {
        let mut book = address_book_file::load(&config.file, rand::random(), rand::random());
        for candidate in config.bootstrap {
            let source = candidate.address;
            book.add(candidate, None, source);
            // At a start it is due at once: a node that just crashed may know no other.
            book.dialled(source, Time(0));
        }
        let now = wall();
        let mut addresses = config.advertise;
        addresses.truncate(ADDRESSES_MAX);
        let own = (!addresses.is_empty())
            .then(|| PeerRecord::sign(identity, &network, addresses, now.as_secs()));
        let dialer = Dialer::new(config.outbound, &book, now);
        Self {
            file: config.file,
            network,
            public,
            own,
            state: Mutex::new(BookAndDialer { book, dialer }),
        }
    }

    /// The candidates to dial now; see [`Dialer::due`]. Peers that are `connected` are
    /// left out.
    pub fn due(
        &self,
        others: Vec<SocketAddr>,
        connected: impl Fn(PeerId) -> bool,
    ) -> Vec<DialCandidate> {
        let BookAndDialer { book, dialer } = &mut *self.lock();
        let mut due = dialer.due(book, others, wall());
        due.retain(|candidate| {
            let here = candidate.peer.is_some_and(&connected);
            if here {
                // It is there, as its other connection shows: no failure.
                dialer.dropped(candidate.address);
            }
            !here
        });
        due
    }

    pub fn met(&self, address: SocketAddr, peer: PeerId) -> Option<DialPurpose> {
        let BookAndDialer { book, dialer } = &mut *self.lock();
        dialer.met(address, peer, book, wall())
    }

    pub fn ended(&self, address: SocketAddr) {
        let BookAndDialer { book, dialer } = &mut *self.lock();
        dialer.ended(address, book);
    }

    /// A dial was not made after all.
    pub fn dropped(&self, address: SocketAddr) {
        self.lock().dialer.dropped(address);
    }

    /// A dial met another peer than the one in the book.
    pub fn wrong_peer(&self, address: SocketAddr) {
        self.lock().book.wrong_peer(address);
    }

    /// A peer that dialled us claims that it listens at `address`.
    pub fn on_claimed_address(&self, address: SocketAddr, peer: PeerId) {
        let candidate = DialCandidate { address, peer: Some(peer) };
        self.lock().book.add(candidate, None, address);
    }

    /// Records that a peer at `source` sent, as asked. Addresses that it may not tell of are left
    /// out.
    ///
    /// # Errors
    /// One is not signed by the peer that it names.
    pub fn on_records(&self, records: Vec<PeerRecord>, source: SocketAddr) -> Result<(), Offence> {
        if !records.iter().all(|record| record.verify(&self.network)) {
            return Err(Offence::BadSignature);
        }
        let me = self.own.as_ref().map(|own| own.peer);
        let book = &mut self.lock().book;
        for record in records.into_iter().filter(|record| Some(record.peer) != me) {
            // Else a peer on the Internet has us tell our neighbours of their own networks.
            let whole = self.may_pass_whole(&record, source);
            for address in record.addresses.clone() {
                if !self.may_pass(address, source) {
                    continue;
                }
                let candidate = DialCandidate { address, peer: Some(record.peer) };
                book.add(candidate, whole.then(|| record.clone()), source);
            }
        }
        Ok(())
    }

    /// Whether an address may pass between this node and a peer at `peer`.
    fn may_pass(&self, address: SocketAddr, peer: SocketAddr) -> bool {
        !self.public || may_tell(address, peer)
    }

    /// The same of all addresses of a record, which is signed as a whole.
    fn may_pass_whole(&self, record: &PeerRecord, peer: SocketAddr) -> bool {
        record.addresses.iter().all(|address| self.may_pass(*address, peer))
    }

    /// The answer to a peer at `peer` that asks: this node's own record, and others'.
    pub fn answer(&self, peer: SocketAddr) -> Vec<PeerRecord> {
        let mut records: Vec<_> = self.own.iter().cloned().collect();
        records.extend(self.lock().book.records(RECORDS_MAX - records.len()));
        records.retain(|record| self.may_pass_whole(record, peer));
        records
    }

    /// Writes the book. Without it a restart knows less, and works.
    pub fn save(&self) {
        let bytes = address_book_file::encode(&self.lock().book);
        if let Err(error) = address_book_file::save(&self.file, &bytes) {
            tracing::warn!(file = %self.file.display(), %error, "cannot write the address book");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BookAndDialer> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Time(since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
