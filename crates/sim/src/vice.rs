//! In what ways machines are dishonest.

use clap::ValueEnum;

use crate::wire::Id;

/// In what way a machine is dishonest. A random plan picks one of `value_variants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Vice {
    /// Takes no part in consensus.
    Silent,
    /// Sends one statement to one half of the others, and another to the other half.
    Equivocator,
    /// Proposes to a few only, and answers no request.
    Withholder,
    /// Sends bytes that are no messages, and messages that are no good.
    Garbler,
    /// Repeats old messages, and sends messages of heights far ahead.
    Repeater,
    /// Proposes blocks that break the rules, and answers requests with bodies
    /// and blocks that were not asked for or not decided.
    Forger,
    /// Answers every request for blocks with false ones, and relays nothing.
    Usurper,
    /// Sends certificates that have less power than they claim (empty, too short,
    /// one vote twice), to everyone over and over: some have begun the height, some not.
    Inflator,
    /// Claims tips that no chain has, gives no blocks and relays nothing, over a new connection
    /// again and again.
    Boaster,
    /// Asks everyone for all that it can name, the same over and over.
    Beggar,
    /// Does so, and reads nothing that it is sent: it is always far behind, too.
    NonReader,
    /// Relays proposals with other lists of hashes as soon as it hears of them, and announces
    /// hashes of nothing.
    HashLiar,
    /// Two machines keep to the rules, with one validator's key: together they sign two things.
    #[value(skip)]
    Twin,
    /// Never hears the precommits of one validator, so that its blocks lack that one's signature
    /// wherever the others' are enough.
    #[value(skip)]
    Omitter(Id),
    /// Votes, and proposes nothing of its own.
    #[value(skip)]
    Mute,
    /// Tells a newcomer of a false snapshot.
    #[value(skip)]
    SnapshotLiar,
    /// Does no wrong by itself: a test uses its key, or sends messages in its name.
    #[value(skip)]
    Puppet,
}

impl Vice {
    /// The vices that need no validator's key.
    pub const OF_STRANGERS: [Self; 8] = [
        Self::Inflator,
        Self::Boaster,
        Self::Garbler,
        Self::Repeater,
        Self::Beggar,
        Self::NonReader,
        Self::HashLiar,
        Self::Usurper,
    ];
}
