//! Which destination rules hold for calls of one client to one service, joined into one.
//!
//! The client's namespace is asked first, then the service's, then the root namespace. In the
//! first that has any matching rule the most specific host wins, and all rules of that host there
//! are joined, oldest first: subsets are added up, and parts of the policy the older do not set
//! are filled from the younger.

use mesh_api::units::Port;

use super::diagnostics::{Diagnostic, Report, codes};
use super::scope::Client;
use crate::crd::destination_rule::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection,
    PortTrafficPolicy, ProxyProtocol, RetryBudget, Subset, TrafficPolicy, TunnelSettings,
};
use crate::meta::ObjectKey;
use crate::model::Service;
use crate::model::rules::{Caller, RuleIndex, RuleObject};

/// A part of a policy and where it is written.
#[derive(Debug)]
pub struct Block<'w, T> {
    /// What is written.
    pub value: &'w T,
    /// The object.
    pub object: &'w ObjectKey,
    /// The field.
    pub field: String,
}

impl<T> Clone for Block<'_, T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value,
            object: self.object,
            field: self.field.clone(),
        }
    }
}

/// The parts of a policy that hold in one place.
#[derive(Clone, Debug, Default)]
pub struct Policy<'w> {
    /// `loadBalancer`
    pub load_balancer: Option<Block<'w, LoadBalancerSettings>>,
    /// `connectionPool`
    pub connection_pool: Option<Block<'w, ConnectionPoolSettings>>,
    /// `outlierDetection`
    pub outlier_detection: Option<Block<'w, OutlierDetection>>,
    /// `tls`
    pub tls: Option<Block<'w, ClientTlsSettings>>,
    /// `tunnel`
    pub tunnel: Option<Block<'w, TunnelSettings>>,
    /// `proxyProtocol`
    pub proxy_protocol: Option<Block<'w, ProxyProtocol>>,
    /// `retryBudget`
    pub retry_budget: Option<Block<'w, RetryBudget>>,
}

/// A subset and where it is written.
#[derive(Clone, Debug)]
pub struct JoinedSubset<'w> {
    /// The subset.
    pub subset: &'w Subset,
    /// The object.
    pub object: &'w ObjectKey,
    /// The field.
    pub field: String,
}

/// All rules for one service, as one.
#[derive(Debug, Default)]
pub struct JoinedRule<'w> {
    /// The objects, oldest first.
    pub objects: Vec<&'w ObjectKey>,
    /// Subsets, in order of appearance.
    pub subsets: Vec<JoinedSubset<'w>>,
    policy: Policy<'w>,
    ports: Vec<(Port, Policy<'w>)>,
    /// What is kept for virtual services that are held back.
    kept: Option<Box<JoinedRule<'w>>>,
}

impl<'w> JoinedRule<'w> {
    /// A subset by name.
    pub fn subset(&self, name: &str) -> Option<&JoinedSubset<'w>> {
        self.subsets.iter().find(|one| one.subset.name == name)
    }

    /// Whether a subset that no rule has any more is kept for routes that are held back.
    pub fn keeps(&self, name: &str) -> bool {
        self.kept
            .as_ref()
            .is_some_and(|kept| kept.subset(name).is_some())
    }

    /// A subset as it is, or as it is kept, with the rule whose policy it is laid over: what is
    /// kept stands in for the rules themselves only where none of them is left.
    pub fn definition(&self, name: &str) -> Option<(&Self, &JoinedSubset<'w>)> {
        if let Some(subset) = self.subset(name) {
            return Some((self, subset));
        }
        let kept = self.kept.as_deref()?;
        let base = if self.objects.is_empty() { kept } else { self };
        Some((base, kept.subset(name)?))
    }

    /// The policy for one port, and one subset if given.
    ///
    /// An entry for the port replaces the four blocks it may carry, those it leaves out included;
    /// a subset's blocks replace the rule's one by one.
    pub fn policy(&self, port: Port, subset: Option<&JoinedSubset<'w>>) -> Policy<'w> {
        let mut policy = self.policy.clone();
        if let Some((_, entry)) = self.ports.iter().find(|(number, _)| *number == port) {
            replace_four(&mut policy, entry);
        }
        let Some(over) = subset else {
            return policy;
        };
        let Some(written) = &over.subset.traffic_policy else {
            return policy;
        };
        let field = format!("{}.trafficPolicy", over.field);
        let (blocks, ports) = blocks(written, over.object, &field);
        overlay(&mut policy, blocks);
        if let Some((_, entry)) = ports.iter().find(|(number, _)| *number == port) {
            replace_four(&mut policy, entry);
        }
        policy
    }
}

fn replace_four<'w>(policy: &mut Policy<'w>, entry: &Policy<'w>) {
    policy.load_balancer.clone_from(&entry.load_balancer);
    policy.connection_pool.clone_from(&entry.connection_pool);
    policy
        .outlier_detection
        .clone_from(&entry.outlier_detection);
    policy.tls.clone_from(&entry.tls);
}

fn overlay<'w>(policy: &mut Policy<'w>, over: Policy<'w>) {
    policy.load_balancer = over.load_balancer.or(policy.load_balancer.take());
    policy.connection_pool = over.connection_pool.or(policy.connection_pool.take());
    policy.outlier_detection = over.outlier_detection.or(policy.outlier_detection.take());
    policy.tls = over.tls.or(policy.tls.take());
    policy.tunnel = over.tunnel.or(policy.tunnel.take());
    policy.proxy_protocol = over.proxy_protocol.or(policy.proxy_protocol.take());
    policy.retry_budget = over.retry_budget.or(policy.retry_budget.take());
}

/// The parts of a written policy, and those of its ports.
fn blocks<'w>(
    written: &'w TrafficPolicy,
    object: &'w ObjectKey,
    field: &str,
) -> (Policy<'w>, Vec<(Port, Policy<'w>)>) {
    let policy = Policy {
        load_balancer: block(
            written.load_balancer.as_ref(),
            object,
            field,
            "loadBalancer",
        ),
        connection_pool: block(
            written.connection_pool.as_ref(),
            object,
            field,
            "connectionPool",
        ),
        outlier_detection: block(
            written.outlier_detection.as_ref(),
            object,
            field,
            "outlierDetection",
        ),
        tls: block(written.tls.as_ref(), object, field, "tls"),
        tunnel: block(written.tunnel.as_ref(), object, field, "tunnel"),
        proxy_protocol: block(
            written.proxy_protocol.as_ref(),
            object,
            field,
            "proxyProtocol",
        ),
        retry_budget: block(written.retry_budget.as_ref(), object, field, "retryBudget"),
    };
    let ports = written
        .port_level_settings
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let number = Port::new(entry.port.as_ref()?.number)?;
            let field = format!("{field}.portLevelSettings[{index}]");
            Some((number, port_blocks(entry, object, &field)))
        })
        .collect();
    (policy, ports)
}

fn port_blocks<'w>(entry: &'w PortTrafficPolicy, object: &'w ObjectKey, field: &str) -> Policy<'w> {
    Policy {
        load_balancer: block(entry.load_balancer.as_ref(), object, field, "loadBalancer"),
        connection_pool: block(
            entry.connection_pool.as_ref(),
            object,
            field,
            "connectionPool",
        ),
        outlier_detection: block(
            entry.outlier_detection.as_ref(),
            object,
            field,
            "outlierDetection",
        ),
        tls: block(entry.tls.as_ref(), object, field, "tls"),
        ..Policy::default()
    }
}

fn block<'w, T>(
    value: Option<&'w T>,
    object: &'w ObjectKey,
    field: &str,
    name: &str,
) -> Option<Block<'w, T>> {
    value.map(|value| Block {
        value,
        object,
        field: format!("{field}.{name}"),
    })
}

/// The rules that hold for the client's calls to a service, joined, beside what is kept of them.
pub(crate) fn join<'w>(
    index: &RuleIndex<'w>,
    kept: &RuleIndex<'w>,
    client: &Client,
    service: &Service,
    report: &mut Report,
) -> JoinedRule<'w> {
    let caller = Caller {
        namespace: &client.namespace,
        labels: Some(&client.labels),
    };
    let mut joined = join_rules(&index.of_service(caller, service), report);
    let kept = kept.of_service(caller, service);
    if !kept.is_empty() {
        // What there is to say about these was said while they were there.
        joined.kept = Some(Box::new(join_rules(&kept, &mut Report::default())));
    }
    joined
}

fn join_rules<'w>(rules: &[&'w RuleObject], report: &mut Report) -> JoinedRule<'w> {
    let mut joined = JoinedRule::default();
    for rule in rules {
        let object = &rule.key;
        joined.objects.push(object);
        for (index, subset) in rule.spec.subsets.iter().enumerate() {
            let field = format!("spec.subsets[{index}]");
            if let Some(older) = joined.subset(&subset.name) {
                if older.object != object && older.subset != subset {
                    report.push(Diagnostic::new(
                        codes::DUPLICATE_SUBSET,
                        object,
                        field,
                        format!(
                            "subset {} has no effect here: {} defines it too and is older",
                            subset.name, older.object
                        ),
                    ));
                }
                continue;
            }
            joined.subsets.push(JoinedSubset {
                subset,
                object,
                field,
            });
        }
        if let Some(written) = &rule.spec.traffic_policy {
            let (policy, ports) = blocks(written, object, "spec.trafficPolicy");
            fill(&mut joined.policy, policy, report);
            for (port, policy) in ports {
                match joined.ports.iter_mut().find(|(number, _)| *number == port) {
                    Some((_, older)) => fill(older, policy, report),
                    None => joined.ports.push((port, policy)),
                }
            }
        }
    }
    joined
}

/// Fills what the older policy does not set, and names what loses.
fn fill<'w>(older: &mut Policy<'w>, younger: Policy<'w>, report: &mut Report) {
    fill_block(&mut older.load_balancer, younger.load_balancer, report);
    fill_block(&mut older.connection_pool, younger.connection_pool, report);
    fill_block(
        &mut older.outlier_detection,
        younger.outlier_detection,
        report,
    );
    fill_block(&mut older.tls, younger.tls, report);
    fill_block(&mut older.tunnel, younger.tunnel, report);
    fill_block(&mut older.proxy_protocol, younger.proxy_protocol, report);
    fill_block(&mut older.retry_budget, younger.retry_budget, report);
}

fn fill_block<'w, T: PartialEq>(
    older: &mut Option<Block<'w, T>>,
    younger: Option<Block<'w, T>>,
    report: &mut Report,
) {
    let Some(younger) = younger else {
        return;
    };
    match older {
        None => *older = Some(younger),
        Some(older) if older.value == younger.value => {}
        Some(older) => report.push(Diagnostic::new(
            codes::POLICY_CONFLICT,
            younger.object,
            younger.field,
            format!(
                "has no effect: {} sets {} too and is older",
                older.object, older.field
            ),
        )),
    }
}
