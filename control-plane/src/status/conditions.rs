//! What is said about one object: three conditions, made from what was found and from what
//! proxies applied. Pure.
//!
//! Messages hold nothing that changes by itself, such as seconds, so that a status is written
//! only when something happened.

use jiff::Timestamp;

use super::reasons::{self, Verdict, verdict};
use super::tally::Tally;
use crate::compile::diagnostics::Diagnostic;
use crate::crd::Severity;
use crate::crd::status::Condition;
use crate::source::Report;

/// The conditions that are ours; others in the same list belong to others.
pub const TYPES: [&str; 3] = ["Accepted", "ResolvedRefs", "Programmed"];
/// Findings told in one message.
const TOLD: usize = 5;
/// One proxy in so many may be late without holding an object up; one may in any case.
const FEW: u32 = 4;
/// Bytes of one finding's text in a message.
const LONGEST: usize = 600;

/// Everything there is to say something about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What compiling found.
    pub findings: &'a [&'a Diagnostic],
    /// What reading found.
    pub reports: &'a [Report],
    /// Whether any form of the object could be read.
    pub readable: bool,
    /// How far proxies are.
    pub tally: &'a Tally,
}

/// Whether a statement holds, in the words of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    True,
    /// It does not.
    False,
    /// There is nobody to ask, or too few to tell. `kubectl wait` does not take it for either.
    Unknown,
}

impl Truth {
    /// As a condition's `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// One condition, without the times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its type.
    pub about: &'static str,
    /// Whether it holds.
    pub holds: Truth,
    /// Why, as one word.
    pub reason: &'static str,
    /// Why, as a sentence.
    pub message: String,
}

impl Statement {
    fn new(
        about: &'static str,
        holds: impl Into<Truth>,
        reason: &'static str,
        message: String,
    ) -> Self {
        Self {
            about,
            holds: holds.into(),
            reason,
            message,
        }
    }
}

/// The three statements about an object, in the order of [`TYPES`].
pub fn statements(facts: Facts<'_>) -> [Statement; 3] {
    [accepted(facts), resolved(facts), programmed(facts)]
}

/// Statements as conditions. A condition keeps the time of its last transition for as long as its
/// status stays the same.
pub fn conditions(
    statements: &[Statement],
    generation: Option<i64>,
    former: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let one = |statement: &Statement| {
        let status = statement.holds.as_str();
        let before = former
            .iter()
            .find(|one| one.condition_type == statement.about && one.status == status);
        let since = before.and_then(|one| one.last_transition_time.clone());
        Condition {
            condition_type: statement.about.to_owned(),
            status: status.to_owned(),
            reason: statement.reason.to_owned(),
            message: statement.message.clone(),
            last_transition_time: Some(since.unwrap_or_else(|| seconds(now))),
            observed_generation: generation,
        }
    };
    statements.iter().map(one).collect()
}

/// The form the API server takes times of conditions in: whole seconds.
fn seconds(now: Timestamp) -> String {
    Timestamp::from_second(now.as_second()).map_or_else(|_| now.to_string(), |now| now.to_string())
}

fn accepted(facts: Facts<'_>) -> Statement {
    let about = "Accepted";
    let errors = facts
        .reports
        .iter()
        .filter(|one| one.severity == Severity::Error);
    let errors: Vec<String> = errors.map(report).collect();
    if !errors.is_empty() || !facts.readable {
        let effect = if facts.readable {
            "the former form stays in effect"
        } else {
            "no form of it is in effect"
        };
        let problems = if errors.is_empty() {
            "it cannot be read".to_owned()
        } else {
            list(&errors)
        };
        return Statement::new(
            about,
            false,
            reasons::INVALID,
            format!("{problems}; {effect}"),
        );
    }
    let mut reason = None;
    let mut problems = Vec::new();
    for finding in facts.findings {
        if let Verdict::NotAccepted(why) = verdict(finding.code) {
            // What is invalid or refused weighs more than what lost against another object.
            if reason.is_none_or(|before| before == reasons::CONFLICT) {
                reason = Some(why);
            }
            problems.push(text(finding));
        }
    }
    if let Some(reason) = reason {
        return Statement::new(about, false, reason, list(&problems));
    }
    Statement::new(about, true, "Accepted", accepted_with(facts))
}

/// What goes with an object that is accepted: nothing of it is ignored in silence.
fn accepted_with(facts: Facts<'_>) -> String {
    let of = |wanted: Verdict| -> Vec<String> {
        let findings = facts.findings.iter();
        findings
            .filter(|one| verdict(one.code) == wanted)
            .map(|one| text(one))
            .collect()
    };
    let ignored = of(Verdict::NotActedOn);
    let mut notes: Vec<String> = facts.reports.iter().map(report).collect();
    notes.extend(of(Verdict::Note));
    let mut message = match ignored.len() {
        0 => "accepted".to_owned(),
        1 => format!("accepted with 1 setting not acted on: {}", list(&ignored)),
        many => format!(
            "accepted with {many} settings not acted on: {}",
            list(&ignored)
        ),
    };
    if !notes.is_empty() {
        message.push_str("; to note: ");
        message.push_str(&list(&notes));
    }
    message
}

fn resolved(facts: Facts<'_>) -> Statement {
    let about = "ResolvedRefs";
    let mut reason = None;
    let mut problems = Vec::new();
    for finding in facts.findings {
        let why = match verdict(finding.code) {
            Verdict::Unresolved(why) => why,
            Verdict::HeldBack => reasons::HELD_BACK,
            Verdict::NotAccepted(_) | Verdict::NotActedOn | Verdict::Note => continue,
        };
        reason.get_or_insert(why);
        problems.push(text(finding));
    }
    match reason {
        Some(reason) => Statement::new(about, false, reason, list(&problems)),
        None => Statement::new(
            about,
            true,
            "ResolvedRefs",
            "everything it refers to is there".to_owned(),
        ),
    }
}

fn programmed(facts: Facts<'_>) -> Statement {
    let about = "Programmed";
    let unread = facts
        .reports
        .iter()
        .any(|one| one.severity == Severity::Error);
    if unread || !facts.readable {
        let message = "the newest form cannot be read, see Accepted".to_owned();
        return Statement::new(about, false, reasons::INVALID, message);
    }
    let held_back = facts
        .findings
        .iter()
        .find(|one| verdict(one.code) == Verdict::HeldBack);
    if let Some(finding) = held_back {
        return Statement::new(about, false, reasons::HELD_BACK, text(finding));
    }
    let unused = facts
        .findings
        .iter()
        .find(|one| verdict(one.code) == Verdict::NotActedOn && one.field == "spec");
    if let Some(finding) = unused {
        return Statement::new(about, false, reasons::NOT_SUPPORTED, text(finding));
    }
    let tally = facts.tally;
    let (holds, reason) = standing(tally);
    if reason == reasons::NO_PROXIES {
        // Who waits for it reads this one.
        let why: Vec<String> = facts
            .findings
            .iter()
            .filter(|one| matches!(verdict(one.code), Verdict::Unresolved(_)))
            .map(|one| text(one))
            .collect();
        let mut message = "no connected proxy is concerned".to_owned();
        if !why.is_empty() {
            message.extend([": ", &list(&why)]);
        }
        return Statement::new(about, holds, reason, message);
    }
    let mut message = format!(
        "applied by {} of {} proxies",
        tally.applied, tally.concerned
    );
    let stragglers = tally.stragglers();
    if !stragglers.is_empty() {
        message.extend(["; ", &stragglers]);
    }
    Statement::new(about, holds, reason, message)
}

/// Whether an object is in force, from what proxies say of it.
///
/// A proxy belongs to whoever runs its pod, and what it says is not to decide over objects of
/// others: one that refuses, or says nothing for [`super::tally::LATE`], is named and no more. It
/// takes most of the proxies to call an object refused, and more than a few to call it late. With
/// nobody else to go by, it is not known.
fn standing(tally: &Tally) -> (Truth, &'static str) {
    let Tally {
        concerned,
        applied,
        refusals,
        late,
        ..
    } = *tally;
    let waited_for = concerned.saturating_sub(applied + refusals + late);
    if concerned == 0 {
        (Truth::Unknown, reasons::NO_PROXIES)
    } else if refusals > 1 && refusals > concerned / 2 {
        (Truth::False, reasons::REJECTED)
    } else if waited_for > 0 || late > (concerned / FEW).max(1) {
        (Truth::False, reasons::PENDING)
    } else if applied > 0 {
        (Truth::True, "Programmed")
    } else if refusals > 0 {
        (Truth::Unknown, reasons::REJECTED)
    } else {
        (Truth::Unknown, reasons::PENDING)
    }
}

fn text(finding: &Diagnostic) -> String {
    let mut text = finding.code.to_string();
    if !finding.field.is_empty() {
        text.push(' ');
        text.push_str(&finding.field);
    }
    text.push_str(": ");
    text.push_str(&finding.message);
    if let Some(hint) = &finding.hint {
        text.push_str("; ");
        text.push_str(hint);
    }
    shortened(text)
}

fn report(report: &Report) -> String {
    let mut text = String::new();
    if let Some(field) = &report.field {
        text.push_str(field);
        text.push_str(": ");
    }
    text.push_str(&report.message);
    if let Some(hint) = &report.hint {
        text.push_str("; ");
        text.push_str(hint);
    }
    shortened(text)
}

/// Users' own text may be of any length.
fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        let cut = text.floor_char_boundary(LONGEST);
        text.truncate(cut);
        text.push('…');
    }
    text
}

fn list(all: &[String]) -> String {
    let told = all.iter().take(TOLD).map(String::as_str);
    let mut text = told.collect::<Vec<_>>().join(" | ");
    if all.len() > TOLD {
        text.extend([" | and ", &(all.len() - TOLD).to_string(), " more"]);
    }
    text
}

#[cfg(test)]
mod tests;
