//! Numbers that may be percentages, such as `maxSurge`.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a share of the whole is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// To the next whole above.
    Up,
    /// To the next whole below.
    Down,
}

/// The value for a whole of `total`; a text that is no percentage counts as 0.
pub(crate) fn scaled(value: &IntOrString, total: i32, round: Round) -> i32 {
    let percent = match value {
        IntOrString::Int(number) => return *number,
        IntOrString::String(text) => {
            text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok())
        }
    };
    let Some(percent) = percent else { return 0 };
    let product = percent * i64::from(total);
    let share = match round {
        Round::Up => (product + 99).div_euclid(100),
        Round::Down => product.div_euclid(100),
    };
    i32::try_from(share).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let third = IntOrString::String("30%".into());
        assert_eq!(scaled(&third, 5, Round::Up), 2);
        assert_eq!(scaled(&third, 5, Round::Down), 1);
        assert_eq!(scaled(&IntOrString::Int(3), 5, Round::Down), 3);
        assert_eq!(scaled(&IntOrString::String("x".into()), 5, Round::Up), 0);
    }
}
