//! `cargo xtask tidy`: the house rules that a machine can check, each violation with the way out.

mod copied;
mod crates;
mod documents;
mod examples;
mod floors;
mod names;
mod protocol;
mod rust;
mod source;
mod stats;
mod tree;
mod unused;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::cargo;
use tree::Tree;

/// Check the house rules (see CONTRIBUTING.md)
///
/// Prints each violation as `path:line: rule: what to do` and fails if there is one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say in PROTOCOL.md that its text agrees with the proto files; only after making it so
    #[arg(long, conflicts_with = "stats")]
    bless: bool,
    /// Print the longest file, the longest function and the lines of code per crate
    #[arg(long)]
    stats: bool,
    /// Also find passages that stand in the files of this folder: other people's text
    #[arg(long, value_name = "DIR", conflicts_with = "stats")]
    compare: Option<PathBuf>,
}

/// One place that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    rule: &'static str,
    advice: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}:{}: {}: {}",
            self.path, self.line, self.rule, self.advice
        )
    }
}

impl Violation {
    fn new(path: &str, line: usize, rule: &'static str, advice: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            advice: advice.into(),
        }
    }
}

/// Runs the command on the workspace.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let root = cargo::workspace_root();
    if args.bless {
        let changed = protocol::bless(&root, &Tree::read(&root)?)?;
        let what = if changed {
            "updated"
        } else {
            "already in step"
        };
        println!("{}: {what}", protocol::DOCUMENT);
    }
    let tree = Tree::read(&root)?;
    if args.stats {
        print!("{}", stats::report(&tree));
        return Ok(ExitCode::SUCCESS);
    }
    let copied = match &args.compare {
        Some(folder) => copied::check(&tree, &Tree::read(folder)?),
        None => Vec::new(),
    };
    for violation in &copied {
        println!("{violation}");
    }
    Ok(if report(&tree) && copied.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether the workspace follows the rules; prints what does not.
pub(crate) fn is_tidy() -> Result<bool> {
    Ok(report(&Tree::read(&cargo::workspace_root())?))
}

fn report(tree: &Tree) -> bool {
    let mut violations = check(tree);
    violations.retain(|one| one.rule != crates::BANNED_CRATE || crates::is_linked(one));
    for violation in &violations {
        println!("{violation}");
    }
    if violations.is_empty() {
        println!("tidy: {} files follow the house rules", tree.len());
    } else {
        println!("tidy: {} violations", violations.len());
    }
    violations.is_empty()
}

/// Every violation in the tree, in the order of paths and lines.
fn check(tree: &Tree) -> Vec<Violation> {
    let rules = [
        rust::check,
        names::check,
        crates::check,
        floors::check,
        protocol::check,
        documents::check,
        examples::check,
        unused::check,
    ];
    let mut violations: Vec<Violation> = rules.iter().flat_map(|rule| rule(tree)).collect();
    violations.sort();
    violations
}

#[cfg(test)]
mod tests;
