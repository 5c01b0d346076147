//! What a compilation of the shared part reads and what it has made so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::cluster::Cluster;
use mesh_api::encoded::Encoded;
use mesh_api::listener::Listener;
use mesh_api::name::{ClusterName, ResourceName};
use mesh_api::resource::Resource;
use mesh_api::route::VirtualHost;
use mesh_api::units::Port;

use super::destination_rules::{JoinedRule, RuleIndex, join};
use super::diagnostics::{Diagnostic, Report, codes};
use super::routes::candidates::CandidateIndex;
use super::scope::Client;
use super::{ResourceMap, Shared, Unplaced, clusters};
use crate::meta::ObjectKey;
use crate::model::service::Resolution;
use crate::model::{Service, World};

/// A compilation under way.
pub(crate) struct Context<'w> {
    pub(crate) world: &'w World,
    pub(crate) client: &'w Client,
    pub(crate) report: Report,
    pub(crate) candidates: CandidateIndex<'w>,
    rule_index: RuleIndex<'w>,
    rules: BTreeMap<Arc<str>, Arc<JoinedRule<'w>>>,
    /// Clusters something refers to.
    wanted: BTreeSet<(Arc<str>, Port, Option<Arc<str>>)>,
    passthrough: bool,
    listeners: Vec<Listener>,
    unplaced: Vec<Unplaced>,
    virtual_hosts: Vec<VirtualHost>,
}

impl<'w> Context<'w> {
    pub(crate) fn new(world: &'w World, client: &'w Client) -> Self {
        let mut report = Report::default();
        let candidates = CandidateIndex::of(world, &client.namespace, &mut report);
        Self {
            world,
            client,
            report,
            candidates,
            rule_index: RuleIndex::of(world),
            rules: BTreeMap::new(),
            wanted: BTreeSet::new(),
            passthrough: false,
            listeners: Vec::new(),
            unplaced: Vec::new(),
            virtual_hosts: Vec::new(),
        }
    }

    /// A service the client may see.
    pub(crate) fn visible_service(&self, host: &str) -> Option<&'w Arc<Service>> {
        self.world
            .service(host)
            .filter(|service| service.visibility.includes(&self.client.namespace))
    }

    /// What stands behind a service: itself, or what it is another name of if the mesh knows it.
    pub(crate) fn behind(&self, service: &'w Arc<Service>) -> &'w Arc<Service> {
        let mut current = service;
        // Names that lead in a circle end somewhere on it.
        for _ in 0..8 {
            match &current.resolution {
                Resolution::Alias(target) => match self.visible_service(target) {
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

    /// The destination rule that holds for the client's calls to a service.
    pub(crate) fn rule(&mut self, service: &Service) -> Arc<JoinedRule<'w>> {
        if let Some(rule) = self.rules.get(&service.host) {
            return Arc::clone(rule);
        }
        let rule = Arc::new(join(
            &self.rule_index,
            self.client,
            service,
            &mut self.report,
        ));
        self.rules
            .insert(Arc::clone(&service.host), Arc::clone(&rule));
        rule
    }

    /// The name of a cluster, which is then made.
    pub(crate) fn cluster(
        &mut self,
        service: &Service,
        port: Port,
        subset: Option<Arc<str>>,
    ) -> ClusterName {
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

    /// Adds a virtual host. The first to claim a domain in a table has it; a host whose domains
    /// are all taken is left out.
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
            if let Some(service) = self.world.service(&host) {
                made.extend(clusters::cluster(self, service, port, subset));
            }
        }
        made
    }

    /// What there is to say, for those who want nothing else.
    pub(crate) fn into_findings(mut self) -> Vec<Diagnostic> {
        self.clusters();
        self.report.into_sorted()
    }

    /// Makes the clusters that are wanted and encodes everything.
    pub(crate) fn finish(mut self) -> Shared {
        let mut endpoint_sets = BTreeSet::new();
        let mut made: Vec<Resource> = self.clusters().into_iter().map(Resource::from).collect();
        if self.passthrough {
            made.push(clusters::passthrough().into());
        }
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
        Shared {
            resources,
            endpoint_sets,
            unplaced: self.unplaced,
            diagnostics: self.report.into_sorted(),
        }
    }

    /// Says that two services want one thing.
    pub(crate) fn report_conflict(&mut self, loser: &ObjectKey, what: &str, winner: &ObjectKey) {
        self.report(Diagnostic::new(
            codes::LISTENER_CONFLICT,
            loser,
            "",
            format!("{what} is already used by {winner}, which is older or comes first by name"),
        ));
    }
}
