//! A ledger of a private chain at its genesis, for tests.

use std::sync::Arc;

use trefoil_crypto::SecretKey;
use trefoil_ledger::{History, Ledger};
use trefoil_types::{Address, ChainSpec, MemDisk, PeerId};

/// The ledger of a chain with one validator.
pub(crate) fn ledger() -> Ledger {
    let public = |n: u8| SecretKey::from_seed(&[n; 32]).public();
    let owner = Address::repeat_byte(9);
    let text = format!(
        "name = \"t\"\nkind = \"private\"\nchain_id = 5\ngenesis_time = 1\n\
         gas_limit = 30000000\nbase_fee = 0\n[forks]\ncancun = 0\n\
         [[organisations]]\nname = \"one\"\nkeys = [\"{owner}\"]\nca_keys = [\"{ca}\"]\n\
         [[validators]]\nkey = \"{key}\"\npower = 1\nfee_recipient = \"{owner}\"\nnode = \"{peer}\"\n\
         organisation = \"one\"\n",
        ca = public(2),
        key = public(1),
        peer = PeerId(public(3)),
    );
    let spec = Arc::new(ChainSpec::from_toml(&text).unwrap());
    Ledger::open(Arc::new(MemDisk::default()), spec, History::Archive).unwrap()
}
