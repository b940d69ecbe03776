//! The address at which clients reach a backend.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, text_type};

/// The most characters of a host name (RFC 1123).
const MAX_NAME: usize = 253;
/// The most characters of one label of a host name.
const MAX_LABEL: usize = 63;
/// The most characters of an interface's name on Linux.
const MAX_ZONE: usize = 15;

/// An IPv4 or IPv6 address, or a host name by RFC 1123. It consists of letters, digits and `.:-_%` and doesn't start
/// with `-`, so that a shell and `ssh` take it for one word and no option.
///
/// A link-local address (`fe80::1%eth0`) needs its zone: without one, no client can connect to it. The zone is an
/// interface of the *client*, so such an address works only where users' machines name their interface the same; that
/// is for the operator to know. Other addresses have no zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendAddress(String);

text_type!(BackendAddress);

impl FromStr for BackendAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid("is empty"));
        }
        if text.contains("://") || text.contains('/') {
            return Err(Invalid("must be an address only, without a scheme such as http:// and without a path"));
        }
        if text.contains(['[', ']']) {
            return Err(Invalid("must be an address only, without brackets and without a port"));
        }
        match text.split_once('%') {
            Some((address, zone)) => check_link_local(address, zone)?,
            None => match text.parse::<IpAddr>() {
                Ok(address) => check_ip(address)?,
                Err(_) if text.contains(':') => {
                    return Err(Invalid("must be an address only, without a port; it is no IPv6 address either"));
                }
                Err(_) => check_name(text)?,
            },
        }
        Ok(Self(text.to_owned()))
    }
}

impl BackendAddress {
    /// An IP address; `None` if clients can't connect to it: unspecified, multicast, or link-local, for which the
    /// client's interface is needed.
    #[must_use]
    pub fn of_ip(address: IpAddr) -> Option<Self> {
        check_ip(address).is_ok().then(|| Self(address.to_string()))
    }

    /// 127.0.0.1.
    #[must_use]
    pub fn localhost() -> Self {
        Self(Ipv4Addr::LOCALHOST.to_string())
    }
}

fn check_link_local(address: &str, zone: &str) -> Result<(), Invalid> {
    let is_link_local = address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_unicast_link_local());
    let mut characters = zone.bytes();
    let valid_zone = zone.len() <= MAX_ZONE
        && characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if is_link_local && valid_zone {
        Ok(())
    } else {
        Err(Invalid("may have a `%` only between a link-local IPv6 address and the name of an interface"))
    }
}

fn check_ip(address: IpAddr) -> Result<(), Invalid> {
    if address.is_unspecified() || address.is_multicast() {
        return Err(Invalid("is not the address of one machine"));
    }
    if let IpAddr::V6(address) = address
        && address.is_unicast_link_local()
    {
        return Err(Invalid("is link-local and needs the name of an interface: fe80::1%eth0"));
    }
    Ok(())
}

fn check_name(text: &str) -> Result<(), Invalid> {
    if text.len() > MAX_NAME {
        return Err(Invalid("is longer than 253 characters"));
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !text.split('.').all(is_label) {
        return Err(Invalid("must be an IP address, or a name of letters, digits, - and dots"));
    }
    // Programs read such a name as a number, and so as an IPv4 address that nobody wrote: `10.1` is 10.0.0.1.
    let last = text.rsplit('.').next().unwrap_or(text);
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.to_ascii_lowercase().strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if is_number {
        return Err(Invalid("is not a complete IPv4 address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn address_of_each_valid_kind_is_accepted_unchanged() {
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        for text in [
            "10.0.0.1",
            "127.0.0.1",
            "fd77::2",
            "::1",
            "::ffff:10.0.0.1",
            "fe80::1%eth0",
            "fe80::1%wlp0s20f3.7",
            "box",
            "Box.LAN",
            "xn--bcher-kva.example",
            "3com.example",
            &longest,
        ] {
            assert_eq!(text.parse::<BackendAddress>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn address_of_any_other_form_is_rejected() {
        let too_long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62));
        for text in [
            "",
            " ",
            "-oProxyCommand=id",
            "h -oProxyCommand='touch /tmp/x'",
            "$(id)",
            "a;id",
            "a`id`",
            "a'b",
            "a\\b",
            "a\nb",
            "a\u{0}b",
            "\u{1b}[31m",
            "<img>",
            "javascript:alert(1)",
            "http://box.lan",
            "box.lan/x",
            "[fd77::2]",
            "[fd77::2]:22",
            "192.168.1.5:22",
            "box:22",
            "user@box",
            "\"10.0.0.1\"",
            "10.0.0.1\r",
            " 10.0.0.1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "10.0.1",
            "300.1.1.1",
            "010.0.0.1",
            "1",
            "0x7f.0x1",
            "fe80::1",
            "fe80::1%",
            "fe80::1%-x",
            "fe80::1%eth0;id",
            "fe80::1%0123456789abcdef",
            "fd77::2%eth0",
            "10.0.0.1%eth0",
            "box%eth0",
            "box-",
            "a..b",
            "box.",
            "under_score",
            "bücher.example",
            &"a".repeat(64),
            &too_long,
        ] {
            assert!(text.parse::<BackendAddress>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Random texts are nearly never addresses, so most are made of the parts of one.
        #[test]
        fn address_is_one_word_and_no_option(text in r"(?s:.{0,40})|[-a-z0-9.:%\[\] $;'`_]{1,20}|fe80::[0-9a-f]{1,4}%.{0,17}") {
            if let Ok(address) = text.parse::<BackendAddress>() {
                let text = address.as_str();
                prop_assert!(!text.is_empty() && text.len() <= 253 && !text.starts_with('-'));
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-_%".contains(&b)), "{:?}", text);
            }
        }
    }
}
