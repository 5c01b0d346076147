//! What the types cannot say: rules over several fields, names, expressions and ranges.
//!
//! Every kind has a file of its own below. All problems of an object are found in one go, each
//! with the path of its field and, where there is one, the way out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::problem::{FieldPath, Problem, Severity};

mod authorization_policy;
mod destination_rule;
mod endpoint_policy;
mod envoy_filter;
mod gateway;
mod http_action;
mod http_route;
mod names;
mod peer_authentication;
mod proxy_config;
mod request_authentication;
mod service_entry;
mod sidecar;
mod telemetry;
mod virtual_service;
mod wasm_plugin;
mod workload_entry;
mod workload_group;

/// A specification that can be checked.
pub trait Validate {
    /// Reports everything that is wrong with it.
    fn validate(&self, check: &mut Checker);
}

/// Collects problems and knows where in the document it is.
#[derive(Debug, Default)]
pub struct Checker {
    path: FieldPath,
    problems: Vec<Problem>,
    /// What the regular expressions cost that were checked.
    expressions: usize,
    /// Those that were checked.
    checked: BTreeSet<String>,
}

impl Checker {
    /// Starts at a field of the document; empty is the document itself.
    pub fn new(root: &str) -> Self {
        let mut checker = Self::default();
        if !root.is_empty() {
            checker.path.push_field(root);
        }
        checker
    }

    /// Runs checks inside a field.
    pub fn field(&mut self, name: &str, checks: impl FnOnce(&mut Self)) {
        self.path.push_field(name);
        checks(self);
        self.path.pop();
    }

    /// Runs checks inside a field that may be absent.
    pub fn optional<T>(
        &mut self,
        name: &str,
        value: Option<&T>,
        checks: impl FnOnce(&mut Self, &T),
    ) {
        if let Some(value) = value {
            self.field(name, |check| checks(check, value));
        }
    }

    /// Runs checks inside every element of a list.
    pub fn each<T>(&mut self, name: &str, items: &[T], mut checks: impl FnMut(&mut Self, &T)) {
        self.field(name, |check| {
            for (index, item) in items.iter().enumerate() {
                check.path.push_index(index);
                checks(check, item);
                check.path.pop();
            }
        });
    }

    /// Refuses what is here.
    pub fn error(&mut self, message: impl Into<String>) {
        self.add(Problem::new(Severity::Error, message));
    }

    /// Refuses what is here and names the way out.
    pub fn error_hint(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Problem::new(Severity::Error, message).hint(hint));
    }

    /// Accepts what is here, but says that it is probably not what was meant.
    pub fn warn(&mut self, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Problem::new(Severity::Warning, message).hint(hint));
    }

    fn add(&mut self, problem: Problem) {
        let path = self.path.as_str();
        self.problems.push(if path.is_empty() {
            problem
        } else {
            problem.at(path)
        });
    }

    /// Everything found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Nothing, or everything found.
    pub fn finish(self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(self.problems)
        }
    }

    /// Needs a literal IP address here.
    pub fn ip_address(&mut self, text: &str) {
        if text.parse::<IpAddr>().is_err() {
            self.error(format!("{text:?} is not an IP address"));
        }
    }

    /// Needs a number within bounds here.
    fn within(&mut self, number: f64, low: f64, high: f64) {
        if !(low..=high).contains(&number) {
            self.error(format!("{number} is not between {low} and {high}"));
        }
    }
}

/// How many of the options are set.
fn count<const N: usize>(set: [bool; N]) -> usize {
    set.into_iter().filter(|set| *set).count()
}

#[cfg(test)]
mod tests;
