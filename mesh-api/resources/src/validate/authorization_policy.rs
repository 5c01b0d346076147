//! Rules of an AuthorizationPolicy. What could let in more than was meant is refused.

use super::names::{is_label, is_token};
use super::request_authentication::check_targets;
use super::{Checker, Validate};
use crate::authorization_policy::{
    Action, AuthorizationPolicySpec, Condition, Operation, Rule, Source,
};

const MAX_RULES: usize = 512;
const MAX_ACCOUNTS: usize = 16;

impl Validate for AuthorizationPolicySpec {
    fn validate(&self, check: &mut Checker) {
        check_targets(
            check,
            self.selector.as_ref(),
            self.target_ref.as_ref(),
            &self.target_refs,
        );
        if self.rules.is_empty() && matches!(self.action, Action::Deny | Action::Custom) {
            check.field("rules", |check| {
                check.error_hint(
                    "is required with this action",
                    "use rules: [{}] to match every request",
                );
            });
        }
        let provider = self
            .provider
            .as_ref()
            .and_then(|provider| provider.name.as_ref());
        if self.action == Action::Custom && provider.is_none() {
            check.field("provider", |check| {
                check.error_hint("is required with action CUSTOM", "set provider.name");
            });
        }
        if self.action != Action::Custom && self.provider.is_some() {
            check.field("provider", |check| {
                check.error_hint("only has a meaning with action CUSTOM", "remove it");
            });
        }
        check.at_most("rules", &self.rules, MAX_RULES);
        check.each("rules", &self.rules, |check, rule| rule.check(check));
        if self.action == Action::Deny {
            self.check_widening(check);
        }
    }
}

impl AuthorizationPolicySpec {
    /// On a TCP port conditions on HTTP fall away; without a port such a rule denies it all.
    fn check_widening(&self, check: &mut Checker) {
        check.each("rules", &self.rules, |check, rule| {
            check.each("to", &rule.to, |check, to| {
                let Some(operation) = &to.operation else {
                    return;
                };
                let http = !operation.methods.is_empty() || !operation.paths.is_empty() || !operation.hosts.is_empty();
                if http && operation.ports.is_empty() {
                    check.field("operation", |check| {
                        check.warn(
                            "denies every connection to the TCP ports of the workload, where methods, paths and hosts are unknown",
                            "add ports",
                        );
                    });
                }
            });
        });
    }
}

impl Rule {
    fn check(&self, check: &mut Checker) {
        check.at_most("from", &self.from, MAX_RULES);
        check.each("from", &self.from, |check, from| match &from.source {
            Some(source) if *source != Source::default() => {
                check.field("source", |check| source.check(check));
            }
            Some(_) | None => check.field("source", |check| {
                check.error_hint(
                    "is empty",
                    "name at least one field, or leave from out to match any caller",
                );
            }),
        });
        check.each("to", &self.to, |check, to| match &to.operation {
            Some(operation) if *operation != Operation::default() => {
                check.field("operation", |check| operation.check(check));
            }
            Some(_) | None => check.field("operation", |check| {
                check.error_hint(
                    "is empty",
                    "name at least one field, or leave to out to match any operation",
                );
            }),
        });
        check.each("when", &self.when, |check, condition| {
            condition.check(check);
        });
    }
}

impl Source {
    fn check(&self, check: &mut Checker) {
        let lists = [
            ("principals", &self.principals),
            ("notPrincipals", &self.not_principals),
            ("requestPrincipals", &self.request_principals),
            ("notRequestPrincipals", &self.not_request_principals),
            ("namespaces", &self.namespaces),
            ("notNamespaces", &self.not_namespaces),
            ("trustDomains", &self.trust_domains),
            ("notTrustDomains", &self.not_trust_domains),
        ];
        for (name, list) in lists {
            check_texts(check, name, list);
        }
        for (name, list) in [
            ("principals", &self.principals),
            ("notPrincipals", &self.not_principals),
        ] {
            check.each(name, list, |check, text| {
                if text.starts_with("spiffe://") {
                    check.error_hint(
                        "never matches with spiffe:// in front",
                        "write trust-domain/ns/NAMESPACE/sa/NAME",
                    );
                }
            });
        }
        self.check_accounts(check);
        for (name, list) in [
            ("ipBlocks", &self.ip_blocks),
            ("notIpBlocks", &self.not_ip_blocks),
            ("remoteIpBlocks", &self.remote_ip_blocks),
            ("notRemoteIpBlocks", &self.not_remote_ip_blocks),
        ] {
            check.each(name, list, |check, text| check.subnet(text));
        }
    }

    fn check_accounts(&self, check: &mut Checker) {
        let accounts = [
            ("serviceAccounts", &self.service_accounts),
            ("notServiceAccounts", &self.not_service_accounts),
        ];
        for (name, list) in accounts {
            check.each(name, list, |check, text| {
                let (namespace, account) = text.split_once('/').unwrap_or(("default", text));
                if !is_label(namespace) || !account.split('.').all(is_label) {
                    let hint = "write name or namespace/name, without wildcards";
                    check.error_hint(format!("{text:?} is not a service account"), hint);
                }
            });
        }
        for (name, list) in accounts {
            check.at_most(name, list, MAX_ACCOUNTS);
        }
        let named = accounts.iter().any(|(_, list)| !list.is_empty());
        let others = [
            &self.principals,
            &self.not_principals,
            &self.namespaces,
            &self.not_namespaces,
        ];
        if named && others.iter().any(|list| !list.is_empty()) {
            let hint = "use another entry of from";
            check.error_hint(
                "serviceAccounts cannot stand beside principals and namespaces",
                hint,
            );
        }
    }
}

impl Operation {
    fn check(&self, check: &mut Checker) {
        for (name, list) in [
            ("hosts", &self.hosts),
            ("notHosts", &self.not_hosts),
            ("methods", &self.methods),
            ("notMethods", &self.not_methods),
        ] {
            check_texts(check, name, list);
        }
        for (name, list) in [("paths", &self.paths), ("notPaths", &self.not_paths)] {
            check.each(name, list, |check, path| check_path(check, path));
        }
        for (name, list) in [("ports", &self.ports), ("notPorts", &self.not_ports)] {
            check.each(name, list, |check, port| check_port_text(check, port));
        }
    }
}

/// A path; with `{*}` or `{**}` in it a template, otherwise an ordinary comparison.
fn check_path(check: &mut Checker, path: &str) {
    if path.is_empty() {
        check.error("is empty");
        return;
    }
    if !path.contains(['{', '}']) {
        return;
    }
    let mut rest = false;
    let legal = path.split('/').all(|segment| match segment {
        "{*}" | "{**}" if rest => false,
        "{**}" => {
            rest = true;
            true
        }
        "{*}" => true,
        other => !other.contains(['{', '}', '*']),
    });
    if !legal {
        let hint =
            "use {*} for one whole segment, {**} for any number, and none of them after {**}";
        check.error_hint(format!("{path:?} is not a path template"), hint);
    } else if !path.starts_with('/') {
        check.warn(
            format!("{path:?} matches no request: paths begin with /"),
            "put a / in front",
        );
    }
}

fn check_port_text(check: &mut Checker, port: &str) {
    if !port.parse::<u16>().is_ok_and(|port| port != 0) {
        check.error_hint(format!("{port:?} is not a port"), "use \"1\" to \"65535\"");
    }
}

fn check_texts(check: &mut Checker, name: &str, list: &[String]) {
    check.each(name, list, |check, text| {
        if text.is_empty() {
            check.error("is empty");
        } else if text.len() > 1 && text.starts_with('*') && text.ends_with('*') {
            check.error_hint(
                format!("{text:?} has a * at both ends"),
                "use one, at the beginning or at the end",
            );
        }
    });
}

impl Condition {
    fn check(&self, check: &mut Checker) {
        if self.values.is_empty() && self.not_values.is_empty() {
            check.error_hint("has neither values nor notValues", "add one of them");
        }
        check.field("key", |check| {
            if !is_known_key(&self.key) {
                check.error_hint(
                    format!("{:?} is not an attribute", self.key),
                    "use request.headers[NAME], source.ip, source.namespace, source.principal, request.auth.claims[NAME] and the like",
                );
            }
        });
        for (name, list) in [("values", &self.values), ("notValues", &self.not_values)] {
            match self.key.as_str() {
                "source.ip" | "remote.ip" | "destination.ip" => {
                    check.each(name, list, |check, text| check.subnet(text));
                }
                "destination.port" => {
                    check.each(name, list, |check, text| check_port_text(check, text));
                }
                _ => check_texts(check, name, list),
            }
        }
    }
}

fn is_known_key(key: &str) -> bool {
    const PLAIN: [&str; 12] = [
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    ];
    let bracketed = |prefix: &str| {
        key.strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('[')?.strip_suffix(']'))
    };
    PLAIN.contains(&key)
        || bracketed("request.headers").is_some_and(is_token)
        || bracketed("request.auth.claims").is_some_and(|claim| !claim.is_empty())
        || key.starts_with("experimental.envoy.filters.")
}
