//! What the state keeps beside versions: leases, alarms, users, roles, members, numbers.

use std::sync::LazyLock;

use fuzz::{Outcome, Target};
use prost::Message as _;
use proto::{
    authpb::{Permission, Role, User, UserAddOptions},
    membershippb::Attributes,
};

use crate::{
    auth::Auth,
    lease::Lessor,
    state::{
        Cell, State,
        alarms::Alarms,
        digest::Digest,
        disk::Disk,
        key_kind::{AUTH_REVISION, DIGEST, KeyKind, REVISION},
        leases::Leases,
        members,
        tests::Fixture,
    },
};

/// Found: a lease of more seconds than a clock has.
pub(super) const TARGET: Target = Target {
    name: "records",
    seeds,
    decode,
    found: &[b"\0\x08\0\0\0\0\0\0\0\x07\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"],
    rounds: 1000,
};

static FIXTURE: LazyLock<Fixture> = LazyLock::new(Fixture::new);

/// Kinds of records; the first byte of an input says which it is, the second how long its key.
const KINDS: [KeyKind; 8] = [
    KeyKind::Lease,
    KeyKind::Alarm,
    KeyKind::User,
    KeyKind::Role,
    KeyKind::Member,
    KeyKind::Meta,
    KeyKind::Meta,
    KeyKind::Meta,
];
const LEASE: usize = 0;
const ALARM: usize = 1;
const MEMBER: usize = 4;
/// Values by name: their keys are given.
const NAMES: [(usize, &str); 3] = [(5, DIGEST), (6, AUTH_REVISION), (7, REVISION)];

fn seeds() -> Vec<Vec<u8>> {
    let user = User {
        name: "ann".into(),
        password: "$2a$04$x".into(),
        roles: vec!["r1".to_owned(), "root".to_owned()],
        options: Some(UserAddOptions { no_password: false }),
    };
    let permission = |key: &str, end: &str| Permission {
        perm_type: 2,
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
    };
    let key_permission = vec![
        permission("a", ""),
        permission("b", "c"),
        permission("b", "\0"),
        permission("\0", "\0"),
    ];
    let role = Role { name: "r1".into(), key_permission };
    let attributes =
        Attributes { name: "m1".to_owned(), client_urls: vec!["http://m1:2379".to_owned()] };
    let lease = [60_i64.to_be_bytes(), 30_i64.to_be_bytes()].concat();
    let alarm = [&1_i32.to_be_bytes()[..], &7_u64.to_be_bytes()].concat();
    let digest = [9_u64.to_be_bytes(), u64::MAX.to_be_bytes()].concat();
    let record = |kind: u8, key: &[u8], value: &[u8]| {
        let length = u8::try_from(key.len()).expect("short keys");
        [&[kind, length], key, value].concat()
    };
    vec![
        record(0, &7_i64.to_be_bytes(), &lease),
        record(1, &alarm, b""),
        record(2, b"ann", &user.encode_to_vec()),
        record(3, b"r1", &role.encode_to_vec()),
        record(4, &7_u64.to_be_bytes(), &attributes.encode_to_vec()),
        record(5, b"", &digest),
        record(6, b"", &5_u64.to_be_bytes()),
        record(7, b"", &5_i64.to_be_bytes()),
    ]
}

fn decode(input: &[u8]) -> Outcome {
    let [kind, length, rest @ ..] = input else { return Outcome::Refused };
    let which = usize::from(*kind) % KINDS.len();
    let kind = KINDS[which];
    let Some((key, value)) = rest.split_at_checked(usize::from(*length)) else {
        return Outcome::Refused;
    };
    let name = NAMES.iter().find(|(at, _)| *at == which);
    let key = name.map_or(key, |(_, name)| name.as_bytes());
    let disk = &FIXTURE.state.disk;
    let mut batch = disk.batch();
    batch.put(kind, key, value);
    disk.write(batch).expect("it can be written");
    let outcome = load(disk, which);
    let mut batch = disk.batch();
    batch.delete(kind, key);
    disk.write(batch).expect("it can be written");
    outcome
}

fn load(disk: &Disk, which: usize) -> Outcome {
    match which {
        LEASE => {
            let leases = Leases::load(disk);
            let outcome = Outcome::from(&leases);
            if let Ok(leases) = leases {
                count(leases);
            }
            outcome
        }
        ALARM => Outcome::from(&Alarms::load(disk)),
        MEMBER => Outcome::from(&members(disk)),
        5 => Outcome::from(&Digest::load(disk)),
        7 => Outcome::from(&disk.number(REVISION)),
        _ => Outcome::from(&Auth::load(disk)),
    }
}

/// A leader begins to count.
fn count(leases: Leases) {
    let state: &std::sync::Arc<State> = &FIXTURE.state;
    *state.leases.write() = leases;
    let lessor = Lessor::new(std::sync::Arc::new(Cell::shared(state.clone())));
    lessor.lead(Some(1));
    lessor.lead(None);
}
