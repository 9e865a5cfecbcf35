//! Amounts of resources as plain integers, because the hot loops add and compare them millions of
//! times.

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod},
    apimachinery::pkg::api::resource::Quantity,
};
use std::collections::BTreeMap;

/// What a container without a cpu request counts as when nodes are scored.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request counts as when nodes are scored.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// An amount of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a processor.
    pub milli_cpu: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of local disk.
    pub ephemeral_storage: i64,
    /// Everything else by name: extended resources and huge pages.
    pub scalars: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a resource list; `pods` is not an amount and is left out.
    pub fn parse(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let mut all = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            match name.as_str() {
                "cpu" => all.milli_cpu = milli(quantity),
                "memory" => all.memory = whole(quantity),
                "ephemeral-storage" => all.ephemeral_storage = whole(quantity),
                "pods" => {}
                _ => {
                    all.scalars.insert(name.clone(), whole(quantity));
                }
            }
        }
        all
    }

    /// Adds another amount.
    pub fn add(&mut self, other: &Self) {
        self.milli_cpu += other.milli_cpu;
        self.memory += other.memory;
        self.ephemeral_storage += other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() += amount;
        }
    }

    /// Takes another amount away.
    pub fn subtract(&mut self, other: &Self) {
        self.milli_cpu -= other.milli_cpu;
        self.memory -= other.memory;
        self.ephemeral_storage -= other.ephemeral_storage;
        for (name, amount) in &other.scalars {
            *self.scalars.entry(name.clone()).or_default() -= amount;
        }
    }

    /// Raises every amount to at least that of another.
    pub fn raise_to(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral_storage = self.ephemeral_storage.max(other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }

    /// Replaces the amounts that `list` names: requests of the whole Pod win over the sum of its
    /// containers.
    fn replace_by(&mut self, list: &BTreeMap<String, Quantity>) {
        let whole_pod = Self::parse(Some(list));
        if list.contains_key("cpu") {
            self.milli_cpu = whole_pod.milli_cpu;
        }
        if list.contains_key("memory") {
            self.memory = whole_pod.memory;
        }
        if list.contains_key("ephemeral-storage") {
            self.ephemeral_storage = whole_pod.ephemeral_storage;
        }
        self.scalars.extend(whole_pod.scalars);
    }

    /// Whether nothing is asked for.
    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalars.values().all(|amount| *amount == 0)
    }
}

/// What a Pod asks for: the larger of its containers' sum and its most demanding init step, plus
/// overhead.
///
/// Init containers that keep running (restart policy `Always`) count from their start on.
pub fn requests(pod: &Pod) -> Resources {
    total(pod, |container, status| {
        let spec = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let mut asked = Resources::parse(spec);
        if let Some(status) = status {
            asked.raise_to(&Resources::parse(status.allocated_resources.as_ref()));
        }
        asked
    })
}

/// Cpu and memory as scoring sees them: a container that asks for nothing still counts as
/// something.
pub fn scoring_requests(pod: &Pod) -> (i64, i64) {
    let all = total(pod, |container, _| {
        let spec = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let mut asked = Resources::parse(spec);
        if spec.is_none_or(|list| !list.contains_key("cpu")) {
            asked.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if spec.is_none_or(|list| !list.contains_key("memory")) {
            asked.memory = DEFAULT_MEMORY;
        }
        asked
    });
    (all.milli_cpu, all.memory)
}

/// Sums a Pod up with the given reading of one container.
fn total(pod: &Pod, read: impl Fn(&Container, Option<&ContainerStatus>) -> Resources) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let mut sum = Resources::default();
    for container in &spec.containers {
        let status = statuses.and_then(|all| all.iter().find(|one| one.name == container.name));
        sum.add(&read(container, status));
    }
    let mut running_before = Resources::default();
    let mut largest_step = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut step = read(container, None);
        if container.restart_policy.as_deref() == Some("Always") {
            running_before.add(&step);
            sum.add(&step);
            largest_step.raise_to(&running_before);
        } else {
            step.add(&running_before);
            largest_step.raise_to(&step);
        }
    }
    sum.raise_to(&largest_step);
    if let Some(list) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        sum.replace_by(list);
    }
    sum.add(&Resources::parse(spec.overhead.as_ref()));
    sum
}

/// Thousandths of a quantity, rounded up.
pub fn milli(quantity: &Quantity) -> i64 {
    amount(&quantity.0, 1000)
}

/// A quantity in whole units, rounded up.
pub fn whole(quantity: &Quantity) -> i64 {
    amount(&quantity.0, 1)
}

/// A quantity times `scale`, rounded up. The API server has validated it; what it can't read counts
/// as zero.
fn amount(text: &str, scale: i128) -> i64 {
    let end = text.find(|c: char| !c.is_ascii_digit() && !".+-".contains(c)).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (multiply, divide): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => match exponent.trim_start_matches(['e', 'E']).parse::<i32>() {
            Ok(power @ 0..=18) => (10_i128.pow(power.unsigned_abs()), 1),
            Ok(power @ -18..0) => (1, 10_i128.pow(power.unsigned_abs())),
            _ => return 0,
        },
    };
    let negative = number.starts_with('-');
    let digits = number.trim_start_matches(['+', '-']);
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = &fraction[..fraction.len().min(12)];
    let base = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let Ok(mantissa) = format!("{integer}{fraction}").parse::<i128>() else { return 0 };
    let Some(product) = mantissa.checked_mul(multiply).and_then(|n| n.checked_mul(scale)) else {
        return i64::MAX;
    };
    let divisor = base * divide;
    let rounded = if negative { -(product / divisor) } else { (product + divisor - 1) / divisor };
    i64::try_from(rounded).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_rounded_up() {
        let table = [
            ("1", 1000),
            ("500m", 500),
            ("1.5", 1500),
            ("100u", 1),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("0.1", 100),
            ("0", 0),
        ];
        for (text, want) in table {
            assert_eq!(milli(&Quantity(text.into())), want, "{text}");
        }
        assert_eq!(whole(&Quantity("8Gi".into())), 8 << 30);
        assert_eq!(whole(&Quantity("1.5Ki".into())), 1536);
        assert_eq!(whole(&Quantity("1001m".into())), 2);
    }

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": spec})).unwrap()
    }

    #[test]
    fn init_containers_take_the_largest_and_sidecars_add_up() {
        let cpu = |cpu: &str| serde_json::json!({"requests": {"cpu": cpu}});
        let pod = pod(serde_json::json!({
            "containers": [{"name": "c", "resources": cpu("1")}],
            "initContainers": [
                {"name": "s", "resources": cpu("1"), "restartPolicy": "Always"},
                {"name": "i", "resources": cpu("1500m")},
            ],
            "overhead": {"cpu": "250m"},
        }));
        assert_eq!(requests(&pod).milli_cpu, 2750);
    }

    #[test]
    fn requests_of_the_whole_pod_win() {
        let pod = pod(serde_json::json!({
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}],
            "resources": {"requests": {"cpu": "3"}},
        }));
        let all = requests(&pod);
        assert_eq!((all.milli_cpu, all.memory), (3000, 1 << 30));
        assert_eq!(scoring_requests(&pod).0, 3000);
    }
}
