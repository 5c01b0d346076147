//! What a compilation of the shared part reads and what it has made so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::cluster::Cluster;
use mesh_api::encoded::Encoded;
use mesh_api::listener::Listener;
use mesh_api::name::{ClusterName, ResourceName};
use mesh_api::policy::Policy;
use mesh_api::resource::Resource;
use mesh_api::route::{Domain, VirtualHost};
use mesh_api::units::Port;

use super::destination_rules::{JoinedRule, join};
use super::diagnostics::{Diagnostic, Report, codes};
use super::expressions::Expressions;
use super::routes::Via;
use super::routes::candidates::{Candidate, CandidateIndex};
use super::routes::strangers::Strangers;
use super::scope::Client;
use super::{ProxyRole, ResourceMap, Shared, Unplaced, clusters, sidecar};
use crate::meta::ObjectKey;
use crate::model::ownership::Viewer;
use crate::model::rules::RuleIndex;
use crate::model::service::Resolution;
use crate::model::{Service, World};

/// A compilation under way.
pub(crate) struct Context<'w> {
    pub(crate) world: &'w World,
    pub(crate) client: &'w Client,
    /// Whose objects it is told of.
    pub(crate) viewer: Viewer,
    pub(crate) report: Report,
    /// The objects that made a difference.
    acting: BTreeSet<ObjectKey>,
    pub(crate) candidates: CandidateIndex<'w>,
    pub(crate) strangers: Strangers,
    /// What regular expressions cost so far.
    pub(crate) expressions: Expressions,
    rule_index: RuleIndex<'w>,
    kept_rules: RuleIndex<'w>,
    rules: BTreeMap<Arc<str>, Arc<JoinedRule<'w>>>,
    /// Clusters something refers to.
    wanted: BTreeSet<(Arc<str>, Port, Option<Arc<str>>)>,
    passthrough: bool,
    policies: Vec<Policy>,
    listeners: Vec<Listener>,
    unplaced: Vec<Unplaced>,
    virtual_hosts: Vec<VirtualHost>,
}

impl<'w> Context<'w> {
    pub(crate) fn new(world: &'w World, client: &'w Client) -> Self {
        let mut report = Report::default();
        let viewer = client.viewer(world);
        let mut acting = BTreeSet::new();
        if client.role == ProxyRole::Sidecar {
            let sidecar = sidecar::select(world, &client.namespace, &client.labels);
            acting.extend(sidecar.map(|one| one.key.clone()));
        }
        let candidates = CandidateIndex::of(world, &client.namespace, &mut report);
        Self {
            world,
            client,
            viewer,
            report,
            acting,
            candidates,
            strangers: Strangers::default(),
            expressions: Expressions::of(world),
            rule_index: RuleIndex::of(world),
            kept_rules: RuleIndex::kept(world),
            rules: BTreeMap::new(),
            wanted: BTreeSet::new(),
            passthrough: false,
            policies: Vec::new(),
            listeners: Vec::new(),
            unplaced: Vec::new(),
            virtual_hosts: Vec::new(),
        }
    }

    /// What a host is to the client where a route leads there.
    pub(crate) fn destination(&self, host: &str) -> Option<&'w Arc<Service>> {
        self.viewer.destination(self.world, host)
    }

    /// What stands behind a service: itself, or what it is another name of if the mesh knows it.
    pub(crate) fn behind(&self, service: &'w Arc<Service>) -> &'w Arc<Service> {
        let mut current = service;
        // Names that lead in a circle end somewhere on it.
        for _ in 0..8 {
            match &current.resolution {
                Resolution::Alias(target) => match self.destination(target) {
                    Some(next) => current = next,
                    None => break,
                },
                Resolution::Known
                | Resolution::Headless
                | Resolution::OriginalDestination
                | Resolution::Dns { .. }
                | Resolution::DynamicDns => break,
            }
        }
        current
    }

    /// The virtual services that are heard about a host, in groups of which the first that has
    /// anything to say wins.
    pub(crate) fn routing(&mut self, host: &Domain, via: &Via<'_>) -> Vec<Vec<Candidate<'w>>> {
        let spoken = self.candidates.about(self.world, &self.viewer, host, via);
        self.strangers.note(&self.viewer, host, &spoken);
        spoken.groups
    }

    /// The destination rule that holds for the client's calls to a service.
    pub(crate) fn rule(&mut self, service: &Service) -> Arc<JoinedRule<'w>> {
        if let Some(rule) = self.rules.get(&service.host) {
            return Arc::clone(rule);
        }
        let rule = Arc::new(join(
            &self.rule_index,
            &self.kept_rules,
            self.client,
            service,
            &mut self.report,
        ));
        self.rules
            .insert(Arc::clone(&service.host), Arc::clone(&rule));
        rule
    }

    /// Notes that an object makes a difference to the client.
    pub(crate) fn acts(&mut self, object: &ObjectKey) {
        if !self.acting.contains(object) {
            self.acting.insert(object.clone());
        }
    }

    /// Notes that the client is told of a service. Sidecars are told of nearly all of Kubernetes,
    /// which would only take room.
    pub(crate) fn tells_of(&mut self, service: &Service) {
        if service.is_kubernetes && self.client.role == ProxyRole::Sidecar {
            return;
        }
        for backing in &service.backings {
            self.acts(&backing.key);
        }
    }

    /// The name of a cluster, which is then made.
    pub(crate) fn cluster(
        &mut self,
        service: &Service,
        port: Port,
        subset: Option<Arc<str>>,
    ) -> ClusterName {
        self.tells_of(service);
        self.wanted
            .insert((Arc::clone(&service.host), port, subset.clone()));
        ClusterName::Outbound {
            port,
            subset,
            host: Arc::clone(&service.host),
        }
    }

    /// The cluster that sends connections where they were going.
    pub(crate) fn passthrough_cluster(&mut self) -> ClusterName {
        self.passthrough = true;
        ClusterName::Passthrough
    }

    /// What may come in at listeners of the shared part.
    pub(crate) fn add_policy(&mut self, policy: Policy) {
        self.policies.push(policy);
    }

    pub(crate) fn add_listener(&mut self, listener: Listener) {
        self.listeners.push(listener);
    }

    /// A listener that gets the proxy's own address.
    pub(crate) fn add_unplaced(&mut self, listener: Listener, object: &ObjectKey) {
        self.unplaced.push(Unplaced {
            listener,
            object: object.clone(),
        });
    }

    /// Adds a virtual host; whose its domains are was decided before.
    pub(crate) fn add_virtual_host(&mut self, host: VirtualHost) {
        self.virtual_hosts.push(host);
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.report.push(diagnostic);
    }

    /// The clusters that are wanted.
    fn clusters(&mut self) -> Vec<Cluster> {
        let mut made = Vec::new();
        for (host, port, subset) in std::mem::take(&mut self.wanted) {
            if let Some(service) = self.destination(&host) {
                for object in &self.rule(service).objects {
                    self.acts(object);
                }
                made.extend(clusters::cluster(self, service, port, subset));
            }
        }
        made
    }

    /// What there is to say, for those who want nothing else.
    pub(crate) fn into_findings(mut self) -> Vec<Diagnostic> {
        self.clusters();
        self.strangers.report(&mut self.report);
        self.report.into_sorted()
    }

    /// Makes the clusters that are wanted and encodes everything.
    pub(crate) fn finish(mut self) -> Shared {
        let mut endpoint_sets = BTreeSet::new();
        let mut made: Vec<Resource> = self.clusters().into_iter().map(Resource::from).collect();
        made.extend(self.world.settings().of_proxies().map(Resource::from));
        if self.passthrough {
            made.push(clusters::passthrough().into());
        }
        made.extend(self.policies.drain(..).map(Resource::from));
        made.extend(self.virtual_hosts.drain(..).map(Resource::from));
        made.extend(self.listeners.drain(..).map(Resource::from));
        let mut resources = ResourceMap::new();
        for resource in made {
            let encoded = Encoded::new(&resource);
            for reference in encoded.references.iter() {
                if let ResourceName::Endpoints(set) = reference {
                    endpoint_sets.insert(set.clone());
                }
            }
            resources.insert(encoded.name.clone(), encoded);
        }
        self.strangers.report(&mut self.report);
        Shared {
            resources,
            endpoint_sets,
            unplaced: self.unplaced,
            acting: self.acting,
            diagnostics: self.report.into_sorted(),
        }
    }

    /// Says that two services want one thing.
    pub(crate) fn report_conflict(&mut self, loser: &ObjectKey, what: &str, winner: &ObjectKey) {
        self.report(
            Diagnostic::new(
                codes::LISTENER_CONFLICT,
                loser,
                "",
                format!(
                    "{what} is already used by {winner}, which comes first: Services before \
                     service entries, then the older, then by name"
                ),
            )
            .hint(
                "give one of them another port, or let fewer services reach the workload \
                 (Sidecar.egress.hosts); objects from files are as old as their \
                 metadata.creationTimestamp says",
            ),
        );
    }
}
