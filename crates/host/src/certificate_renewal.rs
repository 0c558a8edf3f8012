//! Keeps a running node's certificate: takes up what is put in its place,
//! renews it in time where the CA key is at hand, and raises alarms.
//!
//! What always holds: time is the chain's, as the other nodes judge by it; a
//! certificate that is about to end, or has ended, stops nothing here.

use std::{path::PathBuf, time::Duration};

use tokio::{sync::watch, task};
use trefoil_crypto::NodeCertificate;
use trefoil_ledger::Snapshot;
use trefoil_os::certificate::{self, Ca};
use trefoil_p2p::NetHandle;
use trefoil_types::PublicKey;

use crate::HostError;

// A look reads one small file. An operator who replaced it waits this long at most.
/// How often the file and the time are looked at.
const LOOK: Duration = Duration::from_secs(5);

// A CA command that fails leaves the operator a month to repair it, of the year that a
// certificate lasts (`certificate::DAYS`).
/// A certificate with fewer days left is renewed.
const RENEW_DAYS: u64 = 30;

// The first comes when the renewal is due: with the CA key at hand it means that the renewal
// failed.
/// With fewer days left than each of these an alarm is raised, once a threshold.
const ALARM_DAYS: [u64; 3] = [30, 7, 1];

/// The renewal of a node's certificate.
pub struct CertificateRenewal {
    /// The node's directory.
    pub dir: PathBuf,
    pub net: NetHandle,
    /// Shows the chain's time.
    pub snapshot: watch::Receiver<Snapshot>,
    /// Issues the next one, if it is at hand.
    pub ca: Option<Ca>,
    /// The certificate in force, for the servers that report it.
    pub held: watch::Sender<NodeCertificate>,
}

impl CertificateRenewal {
    /// Runs as long as the node does.
    pub async fn run(self) {
        let mut alarmed = None;
        let mut failed = None;
        loop {
            let now = self.snapshot.borrow().tip().timestamp;
            // A CA command may take as long as it likes, and so may the disk.
            let error = task::block_in_place(|| self.look(now)).err().map(|e| e.to_string());
            // Once, not each time it is looked at.
            if error != failed
                && let Some(error) = &error
            {
                tracing::error!("the node's certificate: {error}");
            }
            failed = error;
            let level = level(&self.held.borrow(), now);
            if let Some(passed) = level
                && alarmed.is_none_or(|alarmed| passed < alarmed)
            {
                alarm(passed);
            }
            alarmed = level;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes up another certificate if there is one, and makes one in time.
    fn look(&self, now: u64) -> Result<(), HostError> {
        let found = certificate::load(&self.dir)?;
        self.take_up(&found)?;
        let due = certificate::days_left(&found, now).is_none_or(|days| days < RENEW_DAYS);
        match &self.ca {
            Some(ca) if due => self.take_up(&self.renew(ca, &found, now)?),
            _ => Ok(()),
        }
    }

    fn take_up(&self, found: &NodeCertificate) -> Result<(), HostError> {
        let held = self.held.borrow().clone();
        if *found == held {
            return Ok(());
        }
        if found.peer != held.peer {
            let path = certificate::path(&self.dir);
            return Err(HostError::OtherNode { path, peer: found.peer });
        }
        if found.genesis != held.genesis {
            let (path, named) = (certificate::path(&self.dir), found.genesis);
            return Err(HostError::OtherNetwork { path, named, genesis: held.genesis });
        }
        tracing::info!(serial = %found.serial, until = found.not_after, "certificate taken up");
        self.net.set_certificate(found.clone());
        self.held.send_replace(found.clone());
        Ok(())
    }

    fn renew(
        &self,
        ca: &Ca,
        old: &NodeCertificate,
        now: u64,
    ) -> Result<NodeCertificate, HostError> {
        let (days, key) = (certificate::DAYS, ca.public());
        // Other nodes would refuse such a certificate: the operator should learn it here, and
        // keep the old one.
        if !self.counts(key, old.organisation) {
            return Err(HostError::CaRevoked { key });
        }
        let claims =
            certificate::claims(old.genesis, old.organisation, old.peer, old.role, now, days);
        let new = ca.certify(&claims)?;
        // Stored before it is used: a node that restarts shows the same certificate.
        certificate::store(&certificate::path(&self.dir), &new)?;
        Ok(new)
    }

    /// Whether the chain goes by what `key` signs for an organisation.
    fn counts(&self, key: PublicKey, organisation: u32) -> bool {
        let snapshot = self.snapshot.borrow();
        let next = snapshot.tip().number + 1;
        let known = snapshot.governed().members.organisations.get(&organisation);
        known.is_some_and(|known| known.ca_keys.iter().any(|ca| ca.key == key && ca.counts(next)))
    }
}

/// The threshold that was passed: less than 30, 7 or 1 days are left, or none (0).
fn level(certificate: &NodeCertificate, now: u64) -> Option<u64> {
    match certificate::days_left(certificate, now) {
        None => Some(0),
        Some(days) => ALARM_DAYS.into_iter().filter(|level| days < *level).min(),
    }
}

fn alarm(level: u64) {
    let cure = "let your organisation issue another (`trefoil node certify`) and put it in keys/node.der; nothing need be restarted";
    match level {
        0 => {
            tracing::error!("this node's certificate has expired: nobody admits it anew; {cure}");
        }
        days => tracing::warn!("this node's certificate ends in less than {days} days; {cure}"),
    }
}

#[cfg(test)]
mod tests {
    use trefoil_crypto::{Role, SecretKey};
    use trefoil_types::{B256, PeerId};

    use super::*;

    #[test]
    fn alarms_come_at_30_7_and_1_days_and_at_the_end() {
        let peer = PeerId(SecretKey::from_seed(&[3; 32]).public());
        let claims = certificate::claims(B256::ZERO, 1, peer, Role::Full, 1_700_000_000, 100);
        let certificate = Ca::Key(SecretKey::from_seed(&[9; 32])).certify(&claims).unwrap();
        let before_end =
            |days: u64| level(&certificate, certificate.not_after - days * 24 * 60 * 60);
        assert_eq!([100, 31, 30].map(before_end), [None; 3]);
        assert_eq!([29, 7].map(before_end), [Some(30); 2]);
        assert_eq!([6, 1].map(before_end), [Some(7); 2]);
        assert_eq!(level(&certificate, certificate.not_after - 1), Some(1));
        assert_eq!(level(&certificate, certificate.not_after), Some(0));
    }
}
