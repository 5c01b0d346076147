//! What the proxy container asks for and may use.

use serde_json::{Map, Value};

use super::Reading;
use crate::refusal::Refusal;

/// Annotation, section and resource.
const ANNOTATIONS: [(&str, &str, &str); 4] = [
    ("sidecar.istio.io/proxyCPU", "requests", "cpu"),
    ("sidecar.istio.io/proxyMemory", "requests", "memory"),
    ("sidecar.istio.io/proxyCPULimit", "limits", "cpu"),
    ("sidecar.istio.io/proxyMemoryLimit", "limits", "memory"),
];

/// The resources of the proxy. One annotation is enough to put all of the installation's values
/// aside: a mixture of both could ask for more than it allows.
pub(super) fn read(reading: &Reading<'_>) -> Result<Value, Refusal> {
    let mut sections: Map<String, Value> = Map::new();
    for (name, section, resource) in ANNOTATIONS {
        let Some(value) = reading.annotation(name) else {
            continue;
        };
        if !is_quantity(value) {
            let expected = "write a quantity such as 100m, 0.5, 64Mi or 1Gi";
            return Err(Refusal::annotation(name, value, expected));
        }
        let section = sections
            .entry(section)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(section) = section {
            section.insert(resource.to_owned(), Value::String(value.to_owned()));
        }
    }
    if sections.is_empty() {
        return Ok(reading.configuration.values.global.proxy.resources.clone());
    }
    Ok(Value::Object(sections))
}

/// Whether Kubernetes takes a text for an amount: a number above or equal to zero with an
/// optional suffix or exponent.
fn is_quantity(text: &str) -> bool {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let Some((number, suffix)) = text.split_at_checked(digits) else {
        return false;
    };
    let number_fine = number.bytes().any(|byte| byte.is_ascii_digit())
        && number.bytes().filter(|byte| *byte == b'.').count() <= 1;
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .map(|digits| digits.strip_prefix(['-', '+']).unwrap_or(digits))
        .is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
    let known = matches!(
        suffix,
        "" | "n"
            | "u"
            | "m"
            | "k"
            | "M"
            | "G"
            | "T"
            | "P"
            | "E"
            | "Ki"
            | "Mi"
            | "Gi"
            | "Ti"
            | "Pi"
            | "Ei"
    );
    number_fine && (known || exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for good in [
            "1", "0", "100m", "0.5", ".5", "1.", "64Mi", "1Gi", "1e3", "1E-3", "2E", "3k",
        ] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in [
            "", "Mi", "1 Gi", "1MB", "-1", "1.2.3", "1e", "ten", "1K", "١",
        ] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
