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

/// The resources of the proxy: the installation's, with what the pod's annotations say instead.
/// Each annotation changes its one value.
///
/// A limit below the request it meets would be refused by the API server with words that name
/// neither annotation nor setting. Where one of both is the pod's and the other the installation's,
/// the installation's gives way: a request is lowered to a smaller limit, a limit raised to a
/// larger request. Where both are of one origin the pod is refused.
pub(super) fn read(reading: &Reading<'_>) -> Result<Value, Refusal> {
    let defaults = &reading.configuration.values.global.proxy.resources;
    let mut sections: Map<String, Value> = defaults.as_object().cloned().unwrap_or_default();
    for (name, section, resource) in ANNOTATIONS {
        let Some(value) = reading.annotation(name) else {
            continue;
        };
        if amount(value).is_none() {
            let expected = "write a quantity such as 100m, 0.5, 64Mi or 1Gi";
            return Err(Refusal::annotation(name, value, expected));
        }
        put(&mut sections, section, resource, value);
    }
    for resource in ["cpu", "memory"] {
        agree(reading, &mut sections, resource)?;
    }
    Ok(Value::Object(sections))
}

fn put(sections: &mut Map<String, Value>, section: &str, resource: &str, value: &str) {
    let section = sections
        .entry(section)
        .or_insert_with(|| Value::Object(Map::new()));
    if !section.is_object() {
        *section = Value::Object(Map::new());
    }
    if let Value::Object(section) = section {
        section.insert(resource.to_owned(), Value::String(value.to_owned()));
    }
}

/// Sees to it that the limit of a resource is not below its request.
fn agree(
    reading: &Reading<'_>,
    sections: &mut Map<String, Value>,
    resource: &str,
) -> Result<(), Refusal> {
    let said = |section: &str| {
        let value = sections.get(section)?.get(resource)?;
        // Charts write some of them as numbers.
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Some((amount(&text)?, text))
    };
    let (Some((request, asked)), Some((limit, allowed))) = (said("requests"), said("limits"))
    else {
        return Ok(());
    };
    if request <= limit {
        return Ok(());
    }
    let annotated = |section: &str| {
        let mut all = ANNOTATIONS.iter();
        let own = all.find(|(_, at, of)| (*at, *of) == (section, resource));
        own.is_some_and(|(name, ..)| reading.annotation(name).is_some())
    };
    match (annotated("requests"), annotated("limits")) {
        (true, false) => put(sections, "limits", resource, &asked),
        (false, true) => put(sections, "requests", resource, &allowed),
        (both, _) => {
            let whose = if both {
                "annotations sidecar.istio.io/proxy…"
            } else {
                "injector's values (global.proxy.resources)"
            };
            return Err(Refusal::new(format!(
                "the {whose} ask for {resource} {asked} and allow only {allowed}; raise the limit \
                 or lower the request"
            )));
        }
    }
    Ok(())
}

/// What Kubernetes takes a text for: a number above or equal to zero with an optional suffix or
/// exponent; `None`: it is no amount.
#[expect(
    clippy::cast_precision_loss,
    reason = "compared, never added; amounts that differ by less than a double can say are equal"
)]
fn amount(text: &str) -> Option<f64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let fine = number.bytes().any(|byte| byte.is_ascii_digit())
        && number.bytes().filter(|byte| *byte == b'.').count() <= 1;
    if !fine {
        return None;
    }
    let number: f64 = match number.split_once('.') {
        None => number.parse().ok()?,
        Some((whole, part)) => format!("0{whole}.{part}0").parse().ok()?,
    };
    let binary = |power: u32| 1024_u64.pow(power) as f64;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let digits = suffix.strip_prefix(['e', 'E'])?;
            let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
            let exponent = !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit());
            exponent.then(|| format!("1e{digits}").parse().ok())??
        }
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for good in [
            "1", "0", "100m", "0.5", ".5", "1.", "64Mi", "1Gi", "1e3", "1E-3", "2E", "3k",
        ] {
            assert!(amount(good).is_some(), "{good}");
        }
        for bad in [
            "", "Mi", "1 Gi", "1MB", "-1", "1.2.3", "1e", "ten", "1K", "١",
        ] {
            assert_eq!(amount(bad), None, "{bad}");
        }
        for (less, more) in [
            ("100m", "0.2"),
            ("1023Ki", "1Mi"),
            ("1e2", "1k"),
            ("999M", "1Gi"),
        ] {
            assert!(amount(less) < amount(more), "{less} {more}");
        }
        assert_eq!(amount("1000m"), amount("1"));
        assert_eq!(amount("10"), amount("1e1"));
    }
}
