//! The table in the kernel: its sets and maps, the chains at the hooks, and the chains that pick an
//! endpoint.
//!
//! Two maps answer every new connection, however many Services there are: a front (address,
//! protocol, port) leads to a *picking chain* and to the number of its group; the group's number
//! and a slot lead to an endpoint. Picking chains are shared by all fronts with the same number of
//! endpoints and the same manners, so that one more endpoint changes two elements and no rule.

use crate::Config;
use crate::nft::{Batch, Expressions, Meta, Register, SetSpec, Verdict};
use crate::plan::{Masquerade, Space};

/// Types of values, for those who list the table; a concatenation shifts by six bits per part.
mod kind {
    pub(super) const ADDRESS: u32 = 7;
    pub(super) const PROTOCOL: u32 = 12;
    pub(super) const PORT: u32 = 13;
    pub(super) const NUMBER: u32 = 19;
    pub(super) const VERDICT: u32 = 0xffff_ff00;
    pub(super) const FRONT: u32 = (ADDRESS << 6 | PROTOCOL) << 6 | PORT;
    pub(super) const TARGET: u32 = ADDRESS << 6 | PORT;
}

/// A set that is a map.
const MAP: u32 = 8;
/// A set whose elements end by themselves.
const TIMEOUT: u32 = 0x10;
/// A set that packets change.
const DYNAMIC: u32 = 0x20;
/// Clients that may stick to endpoints at a time.
const STICKING: u32 = 1 << 20;
/// Name of the map of sticking clients.
const AFFINITY: &str = "affinity";
/// The chain that refuses.
pub(crate) const REJECT: &str = "reject";

/// The sets that this crate fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Set {
    /// Front to picking chain.
    Services,
    /// Front to group.
    ServiceGroups,
    /// Front to picking chain, for inside clients.
    Inside,
    /// Front to group, for inside clients.
    InsideGroups,
    /// Group and slot to endpoint.
    Endpoints,
    /// Group and endpoint, for groups that clients stick to.
    Live,
    /// Front to what happens in place of a connection.
    Refused,
    /// Pairs of one address with itself: endpoints of this node.
    Hairpin,
    /// Cluster IPs.
    ClusterIps,
}

impl Set {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Services,
        Self::ServiceGroups,
        Self::Inside,
        Self::InsideGroups,
        Self::Endpoints,
        Self::Live,
        Self::Refused,
        Self::Hairpin,
        Self::ClusterIps,
    ];

    /// Its name in the kernel.
    pub(crate) fn name(self) -> &'static str {
        self.spec().name
    }

    /// What it looks like.
    fn spec(self) -> SetSpec {
        use kind::{ADDRESS, FRONT, NUMBER, TARGET, VERDICT};
        let (name, key, data) = match self {
            Self::Services => ("services", (FRONT, 12), Some((VERDICT, 0))),
            Self::ServiceGroups => ("service-groups", (FRONT, 12), Some((NUMBER, 4))),
            Self::Inside => ("inside", (FRONT, 12), Some((VERDICT, 0))),
            Self::InsideGroups => ("inside-groups", (FRONT, 12), Some((NUMBER, 4))),
            Self::Endpoints => ("endpoints", (NUMBER << 6 | NUMBER, 8), Some((TARGET, 8))),
            Self::Live => ("live", ((NUMBER << 6 | ADDRESS) << 6 | kind::PORT, 12), None),
            Self::Refused => ("refused", (FRONT, 12), Some((VERDICT, 0))),
            Self::Hairpin => ("hairpin", (ADDRESS << 6 | ADDRESS, 8), None),
            Self::ClusterIps => ("cluster-ips", (ADDRESS, 4), None),
        };
        let flags = if data.is_some() { MAP } else { 0 };
        SetSpec { name, flags, key_type: key.0, key_bytes: key.1, data, limit: None }
    }
}

/// How an endpoint is picked: everything that picking chains differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Picker {
    /// Whether the front is a node port.
    pub(crate) node_port: bool,
    /// Whose entry it is.
    pub(crate) space: Space,
    /// The connection's source.
    pub(crate) masquerade: Masquerade,
    /// Seconds for which clients stick to their endpoint.
    pub(crate) affinity: Option<u32>,
    /// Number of endpoints.
    pub(crate) count: u32,
}

/// The key of a map lookup by front: three registers.
const FRONT: Register = Register(0);
/// The client's address.
const CLIENT: Register = Register(4);
/// The group's number: right after the client's address, as the key of sticking clients is both.
const GROUP: Register = Register(5);
/// The slot, right after the group; or the endpoint that a client sticks to.
const SLOT: Register = Register(6);
/// The endpoint that was picked.
const PICKED: Register = Register(7);
/// The endpoint's port.
const PICKED_PORT: Register = Register(8);
/// For a moment only.
const SCRATCH: Register = Register(12);

impl Picker {
    /// Name of the chain.
    pub(crate) fn chain(&self) -> String {
        let port = if self.node_port { "-nodeport" } else { "" };
        let space = if self.space == Space::Inside { "-inside" } else { "" };
        let masquerade = match self.masquerade {
            Masquerade::Never => "",
            Masquerade::Outside => "-masqoutside",
            Masquerade::Always => "-masq",
        };
        let affinity = self.affinity.map(|time| format!("-sticky{time}")).unwrap_or_default();
        format!("pick{port}{space}{masquerade}{affinity}-{}", self.count)
    }

    /// Makes the chain.
    pub(crate) fn make(&self, batch: &mut Batch, config: &Config) {
        let chain = self.chain();
        batch.chain(&chain);
        match self.masquerade {
            Masquerade::Never => {}
            Masquerade::Outside => {
                batch.rule(&chain, &mark(outside(Expressions::new(), config), config));
            }
            Masquerade::Always => batch.rule(&chain, &mark(Expressions::new(), config)),
        }
        if let Some(seconds) = self.affinity {
            let millis = u64::from(seconds) * 1000;
            let known = self
                .group(Expressions::new().source(CLIENT))
                .lookup(AFFINITY, CLIENT, SLOT)
                .contained(Set::Live.name(), GROUP)
                .remember(AFFINITY, CLIENT, SLOT, millis)
                .redirect(SLOT, PICKED);
            batch.rule(&chain, &known);
            // One who is known but was not served by the rule before sticks to an endpoint that is
            // gone.
            let fresh = self
                .pick(Expressions::new().source(CLIENT))
                .forget(AFFINITY, CLIENT, PICKED)
                .remember(AFFINITY, CLIENT, PICKED, millis)
                .redirect(PICKED, PICKED_PORT);
            batch.rule(&chain, &fresh);
        } else {
            let pick = self.pick(Expressions::new()).redirect(PICKED, PICKED_PORT);
            batch.rule(&chain, &pick);
        }
    }

    /// Loads the number of the group.
    fn group(&self, expressions: Expressions) -> Expressions {
        let groups = match self.space {
            Space::Everyone => Set::ServiceGroups,
            Space::Inside => Set::InsideGroups,
        };
        front(expressions, self.node_port).lookup(groups.name(), FRONT, GROUP)
    }

    /// Picks an endpoint at random.
    fn pick(&self, expressions: Expressions) -> Expressions {
        let grouped = self.group(expressions);
        let slotted = match self.count {
            1 => grouped.constant(SLOT, &[0; 4]),
            count => grouped.random(SLOT, count),
        };
        slotted.lookup(Set::Endpoints.name(), GROUP, PICKED)
    }
}

/// Loads the front that a packet goes to.
fn front(expressions: Expressions, node_port: bool) -> Expressions {
    let addressed = match node_port {
        true => expressions.constant(FRONT, &[0; 4]),
        false => expressions.destination(FRONT),
    };
    addressed.meta(Register(1), Meta::Protocol).port(Register(2))
}

/// Goes on only for clients that are no Pods.
fn outside(expressions: Expressions, config: &Config) -> Expressions {
    let range = config.cluster_cidr;
    expressions
        .source(SCRATCH)
        .mask(SCRATCH, range.netmask())
        .unequal(SCRATCH, &range.network().octets())
}

/// Marks the packet: its source is to be replaced later.
fn mark(expressions: Expressions, config: &Config) -> Expressions {
    let bit = config.masquerade_mark;
    expressions.meta(SCRATCH, Meta::Mark).bits(SCRATCH, !bit, bit).set_mark(SCRATCH)
}

/// Priorities of the hooks: where the kernel translates destinations, filters, and translates
/// sources.
const DESTINATION: i32 = -100;
/// Filters.
const FILTER: i32 = 0;
/// Translates sources.
const SOURCE: i32 = 100;
/// Numbers of the hooks: first after the wire.
const PREROUTING: u32 = 0;
/// To this host.
const INPUT: u32 = 1;
/// Through this host.
const FORWARD: u32 = 2;
/// From this host.
const OUTPUT: u32 = 3;
/// Last before the wire.
const POSTROUTING: u32 = 4;

/// Makes the table new, in place of an older one: sets, chains at the hooks, no Services yet.
pub(crate) fn base(batch: &mut Batch, config: &Config) {
    // Deleting what is not there would fail, so it is made first; all in one transaction.
    batch.new_table();
    batch.delete_table();
    batch.new_table();
    for set in Set::ALL {
        batch.set(&set.spec());
    }
    batch.set(&SetSpec {
        name: AFFINITY,
        flags: MAP | TIMEOUT | DYNAMIC,
        key_type: kind::ADDRESS << 6 | kind::NUMBER,
        key_bytes: 8,
        data: Some((kind::TARGET, 8)),
        limit: Some(STICKING),
    });
    batch.chain(REJECT);
    batch.rule(REJECT, &Expressions::new().reject());
    redirects(batch, config);
    refusals(batch, config);
    sources(batch, config);
}

/// Chains that send new connections to endpoints.
fn redirects(batch: &mut Batch, config: &Config) {
    batch.chain("inside-clients");
    fronts(batch, "inside-clients", Set::Inside);
    let inside = Verdict::Jump("inside-clients".into());
    batch.base_chain("from-network", "nat", PREROUTING, DESTINATION);
    let range = config.cluster_cidr;
    let of_pods = Expressions::new()
        .source(SCRATCH)
        .mask(SCRATCH, range.netmask())
        .equal(SCRATCH, &range.network().octets());
    batch.rule("from-network", &of_pods.verdict(&inside));
    fronts(batch, "from-network", Set::Services);
    batch.base_chain("from-host", "nat", OUTPUT, DESTINATION);
    batch.rule("from-host", &Expressions::new().verdict(&inside));
    fronts(batch, "from-host", Set::Services);
}

/// Rules that look fronts up: by the address, then as a node port.
fn fronts(batch: &mut Batch, chain: &str, map: Set) {
    batch.rule(chain, &front(Expressions::new(), false).dispatch(map.name(), FRONT));
    batch.rule(chain, &front(at_node(), true).dispatch(map.name(), FRONT));
}

/// Goes on only for packets to an address of this host, loopback excepted: it cannot be redirected
/// to elsewhere.
fn at_node() -> Expressions {
    Expressions::new()
        .destination(SCRATCH)
        .mask(SCRATCH, std::net::Ipv4Addr::new(255, 0, 0, 0))
        .unequal(SCRATCH, &[127, 0, 0, 0])
        .local_destination(SCRATCH)
}

/// Chains that refuse what was not redirected.
fn refusals(batch: &mut Batch, config: &Config) {
    let refused = Set::Refused.name();
    batch.base_chain("to-host", "filter", INPUT, FILTER);
    batch.rule("to-host", &front(Expressions::new(), false).dispatch(refused, FRONT));
    batch.rule("to-host", &front(at_node(), true).dispatch(refused, FRONT));
    for (chain, hook) in [("through-host", FORWARD), ("out-of-host", OUTPUT)] {
        batch.base_chain(chain, "filter", hook, FILTER);
        batch.rule(chain, &front(Expressions::new(), false).dispatch(refused, FRONT));
        let known = Expressions::new().destination(SCRATCH);
        let known = known.contained(Set::ClusterIps.name(), SCRATCH);
        batch.rule(chain, &known.verdict(&Verdict::Goto(REJECT.into())));
        if let Some(range) = config.service_cidr {
            let unknown = Expressions::new()
                .destination(SCRATCH)
                .mask(SCRATCH, range.netmask())
                .equal(SCRATCH, &range.network().octets());
            batch.rule(chain, &unknown.verdict(&Verdict::Drop));
        }
    }
}

/// The chain that gives connections this host's address as their source.
fn sources(batch: &mut Batch, config: &Config) {
    let chain = "to-network";
    batch.base_chain(chain, "nat", POSTROUTING, SOURCE);
    let bit = config.masquerade_mark;
    let marked = Expressions::new()
        .meta(SCRATCH, Meta::Mark)
        .bits(SCRATCH, bit, 0)
        .unequal(SCRATCH, &[0; 4])
        .meta(SCRATCH, Meta::Mark)
        .bits(SCRATCH, !bit, 0)
        .set_mark(SCRATCH)
        .masquerade();
    batch.rule(chain, &marked);
    let itself = Expressions::new().source(FRONT).destination(Register(1));
    batch.rule(chain, &itself.contained(Set::Hairpin.name(), FRONT).masquerade());
    let range = config.cluster_cidr;
    let leaving = Expressions::new()
        .source(SCRATCH)
        .mask(SCRATCH, range.netmask())
        .equal(SCRATCH, &range.network().octets())
        .destination(SCRATCH)
        .mask(SCRATCH, range.netmask())
        .unequal(SCRATCH, &range.network().octets())
        .masquerade();
    batch.rule(chain, &leaving);
}
