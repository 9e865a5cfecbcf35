//! Differences of the table: small changes stay small, and shared elements go with their last
//! owner.

use super::*;
use crate::plan::{Masquerade, Protocol};

fn target(last: u8) -> Target {
    Target { address: Ipv4Addr::new(10, 244, 0, last), port: 80 }
}

fn front(last: u8) -> Front {
    Front { address: Ipv4Addr::new(10, 96, 0, last), protocol: Protocol::Tcp, port: 80 }
}

/// A Service of one front and these endpoints.
fn wanted(at: u8, ends: &[u8]) -> Wanted {
    let group = Group { port: "http".into(), protocol: Protocol::Tcp, local: false };
    let mut wanted = Wanted::default();
    let handling = match ends {
        [] => Handling::Reject,
        _ => Handling::Pick(group.clone(), Masquerade::Outside),
    };
    wanted.fronts.insert((Space::Everyone, front(at)), handling);
    if !ends.is_empty() {
        wanted.groups.insert(group, ends.iter().map(|end| target(*end)).collect());
    }
    wanted
}

fn put(table: &mut Table, name: &str, wanted: &Wanted) -> Difference {
    let mut difference = Difference::default();
    table.put(name, wanted, &mut difference);
    difference
}

/// Applies differences as the kernel does.
#[derive(Default)]
struct Model(BTreeMap<Key, Content>);

impl Model {
    fn apply(&mut self, difference: Difference) {
        for key in &difference.delete {
            assert!(self.0.remove(key).is_some(), "deleted what is not there: {key:?}");
        }
        for (key, content) in difference.add {
            assert!(self.0.insert(key, content).is_none(), "added what is there: {key:?}");
        }
    }
}

#[test]
fn one_more_endpoint_touches_its_slot_and_the_fronts_chain() {
    let mut table = Table::default();
    put(&mut table, "default/web", &wanted(1, &[1, 2, 9]));
    let difference = put(&mut table, "default/web", &wanted(1, &[1, 2, 5, 9]));
    let sets = |keys: Vec<&Key>| keys.iter().map(|key| key.set).collect::<Vec<_>>();
    assert_eq!(sets(difference.delete.iter().collect()), [Set::Services]);
    assert_eq!(sets(difference.add.keys().collect()), [Set::Services, Set::Endpoints]);
}

#[test]
fn an_endpoint_that_goes_is_replaced_in_its_slot() {
    let slots = |ends: &[u8]| ends.iter().map(|end| target(*end)).collect::<Vec<_>>();
    let set = |ends: &[u8]| ends.iter().map(|end| target(*end)).collect::<BTreeSet<_>>();
    assert_eq!(assign(slots(&[1, 2, 3, 4]), &set(&[1, 3, 4])), slots(&[1, 4, 3]));
    assert_eq!(assign(slots(&[1, 2, 3]), &set(&[1, 3, 7])), slots(&[1, 7, 3]));
    assert_eq!(assign(slots(&[1, 2, 3]), &set(&[])), slots(&[]));
    assert_eq!(assign(slots(&[]), &set(&[2, 1])), slots(&[1, 2]));
    assert_eq!(assign(slots(&[1, 2, 3, 4]), &set(&[2])), slots(&[2]));
}

#[test]
fn an_element_of_two_services_goes_with_the_last_one() {
    let (mut table, mut model) = (Table::default(), Model::default());
    let (one, two) = (wanted(1, &[1]), wanted(1, &[2]));
    model.apply(put(&mut table, "default/a", &one));
    let alone = model.0.clone();
    model.apply(put(&mut table, "default/b", &two));
    let key = Key::front(Set::ServiceGroups, front(1));
    assert_eq!(model.0[&key], alone[&key]);
    model.apply(put(&mut table, "default/a", &Wanted::default()));
    assert_ne!(model.0[&key], alone[&key]);
    model.apply(put(&mut table, "default/b", &Wanted::default()));
    assert!(model.0.is_empty());
}

#[test]
fn differences_lead_to_the_same_table_as_a_fresh_start() {
    let (mut table, mut model) = (Table::default(), Model::default());
    let mut state = 7_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for _ in 0..500 {
        // Several changes per transaction, also of one Service twice.
        let mut difference = Difference::default();
        for _ in 0..=random(3) {
            let at = u8::try_from(random(4)).unwrap();
            let ends: Vec<u8> = (1..8).filter(|_| random(2) == 0).collect();
            let mut wanted = wanted(at % 2, &ends);
            wanted.affinity = (random(2) == 0).then_some(60);
            wanted.here.extend(ends.iter().take(2).map(|end| target(*end).address));
            let gone = random(5) == 0;
            let wanted = if gone { Wanted::default() } else { wanted };
            table.put(&format!("default/{at}"), &wanted, &mut difference);
        }
        model.apply(difference);
        assert_eq!(model.0, table.elements().collect());
    }
}
