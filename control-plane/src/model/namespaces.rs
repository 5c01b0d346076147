//! The namespaces there are: those something is in.

use std::collections::BTreeSet;

use super::World;

impl World {
    /// All namespaces something is in.
    pub fn namespaces(&self) -> BTreeSet<&str> {
        // Taken apart to the last field, so that no kind that comes can be forgotten here.
        let Self {
            settings: _,
            started_with: _,
            generation: _,
            nodes: _,
            services,
            slices,
            workloads,
            virtual_services,
            destination_rules,
            gateways,
            sidecars,
            peer_authentications,
            request_authentications,
            authorization_policies,
            telemetries,
            wasm_plugins,
            traffic_extensions,
            envoy_filters,
            not_acted_on,
            unreadable_policies,
            // These are about objects that are among the others.
            missing: _,
            held_back: _,
            kept: _,
        } = self;
        let mut all: BTreeSet<&str> = BTreeSet::new();
        all.extend(services.iter().map(|one| one.namespace()));
        all.extend(slices.namespaces());
        all.extend(workloads.iter().map(|one| &*one.id.namespace));
        all.extend(virtual_services.namespaces());
        all.extend(destination_rules.namespaces());
        all.extend(gateways.namespaces());
        all.extend(sidecars.namespaces());
        all.extend(peer_authentications.namespaces());
        all.extend(request_authentications.namespaces());
        all.extend(authorization_policies.namespaces());
        all.extend(telemetries.namespaces());
        all.extend(wasm_plugins.namespaces());
        all.extend(traffic_extensions.namespaces());
        all.extend(envoy_filters.namespaces());
        let keys = not_acted_on.iter().chain(unreadable_policies.keys());
        all.extend(keys.map(|key| &*key.namespace));
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::crd::Kind;
    use crate::crd::samples;
    use crate::testing::world;

    /// What stands in an object of a kind beside its metadata.
    fn rest_of(kind: Kind) -> &'static str {
        const OTHERS: [(Kind, &str); 3] = [
            (Kind::Service, "spec: {ports: [{name: http, port: 80}]}"),
            (
                Kind::EndpointSlice,
                "addressType: IPv4\nendpoints: []\nports: []",
            ),
            (Kind::Pod, "status: {podIP: 10.0.0.1}"),
        ];
        let other = OTHERS.iter().find(|(of, _)| *of == kind);
        other.map_or_else(|| samples::of(kind), |(_, rest)| rest)
    }

    #[test]
    fn an_object_of_any_kind_makes_its_namespace_one() {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_namespaced()) {
            let yaml = format!(
                "apiVersion: {}\nkind: {kind}\nmetadata:\n  name: a\n  namespace: lonely\n  labels: \
                 {{kubernetes.io/service-name: a}}\n{}",
                kind.api_versions()[0],
                rest_of(kind)
            );
            let world = world(&yaml);
            let found: Vec<&str> = world.namespaces().into_iter().collect();
            assert_eq!(found, ["lonely"], "{kind}");
        }
    }
}
