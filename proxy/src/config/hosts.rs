//! Which virtual host answers for an authority: exact host, then the longest wildcard, then `*`.

use std::sync::Arc;

use mesh_api::listener::RouteSelection;
use mesh_api::name::RouteScope;
use mesh_api::route::Domain;
use mesh_api::units::Port;

use super::FastMap;
use super::rules::HostRoutes;

/// The port an authority without one means, where the table is chosen by it.
const DEFAULT_PORT: u16 = 80;

/// Every table of virtual hosts.
#[derive(Debug, Default)]
pub struct HostTables {
    tables: FastMap<RouteScope, HostLookup>,
    /// Hosts that stand in exactly one table of a port, for authorities without a port.
    alone: FastMap<Arc<str>, Option<Arc<HostRoutes>>>,
}

/// One table of virtual hosts.
#[derive(Debug, Default)]
pub struct HostLookup {
    exact: FastMap<Arc<str>, Arc<HostRoutes>>,
    /// Longest first.
    suffixes: Vec<(Arc<str>, Arc<HostRoutes>)>,
    any: Option<Arc<HostRoutes>>,
}

impl HostTables {
    /// The tables of these virtual hosts.
    pub(super) fn build(hosts: impl Iterator<Item = Arc<HostRoutes>>) -> Self {
        let mut all = Self::default();
        for routes in hosts {
            let scope = routes.host().name.scope.clone();
            for domain in &routes.host().domains {
                if let (Domain::Exact(host), None) = (domain, &scope.server) {
                    all.alone
                        .entry(Arc::clone(host))
                        .and_modify(|only| *only = None)
                        .or_insert_with(|| Some(Arc::clone(&routes)));
                }
            }
            all.tables.entry(scope).or_default().insert(&routes);
        }
        for table in all.tables.values_mut() {
            table
                .suffixes
                .sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        }
        all
    }

    /// The virtual host for `host` (lower case, no port, no trailing dot).
    pub fn find(
        &self,
        selection: &RouteSelection,
        host: &str,
        port: Option<u16>,
    ) -> Option<&Arc<HostRoutes>> {
        match selection {
            RouteSelection::Scope(scope) => self.tables.get(scope)?.find(host),
            RouteSelection::ByAuthorityPort => {
                let scope = RouteScope::port(Port::new(port.unwrap_or(DEFAULT_PORT))?);
                let by_port = self.tables.get(&scope).and_then(|table| table.find(host));
                match (by_port, port) {
                    (None, None) => self.alone.get(host)?.as_ref(),
                    (found, _) => found,
                }
            }
        }
    }

    /// The tables, in no order.
    pub fn tables(&self) -> impl Iterator<Item = (&RouteScope, &HostLookup)> {
        self.tables.iter()
    }
}

impl HostLookup {
    fn insert(&mut self, routes: &Arc<HostRoutes>) {
        for domain in &routes.host().domains {
            let routes = Arc::clone(routes);
            match domain {
                Domain::Exact(host) => {
                    self.exact.insert(Arc::clone(host), routes);
                }
                Domain::Suffix(suffix) => self.suffixes.push((Arc::clone(suffix), routes)),
                Domain::Any => self.any = Some(routes),
            }
        }
    }

    /// Every virtual host, once per domain.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<HostRoutes>> {
        let suffixes = self.suffixes.iter().map(|(_, routes)| routes);
        self.exact.values().chain(suffixes).chain(self.any.as_ref())
    }

    /// The virtual host for `host` (lower case, no port, no trailing dot).
    pub fn find(&self, host: &str) -> Option<&Arc<HostRoutes>> {
        if let Some(exact) = self.exact.get(host) {
            return Some(exact);
        }
        let wild = self.suffixes.iter().find(|(suffix, _)| {
            // `*.example.com` is not `example.com`.
            host.len() > suffix.len() && host.ends_with(&**suffix)
        });
        match wild {
            Some((_, routes)) => Some(routes),
            None => self.any.as_ref(),
        }
    }
}
