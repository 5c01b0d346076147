//! The nearest legal name to one that is not.

/// The candidate that was probably meant, if one is near enough.
pub(super) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::jaro_winkler(&written, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness >= 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_typing_errors_but_not_strangers() {
        let fields = ["retries", "timeout", "match", "route", "mirrorPercentage"];
        for (written, meant) in [
            ("retrys", Some("retries")),
            ("retry", Some("retries")),
            ("Timeout", Some("timeout")),
            ("mirror_percentage", Some("mirrorPercentage")),
            ("routes", Some("route")),
            ("banana", None),
        ] {
            assert_eq!(nearest(written, fields), meant, "{written}");
        }
    }
}
