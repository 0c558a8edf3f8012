//! `trefoil network`: found one, invite others to it.

use std::{net::SocketAddr, path::PathBuf};

use alloy_primitives::{U256, utils::parse_ether};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use trefoil_crypto::{NodeCertificate, Role};
use trefoil_host::{
    home::{self, Home},
    logging,
    settings::{PeerAddress, Settings},
};
use trefoil_os::{
    certificate::{self, Ca},
    clock,
    keystore::{self, KeyKind},
};
use trefoil_p2p::is_reachable;
use trefoil_types::{
    Address, Kind, PeerId,
    spec::{Parameter, Staking, default_snapshot_every},
};

use super::{
    arguments::{self, DirArgs, FoundingStakeArgs, KdfArgs, PasswordArgs},
    ceremony::{CheckArgs, DeclareArgs, read_declaration},
    consent::ConsentArgs,
};
use crate::{
    error::{CommandError, OrCure as _},
    genesis::{
        declaration::Declaration,
        founding::{self, Founder, FoundingPlan, Party},
        invite::{self, Invite},
    },
};

#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Found a network: chain.toml and a directory with keys for each founder
    New(FoundArgs),
    /// Declare your organisation's keys, which you made yourself, for a network that is to be founded
    Declare(DeclareArgs),
    /// Compare a network that is to be founded with what your organisation declared
    Check(CheckArgs),
    /// Print an invite, with which others join
    Invite(InviteArgs),
}

impl NetworkCommand {
    pub fn run(self) -> Result<(), CommandError> {
        match self {
            Self::New(command) => command.run(),
            Self::Declare(command) => command.run(),
            Self::Check(command) => command.run(),
            Self::Invite(command) => command.run(),
        }
    }
}

/// Reads the kind of a network.
pub fn kind_parser() -> impl TypedValueParser<Value = Kind> {
    let kinds = [Kind::Public, Kind::Private, Kind::Consortium];
    PossibleValuesParser::new(kinds.map(Kind::name))
        .map(move |name| kinds.into_iter().find(|kind| kind.name() == name).expect("one of these"))
}

/// Money at genesis in wei, written `ADDRESS=ETHER`.
fn fund(text: &str) -> Result<(Address, U256), String> {
    let (address, ether) = text.split_once('=').ok_or("write ADDRESS=ETHER")?;
    let address = address.parse().map_err(|_| format!("{address:?} is no address"))?;
    let wei = parse_ether(ether).map_err(|_| format!("{ether:?} is no amount of ether"))?;
    Ok((address, wei))
}

// A type of its own: of a `Vec` clap would take one value for each account, and no list of none.
/// The accounts on a list.
#[derive(Clone, Debug)]
struct AccountList(Vec<Address>);

fn account_list(text: &str) -> Result<AccountList, String> {
    let accounts = text.split(',').filter(|text| !text.is_empty()).map(arguments::account);
    accounts.collect::<Result<_, _>>().map(AccountList)
}

/// An organisation, written `NAME` or `NAME=ADDRESS,…`.
fn party(text: &str) -> Result<Party, String> {
    let (name, accounts) = text.split_once('=').unwrap_or((text, ""));
    let name = arguments::name(name)?;
    let accounts = accounts.split(',').filter(|text| !text.is_empty()).map(arguments::account);
    Ok(Party { name, accounts: accounts.collect::<Result<_, _>>()?, senders: vec![] })
}

/// Accounts that may send for an organisation, written `NAME=ADDRESS,…`.
fn senders(text: &str) -> Result<(String, AccountList), String> {
    let (name, accounts) = text.split_once('=').ok_or("write NAME=ADDRESS,…")?;
    Ok((arguments::name(name)?, account_list(accounts)?))
}

/// A number that nodes act on, written `NAME=VALUE`.
fn parameter(text: &str) -> Result<(Parameter, u64), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let known = Parameter::ALL.map(Parameter::name).join(", ");
    let parameter = Parameter::of_name(name)
        .ok_or_else(|| format!("this program knows no parameter {name:?}; use one of {known}"))?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    Ok((parameter, value))
}

#[derive(Debug, Args)]
pub struct FoundArgs {
    /// The kind of network: it decides who may connect, and who chooses the validators
    #[arg(long, value_parser = kind_parser())]
    kind: Kind,
    /// EIP-155 chain id, which wallets sign for
    #[arg(long)]
    chain_id: u64,
    #[arg(long, default_value = "trefoil")]
    name: String,
    /// Number of founders
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=128))]
    validators: u16,
    /// An organisation and the accounts that vote for it; without accounts one is
    /// made. Founders are theirs in turn. A private network has one
    #[arg(long = "org", value_name = "NAME[=ADDRESS,…]", value_parser = party)]
    orgs: Vec<Party>,
    /// What an organisation declared of keys that it made itself (`trefoil network declare`); once for each
    /// organisation. Then no key is made here
    #[arg(long = "declaration", value_name = "FILE", conflicts_with_all = ["orgs", "validators", "addresses"])]
    declarations: Vec<PathBuf>,
    /// Where the founders are reached, one for each; without: ports of this machine
    #[arg(long = "at", value_name = "IP:PORT", value_parser = arguments::reachable)]
    addresses: Vec<SocketAddr>,
    /// An account that owns ether at genesis; may be given many times
    #[arg(long = "fund", value_name = "ADDRESS=ETHER", value_parser = fund)]
    funds: Vec<(Address, U256)>,
    /// Only these accounts, and those that vote for organisations, may send transactions, until a vote changes
    /// it; without: all may
    #[arg(long, value_name = "ADDRESS,…", value_parser = account_list)]
    accounts: Option<AccountList>,
    /// Only transactions of these accounts create contracts, until a vote changes it ('': none may); without:
    /// those of all
    #[arg(long, value_name = "ADDRESS,…", value_parser = account_list)]
    deployers: Option<AccountList>,
    /// Accounts that may send for an organisation whatever is listed, since those that vote for it are contracts
    #[arg(long, value_name = "NAME=ADDRESS,…", value_parser = senders, conflicts_with = "declarations")]
    senders: Vec<(String, AccountList)>,
    /// A number that nodes act on from genesis on, until a vote changes it: code-size (bytes of a contract),
    /// tx-gas (gas of a transaction)
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(Parameter, u64)>,
    /// First base fee in wei; 0: nobody ever pays for gas
    #[arg(long, value_name = "WEI", default_value_t = founding::BASE_FEE)]
    base_fee: u64,
    // As a chain specification has it that names none.
    /// A block is not made oftener than this
    #[arg(long, value_name = "MS", default_value_t = 500)]
    block_time: u64,
    // A sign of life; each block is on every node's disk for ever.
    /// An idle chain makes a block this often; 0: never
    #[arg(long, value_name = "S", default_value_t = 60)]
    idle_block_s: u64,
    /// Nodes keep the state after so many blocks each, for those who join; 0: never
    #[arg(long, value_name = "BLOCKS", default_value_t = default_snapshot_every())]
    snapshot_every: u64,
    #[command(flatten)]
    stake: FoundingStakeArgs,
    #[command(flatten)]
    consent: ConsentArgs,
    #[command(flatten)]
    password: PasswordArgs,
    #[command(flatten)]
    kdf: KdfArgs,
    /// Where to write: DIR/chain.toml and DIR/NAME-0, DIR/NAME-1, …; with --declaration DIR/chain.toml and
    /// DIR/invite
    dir: PathBuf,
}

impl FoundArgs {
    fn run(self) -> Result<(), CommandError> {
        if self.dir.join("chain.toml").exists() {
            return Err(CommandError::with_cure(
                format!("{} holds a network already", self.dir.display()),
                "name another directory, or remove that one",
            ));
        }
        if !self.declarations.is_empty() {
            return self.found_declared();
        }
        self.ask_if_few(self.validators.into())?;
        let mut organisations = self.organisations()?;
        for (name, AccountList(senders)) in &self.senders {
            let party = organisations.iter_mut().find(|party| party.name == *name).or_cure(
                format!("--senders names {name}, which is no founding organisation"),
                "name one of those of --org",
            )?;
            party.senders.extend(senders);
        }
        let founders = self.founders(&organisations)?;
        let password = self.password.source().choose("the founders' keys")?;
        let plan = self.plan(organisations)?;
        self.note(plan.organisations.len());
        let spec = founding::found(plan, &founders, &password, self.kdf.cost())?;
        home::write(&self.dir.join("chain.toml"), &spec.to_toml())?;
        println!("{}", self.dir.join("chain.toml").display());
        for founder in founders {
            let dir = founder.home.dir.display();
            println!(
                "{dir}  at {}: copy it there, then `trefoil run --dir {dir}`",
                founder.address
            );
        }
        Ok(())
    }

    /// Where several own a network, one of them must not stop it unawares.
    fn ask_if_few(&self, validators: usize) -> Result<(), CommandError> {
        if validators >= usize::from(Staking::default().validators_min) {
            return Ok(());
        }
        let what = format!(
            "{validators} {} no fault: the network stops{} while one is away; of four or more it goes on",
            if validators == 1 { "validator bears" } else { "validators bear" },
            if self.kind.has_members() { ", and nothing can be voted," } else { "" }
        );
        match self.kind {
            Kind::Public | Kind::Consortium => self.consent.ask(&what),
            // Its one owner may mean a single machine.
            Kind::Private => {
                logging::say(&format!("note: {what}"));
                Ok(())
            }
        }
    }

    fn plan(&self, organisations: Vec<Party>) -> Result<FoundingPlan, CommandError> {
        Ok(FoundingPlan {
            name: self.name.clone(),
            kind: self.kind,
            stake: self.stake.of(self.kind)?,
            chain_id: self.chain_id,
            base_fee: self.base_fee,
            block_interval_ms: self.block_time,
            idle_block_s: self.idle_block_s,
            snapshot_every: self.snapshot_every,
            organisations,
            accounts: self.accounts.clone().map(|list| list.0),
            deployers: self.deployers.clone().map(|list| list.0),
            parameters: self.parameters.iter().cloned().collect(),
            funds: self.funds.iter().copied().collect(),
        })
    }

    /// Says what the founders may not have thought of.
    fn note(&self, organisations: usize) {
        if self.funds.is_empty() && self.base_fee > 0 {
            logging::say(
                "note: no account owns anything, so nobody can pay for gas; give --fund ADDRESS=ETHER, or --base-fee 0",
            );
        }
        if matches!(organisations, 1 | 2) {
            logging::say(
                "note: with one or two organisations a vote suspends none, and gives none new keys that lost its own",
            );
        }
    }

    /// With keys that the organisations made themselves.
    fn found_declared(&self) -> Result<(), CommandError> {
        let count = self.declarations.len();
        self.check_count("--declaration", count)?;
        let mut declarations = Vec::new();
        for path in &self.declarations {
            let declaration = read_declaration(path)?;
            let fits = declaration.check_network(&self.name, self.chain_id);
            fits.map_err(|e| CommandError::declaration(path, e))?;
            declarations.push(declaration);
        }
        let spec = founding::found_declared(&self.plan(vec![])?, &declarations)?;
        self.ask_if_few(spec.validators.len())?;
        let genesis = trefoil_ledger::genesis_hash(&spec)?;
        self.note(count);
        let mut peers: Vec<_> = declarations.iter().flat_map(Declaration::peers).collect();
        // A reader refuses an invite that names more.
        peers.truncate(invite::PEERS_MAX);
        let [chain, line] = ["chain.toml", "invite"].map(|file| self.dir.join(file));
        home::write(
            &line,
            &format!("{}\n", Invite { spec: spec.clone(), peers, certificate: None }),
        )?;
        home::write(&chain, &spec.to_toml())?;
        println!("{}\n{}", chain.display(), line.display());
        println!("genesis {genesis}");
        println!("send the invite to each organisation, which compares it with what it declared:");
        println!("  trefoil network check invite --declaration NAME.toml");
        Ok(())
    }

    /// Refuses organisations, `count` of them by `flag`, that a network of this kind cannot have.
    fn check_count(&self, flag: &str, count: usize) -> Result<(), CommandError> {
        match self.kind {
            Kind::Public if count > 0 => Err(CommandError::with_cure(
                "a public network has no organisations",
                format!("leave {flag} out"),
            )),
            Kind::Private if count > 1 => Err(CommandError::with_cure(
                format!("{flag} is given {count} times for a private network"),
                "give it once: others are voted in later; or found a consortium",
            )),
            _ => Ok(()),
        }
    }

    /// Those named; a private network without one is its own name's.
    fn organisations(&self) -> Result<Vec<Party>, CommandError> {
        let named = self.orgs.clone();
        let count = named.len();
        self.check_count("--org", count)?;
        let wrong = |what: String, cure: &str| Err(CommandError::with_cure(what, cure));
        match self.kind {
            Kind::Private if count == 0 => {
                Ok(vec![Party { name: self.name.clone(), accounts: vec![], senders: vec![] }])
            }
            Kind::Consortium if count == 0 => {
                wrong("a consortium has organisations".into(), "give --org NAME for each of them")
            }
            Kind::Consortium if count > usize::from(self.validators) => wrong(
                format!("{count} organisations for {} founders", self.validators),
                "let each organisation have a founder: raise --validators",
            ),
            _ => Ok(named),
        }
    }

    /// Names, addresses and ports of the founders.
    fn founders(&self, organisations: &[Party]) -> Result<Vec<Founder>, CommandError> {
        let count = usize::from(self.validators);
        if !self.addresses.is_empty() && self.addresses.len() != count {
            return Err(CommandError::with_cure(
                format!("--at is given {} times for {count} founders", self.addresses.len()),
                "give it once for each founder, or not at all",
            ));
        }
        let founder = |index: u16| {
            let i = usize::from(index);
            let org = match self.orgs.len() {
                0 => "node",
                count => &organisations[i % count].name,
            };
            let mut settings = Settings::default();
            let address = match self.addresses.get(i) {
                // Elsewhere: listen on every address of that machine.
                Some(address) => {
                    settings.p2p.listen.set_port(address.port());
                    settings.p2p.advertise = vec![*address];
                    *address
                }
                None => {
                    settings.rpc.listen.set_port(8545 + index);
                    settings.p2p.listen = SocketAddr::from(([127, 0, 0, 1], 30303 + index));
                    settings.p2p.listen
                }
            };
            let home = Home::new(self.dir.join(format!("{org}-{index}")));
            Founder { home, address, settings, fee_recipient: None }
        };
        Ok((0..self.validators).map(founder).collect())
    }
}

#[derive(Debug, Args)]
pub struct InviteArgs {
    #[command(flatten)]
    dir: DirArgs,
    /// Where others reach this node, if it listens on every address (0.0.0.0)
    #[arg(long, value_name = "IP:PORT", value_parser = arguments::reachable)]
    at: Option<SocketAddr>,
    /// The newcomer's peer id (`trefoil keys new node` prints it): certify it with
    /// the CA key in DIR/keys/ca.json, and put the certificate into the invite
    #[arg(long = "for", value_name = "PEERID")]
    newcomer: Option<PeerId>,
    /// The newcomer's role: full, or validator
    #[arg(long, default_value_t = Role::Full, requires = "newcomer")]
    role: Role,
    #[command(flatten)]
    password: PasswordArgs,
}

impl InviteArgs {
    fn run(self) -> Result<(), CommandError> {
        let home = self.dir.home();
        let spec = home.spec()?;
        let p2p = home.settings(&[])?.settings.p2p;
        let me = keystore::describe(&keystore::path(&home.dir, KeyKind::Node, ""))?.public;
        // 0.0.0.0 means every address of this machine, and cannot be dialled.
        let listen = Some(p2p.listen).filter(|address| is_reachable(*address));
        let address = self.at.or(listen).or_cure(
            format!("this node listens on {}, which is no address to dial", p2p.listen),
            "say where others reach it with --at IP:PORT",
        )?;
        let peer = me.parse().map_err(|e| {
            CommandError::with_cure(
                format!("this node's key has no peer id: {e}"),
                "restore keys/node.json",
            )
        })?;
        let mut peers = vec![PeerAddress { peer, address }];
        peers.extend(p2p.peers);
        // A reader refuses an invite that names more.
        peers.truncate(invite::PEERS_MAX);
        let certificate =
            self.newcomer.map(|newcomer| self.certify(&home, newcomer)).transpose()?;
        println!("{}", Invite { spec: (*spec).clone(), peers, certificate });
        Ok(())
    }

    /// With the CA key that is here, for the organisation of this node.
    fn certify(&self, home: &Home, newcomer: PeerId) -> Result<NodeCertificate, CommandError> {
        let password = self.password.source().get("the CA key")?;
        let ca = Ca::open(&home.dir, &password)?.or_cure(
            format!("there is no CA key in {}", home.dir.display()),
            "invite from the directory that holds your organisation's keys/ca.json, or leave --for out and use `trefoil node certify`",
        )?;
        let own = certificate::load(&home.dir)?;
        let (now, days) = (clock::wall().as_secs(), certificate::DAYS);
        let claims =
            certificate::claims(own.genesis, own.organisation, newcomer, self.role, now, days);
        Ok(ca.certify(&claims)?)
    }
}
