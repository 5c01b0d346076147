//! What each service account of the manifests can reach: a model of RBAC and of the ways by which
//! one account becomes another, so that a test can tell when the parts of the mesh are no longer
//! apart.
//!
//! [`rights`] says what the roles and bindings grant, [`paths`] what can be made of it.

mod paths;
mod rights;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::kubectl::{name_of, text_at};
use super::manifests::kind_of;
use rights::Rights;

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Account {
    namespace: String,
    name: String,
}

/// What can be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// What this account may do.
    Account(Account),
    /// New pods of namespaces that are not the mesh's own.
    Pods,
    /// The proxies of such pods: what they trust and do.
    Proxies,
    /// Everything.
    Cluster,
}

/// What every account can reach, and by which ways.
type Reach = BTreeMap<Account, BTreeMap<Target, BTreeSet<String>>>;

/// Computes it for rendered manifests, over any number of steps.
fn of(objects: &[Value]) -> Reach {
    let rights = Rights::of(objects);
    let mut reach: Reach = accounts(objects)
        .into_iter()
        .map(|account| {
            let direct = paths::direct(objects, &rights, &account);
            (account, direct)
        })
        .collect();
    // One step more until there is nothing new.
    loop {
        let known = reach.clone();
        for (from, targets) in &mut reach {
            let through: Vec<&Account> = known
                .get(from)
                .into_iter()
                .flatten()
                .filter_map(|(target, _)| match target {
                    Target::Account(account) => Some(account),
                    Target::Pods | Target::Proxies | Target::Cluster => None,
                })
                .collect();
            for middle in through {
                let further = known.get(middle).into_iter().flatten();
                for (target, _) in further.filter(|(target, _)| !is(target, from)) {
                    targets
                        .entry(target.clone())
                        .or_insert_with(|| BTreeSet::from([format!("through {middle}")]));
                }
            }
        }
        if reach == known {
            return reach;
        }
    }
}

fn is(target: &Target, account: &Account) -> bool {
    matches!(target, Target::Account(one) if one == account)
}

/// The service accounts that are installed.
fn accounts(objects: &[Value]) -> BTreeSet<Account> {
    objects
        .iter()
        .filter(|object| kind_of(object) == "ServiceAccount")
        .map(|object| Account {
            namespace: namespace_of(object).to_owned(),
            name: name_of(object).to_owned(),
        })
        .collect()
}

fn namespace_of(object: &Value) -> &str {
    text_at(object, "/metadata/namespace").unwrap_or_default()
}

/// The list at a JSON pointer.
fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The texts of the list at a JSON pointer.
fn texts(value: &Value, pointer: &str) -> BTreeSet<String> {
    let texts = list(value, pointer).iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// The table of SECURITY.md.
fn table(reach: &Reach) -> String {
    let mut rows = vec![
        "| whoever breaks into | reaches | by |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    for (account, targets) in reach {
        if targets.is_empty() {
            rows.push(format!("| `{account}` | nothing | |"));
        }
        for (target, ways) in targets {
            let ways: Vec<&str> = ways.iter().map(String::as_str).collect();
            let ways = ways.join("; ");
            rows.push(format!("| `{account}` | {target} | {ways} |"));
        }
    }
    rows.join("\n")
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(out, "`{account}`"),
            Self::Pods => out.write_str("new pods of namespaces that are not the mesh's own"),
            Self::Proxies => out.write_str("the proxies of injected pods"),
            Self::Cluster => out.write_str("the whole cluster"),
        }
    }
}

#[cfg(test)]
mod tests;
