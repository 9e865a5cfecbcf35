//! Alarms: what keeps the cluster from taking writes until an operator has looked.

use std::{collections::BTreeSet, io};

use proto::etcdserverpb::{AlarmMember, AlarmType};

use super::{
    disk::{self, Batch, Disk},
    key_kind::KeyKind,
};

/// The alarms that are up, by type and member.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    up: BTreeSet<(i32, u64)>,
}

impl Alarms {
    pub(crate) fn load(disk: &Disk) -> io::Result<Self> {
        let mut up = BTreeSet::new();
        for (key, _) in disk.all(KeyKind::Alarm)? {
            let bad = || disk::invalid("an unreadable alarm");
            let (kind, member) = key.split_first_chunk::<4>().ok_or_else(bad)?;
            let member = member.try_into().map_err(|_| bad())?;
            up.insert((i32::from_be_bytes(*kind), u64::from_be_bytes(member)));
        }
        Ok(Self { up })
    }

    /// Whether any member has raised this.
    pub(crate) fn is_up(&self, kind: AlarmType) -> bool {
        self.up.iter().any(|(up, _)| *up == kind as i32)
    }

    /// Whether this member has raised this.
    pub(crate) fn is_up_by(&self, kind: AlarmType, member: u64) -> bool {
        self.up.contains(&(kind as i32, member))
    }

    /// The alarms of a type; `None` is all.
    pub(crate) fn list(&self, kind: AlarmType) -> Vec<AlarmMember> {
        let of_kind =
            self.up.iter().filter(|(up, _)| kind == AlarmType::None || *up == kind as i32);
        of_kind
            .map(|(alarm, member_id)| AlarmMember { member_id: *member_id, alarm: *alarm })
            .collect()
    }

    /// Raises an alarm.
    pub(crate) fn raise(&mut self, batch: &mut Batch, alarm: AlarmMember) {
        put(batch, &alarm);
        self.up.insert((alarm.alarm, alarm.member_id));
    }

    /// Lowers an alarm; whether it was up.
    pub(crate) fn lower(&mut self, batch: &mut Batch, alarm: AlarmMember) -> bool {
        batch.delete(KeyKind::Alarm, &key(&alarm));
        self.up.remove(&(alarm.alarm, alarm.member_id))
    }
}

/// Adds an alarm to a batch.
pub(crate) fn put(batch: &mut Batch, alarm: &AlarmMember) {
    batch.put(KeyKind::Alarm, &key(alarm), b"");
}

fn key(alarm: &AlarmMember) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&alarm.alarm.to_be_bytes());
    key[4..].copy_from_slice(&alarm.member_id.to_be_bytes());
    key
}
