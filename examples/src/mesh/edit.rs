//! The edit that the tests and the demo make to the canary example while traffic runs.

/// The canary's routing with other weights, named so that answers tell which split they
/// were routed by: `50-50`.
pub fn with_split(routing: &str, first: u32, second: u32) -> String {
    let mut weights = [first, second].into_iter();
    let mut edited = String::with_capacity(routing.len());
    for line in routing.lines() {
        let text = line.trim_start();
        let indent = line.strip_suffix(text).unwrap_or_default();
        let weight = text
            .starts_with("weight:")
            .then(|| weights.next())
            .flatten();
        match weight {
            Some(weight) => edited.extend([indent, "weight: ", &weight.to_string()]),
            None if text.starts_with("x-shop-split:") => {
                let name = format!("{first}-{second}");
                edited.extend([indent, "x-shop-split: ", &name]);
            }
            None => edited.push_str(line),
        }
        edited.push('\n');
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_the_weights_and_the_name_and_nothing_else() {
        let before = include_str!("../../canary/routing.yaml");
        let after = with_split(before, 50, 51);
        assert!(
            after.contains("            x-shop-split: 50-51\n"),
            "{after}"
        );
        assert!(
            after.contains("            subset: v1\n          weight: 50\n"),
            "{after}"
        );
        assert!(
            after.contains("            subset: v2\n          weight: 51\n"),
            "{after}"
        );
        assert_eq!(with_split(&after, 90, 10), before);
    }
}
