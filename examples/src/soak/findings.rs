//! What came of a run: figures, and claims that held or did not.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// One claim and whether it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whether it held.
    pub held: bool,
    /// What was claimed, with the figures it was judged by.
    pub text: String,
}

/// The findings of one run.
#[derive(Debug, Clone)]
pub struct Findings {
    name: &'static str,
    figures: Vec<(&'static str, Value)>,
    /// How figures are shown to people that are no text.
    tables: BTreeMap<&'static str, Vec<String>>,
    claims: Vec<Claim>,
}

impl Findings {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            figures: Vec::new(),
            tables: BTreeMap::new(),
            claims: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, figure: &'static str, value: impl Into<Value>) {
        self.figures.push((figure, value.into()));
    }

    /// A figure of many rows: lines for people, values for programs.
    pub(super) fn note_table(
        &mut self,
        figure: &'static str,
        lines: Vec<String>,
        rows: Vec<Value>,
    ) {
        self.tables.insert(figure, lines);
        self.note(figure, rows);
    }

    pub(super) fn claim(&mut self, held: bool, text: impl Into<String>) {
        self.claims.push(Claim {
            held,
            text: text.into(),
        });
    }

    /// Whether there were claims and all of them held.
    pub fn passed(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|claim| claim.held)
    }

    /// The claims, in the order they were judged.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// One figure.
    pub fn figure(&self, name: &str) -> Option<&Value> {
        let found = self.figures.iter().find(|(figure, _)| *figure == name);
        found.map(|(_, value)| value)
    }

    /// Everything, on one line.
    pub fn to_json(&self) -> Value {
        let figures = self.figures.iter();
        let figures: serde_json::Map<String, Value> = figures
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let claims: Vec<Value> = self
            .claims
            .iter()
            .map(|claim| serde_json::json!({ "held": claim.held, "claim": claim.text }))
            .collect();
        serde_json::json!({
            "run": self.name,
            "passed": self.passed(),
            "figures": figures,
            "claims": claims,
        })
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.name)?;
        for (name, value) in &self.figures {
            if let Some(lines) = self.tables.get(name) {
                for line in lines {
                    writeln!(formatter, "  {line}")?;
                }
                continue;
            }
            let name = name.replace('_', " ");
            let lines = value
                .as_array()
                .map_or(std::slice::from_ref(value), Vec::as_slice);
            for line in lines {
                let text = line
                    .as_str()
                    .map_or_else(|| line.to_string(), str::to_owned);
                writeln!(formatter, "  {name:<34} {text}")?;
            }
        }
        for claim in &self.claims {
            let mark = if claim.held { "ok  " } else { "FAIL" };
            writeln!(formatter, "  {mark} {}", claim.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_claims_has_not_passed() {
        let mut findings = Findings::new("empty");
        assert!(!findings.passed());
        findings.claim(true, "one holds");
        assert!(findings.passed());
        findings.claim(false, "one does not");
        assert!(!findings.passed());
        let text = findings.to_string();
        assert!(
            text.contains("ok   one holds") && text.contains("FAIL one does not"),
            "{text}"
        );
    }

    #[test]
    fn figures_are_found_by_name() {
        let mut findings = Findings::new("figures");
        findings.note("failed", 0_u64);
        assert_eq!(findings.figure("failed"), Some(&0.into()));
        assert_eq!(findings.to_json()["figures"]["failed"], 0);
    }
}
