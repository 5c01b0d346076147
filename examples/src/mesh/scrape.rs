//! A scraped page of metrics, to ask for sums by name and labels.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    series: Vec<Series>,
}

#[derive(Debug, Clone, PartialEq)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text exposition format; what does not parse is left out.
    pub fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Self {
            series: lines.filter_map(parse_line).collect(),
        }
    }

    /// The sum over all series of `name` that carry all of `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|series| series.value).sum()
    }

    /// Whether there is any such series.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// The different values of one label over all series of `name`.
    pub fn values(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<String> = self
            .matching(name, &[])
            .filter_map(|series| series.labels.get(label).cloned())
            .collect();
        values.sort();
        values.dedup();
        values
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Series> {
        self.series.iter().filter(move |series| {
            series.name == name
                && labels.iter().all(|(label, value)| {
                    series
                        .labels
                        .get(*label)
                        .is_some_and(|found| found == value)
                })
        })
    }
}

fn parse_line(line: &str) -> Option<Series> {
    let (head, value) = line.trim().rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = head.split_once('{') else {
        return Some(Series {
            name: head.to_owned(),
            labels: BTreeMap::new(),
            value,
        });
    };
    let labels = parse_labels(labels.strip_suffix('}')?)?;
    Some(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn parse_labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        rest = after.get(end + 1..)?;
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_labels() {
        let page = "# HELP a b\na_total{x=\"1\",y=\"with, \\\"quote\\\"\"} 3\na_total{x=\"1\",y=\"z\"} 4\n\
                    a_total{x=\"2\",y=\"z\"} 5\nplain 1.5e3\nbroken{x=\"1} 7\n";
        let metrics = Metrics::parse(page);
        assert!((metrics.sum("a_total", &[("x", "1")]) - 7.0).abs() < f64::EPSILON);
        assert!((metrics.sum("a_total", &[("y", "with, \"quote\"")]) - 3.0).abs() < f64::EPSILON);
        assert!((metrics.sum("plain", &[]) - 1500.0).abs() < f64::EPSILON);
        assert!(!metrics.has("broken", &[]));
        assert_eq!(metrics.values("a_total", "x"), ["1", "2"]);
    }
}
