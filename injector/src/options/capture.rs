//! Which connections are redirected to the proxy: annotations of the pod over the installation's
//! values, each checked before it becomes an argument of the init container.

use std::net::IpAddr;

use mesh_api::reserved::UNCAPTURED_PORTS;

use super::Reading;
use crate::refusal::Refusal;

const INCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/includeInboundPorts";
const EXCLUDE_INBOUND: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
const INCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/includeOutboundPorts";
const EXCLUDE_OUTBOUND: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
const INCLUDE_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
const EXCLUDE_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";
const MODE: &str = "sidecar.istio.io/interceptionMode";

const PORTS: &str = "write port numbers separated by commas, such as 3306,6379";
const PORTS_OR_ALL: &str = "write * or port numbers separated by commas, such as 8080,9090";
const RANGES: &str = "write CIDRs separated by commas, such as 10.0.0.0/8,fd00::/8";
const RANGES_OR_ALL: &str = "write * or CIDRs separated by commas, such as 10.0.0.0/8";

/// Which connections are redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capture {
    include_inbound: String,
    exclude_inbound: String,
    include_outbound: String,
    exclude_outbound: String,
    include_ranges: String,
    exclude_ranges: String,
}

impl Capture {
    /// Reads what applies to a pod; `None`: nothing is redirected.
    pub(super) fn read(reading: &mut Reading<'_>) -> Result<Option<Self>, Refusal> {
        let mode = reading.annotation(MODE).map(str::to_owned);
        let mode = mode.or_else(|| reading.proxy_config.interception_mode.clone());
        match mode.as_deref() {
            None | Some("REDIRECT" | "") => {}
            Some("NONE") => return Ok(None),
            Some("TPROXY") => reading.warn(format!(
                "{MODE}: TPROXY is not supported; connections are redirected"
            )),
            Some(other) => {
                return Err(Refusal::annotation(MODE, other, "use REDIRECT or NONE"));
            }
        }
        let values = &reading.configuration.values.global.proxy;
        let one = |name: &str, fallback: &str, check: fn(&str) -> bool, expected: &str| {
            let (given, value) = match reading.annotation(name) {
                Some(value) => (true, value),
                None => (false, fallback),
            };
            match tidy(value, check) {
                Some(tidied) => Ok(tidied),
                None if given => Err(Refusal::annotation(name, value, expected)),
                None => Err(Refusal::new(format!(
                    "the injector's values for {name} are \"{value}\"; {expected}"
                ))),
            }
        };
        let include_in = &values.include_inbound_ports;
        let exclude_in = &values.exclude_inbound_ports;
        let include_out = &values.include_outbound_ports;
        let exclude_out = &values.exclude_outbound_ports;
        let excluded = one(EXCLUDE_INBOUND, exclude_in, is_port, PORTS)?;
        Ok(Some(Self {
            include_inbound: one(INCLUDE_INBOUND, include_in, all_or_port, PORTS_OR_ALL)?,
            exclude_inbound: excluded_inbound(excluded),
            include_outbound: one(INCLUDE_OUTBOUND, include_out, all_or_port, PORTS_OR_ALL)?,
            exclude_outbound: one(EXCLUDE_OUTBOUND, exclude_out, is_port, PORTS)?,
            include_ranges: one(
                INCLUDE_RANGES,
                &values.include_ip_ranges,
                all_or_range,
                RANGES_OR_ALL,
            )?,
            exclude_ranges: one(EXCLUDE_RANGES, &values.exclude_ip_ranges, is_range, RANGES)?,
        }))
    }

    /// The arguments that say it. What has no value is left out, but for the two that mean
    /// "nothing" when they are empty.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--include-inbound-ports".to_owned(),
            self.include_inbound.clone(),
            "--exclude-inbound-ports".to_owned(),
            self.exclude_inbound.clone(),
            "--include-outbound-cidrs".to_owned(),
            self.include_ranges.clone(),
        ];
        for (flag, value) in [
            ("--exclude-outbound-cidrs", &self.exclude_ranges),
            ("--include-outbound-ports", &self.include_outbound),
            ("--exclude-outbound-ports", &self.exclude_outbound),
        ] {
            if !value.is_empty() {
                arguments.extend([flag.to_owned(), value.clone()]);
            }
        }
        arguments
    }
}

/// The list without blanks, if every element is good and `*` stands alone.
fn tidy(list: &str, good: fn(&str) -> bool) -> Option<String> {
    let elements: Vec<&str> = list
        .split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .collect();
    let alone = elements.len() == 1 || !elements.contains(&"*");
    let fine = alone && elements.iter().all(|element| good(element));
    fine.then(|| elements.join(","))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn all_or_port(text: &str) -> bool {
    text == "*" || is_port(text)
}

fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let longest = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_not_an_address) => return false,
    };
    length.bytes().all(|byte| byte.is_ascii_digit())
        && length.parse::<u8>().is_ok_and(|length| length <= longest)
}

fn all_or_range(text: &str) -> bool {
    text == "*" || is_range(text)
}

/// The pod's own ports after those of the proxy that answer probes and scrapes, which no
/// redirection may touch.
fn excluded_inbound(excluded: String) -> String {
    let own = UNCAPTURED_PORTS.map(|port| port.to_string());
    let all = own
        .into_iter()
        .chain((!excluded.is_empty()).then_some(excluded));
    all.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_tidied_or_refused() {
        type Case = (&'static str, fn(&str) -> bool, Option<&'static str>);
        let cases: [Case; 14] = [
            ("", is_port, Some("")),
            (" 3306, 6379,", is_port, Some("3306,6379")),
            ("*", is_port, None),
            ("0", is_port, None),
            ("65536", is_port, None),
            ("+80", is_port, None),
            ("80-90", is_port, None),
            ("*", all_or_port, Some("*")),
            ("*,80", all_or_port, None),
            (
                "10.0.0.0/8, fd00::/8",
                is_range,
                Some("10.0.0.0/8,fd00::/8"),
            ),
            ("10.0.0.1", is_range, None),
            ("10.0.0.0/33", is_range, None),
            ("10.0.0.0/+8", is_range, None),
            ("*", all_or_range, Some("*")),
        ];
        for (list, good, expected) in cases {
            assert_eq!(tidy(list, good).as_deref(), expected, "{list:?}");
        }
    }
}
