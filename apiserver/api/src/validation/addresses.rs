//! IP addresses and CIDR blocks, strictly: no leading zeros, nothing that two parsers could read
//! differently.

use std::net::IpAddr;

use super::check::{Errors, Path};

/// What an address must be.
pub(super) const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// What a block must be.
const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Whether an IPv4 part has a leading zero.
fn has_leading_zero(text: &str) -> bool {
    let v4 = text.rsplit(':').next().unwrap_or_default();
    v4.contains('.') && v4.split('.').any(|part| part.len() > 1 && part.starts_with('0'))
}

/// The address with leading zeros gone, as old parsers read it.
fn lenient(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if !has_leading_zero(text) {
        return None;
    }
    let parts = text.split('.').map(|part| {
        let bare = part.trim_start_matches('0');
        if bare.is_empty() { "0" } else { bare }
    });
    parts.collect::<Vec<_>>().join(".").parse().ok()
}

/// Complaints about an address.
pub(super) fn complaint(text: &str) -> Option<String> {
    let Some(ip) = lenient(text) else { return Some(IP.to_owned()) };
    if has_leading_zero(text) {
        return Some("must not have leading 0s".to_owned());
    }
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Some("must not be an IPv4-mapped IPv6 address".to_owned())
        }
        _ => None,
    }
}

/// An address.
pub(super) fn ip(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(why) = complaint(text) {
        errors.invalid(path, text, &why);
    }
}

/// An address in its one canonical form.
pub(super) fn canonical_ip(text: &str, path: &Path<'_>, errors: &mut Errors) {
    match (complaint(text), text.parse::<IpAddr>()) {
        (Some(why), _) => errors.invalid(path, text, &why),
        (None, Ok(ip)) if ip.to_string() != text => {
            let why = format!("must be in canonical form (\"{ip}\")");
            errors.invalid(path, text, &why);
        }
        _ => {}
    }
}

/// Complaints about a block.
pub(super) fn cidr_complaint(text: &str) -> Option<String> {
    let Some((address, bits)) = text.split_once('/') else { return Some(CIDR.to_owned()) };
    let Some(ip) = lenient(address) else { return Some(CIDR.to_owned()) };
    let most = if ip.is_ipv4() { 32u32 } else { 128 };
    let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let Some(length) = bits.parse::<u32>().ok().filter(|n| digits && *n <= most) else {
        return Some(CIDR.to_owned());
    };
    if has_leading_zero(address) || bits.len() > 1 && bits.starts_with('0') {
        return Some("must not have leading 0s in IP or prefix length".to_owned());
    }
    let (number, width) = match ip {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    let host = 1u128.checked_shl(width - length).map_or(u128::MAX, |bit| bit - 1);
    let spare = if width == length { 0 } else { number & host };
    (spare != 0).then(|| "must not have bits set beyond the prefix length".to_owned())
}

/// A block.
pub(super) fn cidr(text: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(why) = cidr_complaint(text) {
        errors.invalid(path, text, &why);
    }
}

/// An address that may be an endpoint: reachable from elsewhere.
pub(super) fn endpoint_ip(text: &str, path: &Path<'_>, errors: &mut Errors) {
    let Ok(ip) = text.parse::<IpAddr>() else {
        errors.invalid(path, text, "must be a valid IP address");
        return;
    };
    let (v4, v6) = match ip {
        IpAddr::V4(v4) => (Some(v4), None),
        IpAddr::V6(v6) => (None, Some(v6)),
    };
    if ip.is_unspecified() {
        errors.invalid(path, text, &format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let local = v4.is_some_and(|v4| v4.is_link_local())
        || v6.is_some_and(|v6| v6.segments()[0] & 0xffc0 == 0xfe80);
    if local {
        let why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
        errors.invalid(path, text, why);
    }
    let multicast = v4.is_some_and(|v4| v4.octets()[..3] == [224, 0, 0])
        || v6.is_some_and(|v6| v6.segments()[0] & 0xff0f == 0xff02);
    if multicast {
        let why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        errors.invalid(path, text, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_strictly() {
        assert_eq!(cidr_complaint("10.244.1.0/24"), None);
        assert_eq!(cidr_complaint("2001:db8::/64"), None);
        assert!(cidr_complaint("10.0.0.0").is_some_and(|why| why.starts_with("must be a valid")));
        assert!(cidr_complaint("010.0.0.0/8").is_some_and(|why| why.contains("leading 0s")));
        assert!(cidr_complaint("10.244.1.5/24").is_some_and(|why| why.contains("beyond")));
        assert_eq!(cidr_complaint("10.0.0.1/32"), None);
        assert_eq!(cidr_complaint("::/0"), None);
    }
}
