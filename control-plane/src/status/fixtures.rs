//! Worlds, proxies and clocks for the tests of this folder.

use std::sync::Arc;

use tokio::time::Instant;

use crate::compile::{CaptureMode, Compiler, ProxyRole};
use crate::discovery::registry::{Applied, ProxyIdentity};
use crate::model::{Change, MeshSettings, World};
use crate::push::board::{Examined, Input};
use crate::push::objects::Objects;
use crate::testing::objects;

/// Three sidecars in namespace `shop` and one elsewhere, and a service.
pub(super) const MESH: &str = "
apiVersion: v1
kind: Pod
metadata: {name: v1, namespace: shop, labels: {app: backend}}
spec: {serviceAccountName: a}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: v2, namespace: shop, labels: {app: backend}}
spec: {serviceAccountName: a}
status: {podIP: 10.0.0.2, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front, namespace: shop, labels: {app: front}}
spec: {serviceAccountName: a}
status: {podIP: 10.0.0.3, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: other, labels: {app: far}}
spec: {serviceAccountName: a}
status: {podIP: 10.0.0.4, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.1.0.1, ports: [{name: http, port: 80}]}
";

/// A route for `backend`, seen in its namespace alone.
pub(super) fn route(name: &str, generation: i64) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, \
         namespace: shop, generation: {generation}}}\nspec: {{hosts: [backend], exportTo: ['.'], \
         http: [{{timeout: {generation}s, route: [{{destination: {{host: backend}}}}]}}]}}\n"
    )
}

/// A world with these objects, each of the revision given with it.
pub(super) fn input(objects_of: &[(&str, u64)]) -> Input {
    let mut world = World::new(MeshSettings::default());
    let mut all = Objects::default();
    let mut newest = 0;
    for (yaml, revision) in objects_of {
        let changes = objects(yaml);
        world.apply(changes.iter().cloned().map(Change::Applied));
        let mesh = changes
            .into_iter()
            .filter(|one| one.kind().is_mesh_resource());
        all.note(
            mesh.map(Change::Applied).collect(),
            *revision,
            Instant::now(),
        );
        newest = newest.max(*revision);
    }
    Input {
        world,
        objects: all,
        revision: newest,
        proxies: Vec::new(),
        compiler: Compiler::default(),
    }
}

/// The same, examined.
pub(super) fn examined(input: Input) -> Arc<Examined> {
    let (findings, uses) = crate::analyze::examine(&input.world);
    Arc::new(Examined {
        input,
        findings,
        uses,
    })
}

/// Who a sidecar is.
pub(super) fn sidecar(name: &str) -> ProxyIdentity {
    ProxyIdentity {
        workload: name.parse().unwrap(),
        role: ProxyRole::Sidecar,
        mode: CaptureMode::OriginalDestination,
        software: "test".into(),
        address: None,
        uid: None,
    }
}

/// A connected sidecar that has applied a revision.
pub(super) fn proxy(name: &str, revision: u64) -> Applied {
    Applied {
        who: sidecar(name),
        since: Instant::now(),
        connected: true,
        waiting: false,
        revision: Some(revision),
        refused: Arc::default(),
    }
}
