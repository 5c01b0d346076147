//! Where each kind is found on the API server, and how much of it is read.

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::follow::{self, Closed, Sink, Target};
use super::keep::{Cut, Mesh, Namespaces, Nodes, Pods, Services, Shape, Slices};
use super::objects::Step;
use super::{Observed, Timing};
use crate::crd::{Decoded, Kind, Outcome, Selects, decode};
use crate::meta::ObjectKey;

/// The name of the resource of a kind, with its group, as roles and people write it.
pub(super) fn resource(kind: Kind) -> String {
    let api = api_resource(kind);
    if api.group.is_empty() {
        api.plural
    } else {
        format!("{}.{}", api.plural, api.group)
    }
}

fn api_resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group(), kind.storage_version(), kind.as_str());
    ApiResource::from_gvk(&gvk)
}

fn target(kind: Kind) -> Target {
    let api = api_resource(kind);
    let path = if api.group.is_empty() {
        format!("/api/{}/{}", api.version, api.plural)
    } else {
        format!("/apis/{}/{}/{}", api.group, api.version, api.plural)
    };
    Target {
        path,
        // Slices without it belong to no service.
        labels: (kind == Kind::EndpointSlice).then_some("kubernetes.io/service-name"),
        // The address of a pod that has ended is given to others.
        fields: (kind == Kind::Pod)
            .then(|| "status.phase!=Succeeded,status.phase!=Failed".to_owned()),
    }
}

/// Follows a kind, on a task of its own.
pub(super) fn follow(
    tasks: &mut JoinSet<()>,
    client: &Client,
    kind: Kind,
    timing: Timing,
    observed: &mpsc::Sender<Observed>,
) {
    let target = target(kind);
    let client = client.clone();
    let sink = ObjectSink {
        kind,
        observed: observed.clone(),
    };
    if kind.is_mesh_resource() {
        tasks.spawn(follow::follow::<Mesh>(client, target, timing, sink));
    } else if kind == Kind::Pod {
        tasks.spawn(follow::follow::<Pods>(client, target, timing, sink));
    } else if kind == Kind::Service {
        tasks.spawn(follow::follow::<Services>(client, target, timing, sink));
    } else if kind == Kind::EndpointSlice {
        tasks.spawn(follow::follow::<Slices>(client, target, timing, sink));
    } else if kind == Kind::Node {
        tasks.spawn(follow::follow::<Nodes>(client, target, timing, sink));
    } else {
        tasks.spawn(follow::follow::<Namespaces>(client, target, timing, sink));
    }
}

/// Decodes objects and passes them on.
struct ObjectSink {
    kind: Kind,
    observed: mpsc::Sender<Observed>,
}

impl<S: Shape> Sink<S> for ObjectSink {
    async fn take(&mut self, step: follow::Step<S>) -> Result<(), Closed> {
        let kind = self.kind;
        let step = match step {
            follow::Step::Listing => Step::Listing,
            follow::Step::There(object) => {
                Step::There(key(kind, &object), Box::new(read(kind, object)))
            }
            follow::Step::Gone(object) => Step::Gone(key(kind, &object)),
            follow::Step::Listed => Step::Listed,
            follow::Step::Watching => Step::Watching,
            follow::Step::Failed(trouble) => {
                metrics::counter!(
                    "mesh_kubernetes_watch_errors_total",
                    "type" => kind.as_str(), "reason" => trouble.reason()
                )
                .increment(1);
                Step::Failed(trouble)
            }
        };
        let observed = Observed::Objects(kind, step);
        self.observed.send(observed).await.map_err(|_gone| Closed)
    }
}

fn key<S>(kind: Kind, object: &Cut<S>) -> ObjectKey {
    ObjectKey::new(kind, object.metadata("namespace"), object.metadata("name"))
}

/// Decodes an object of the API server. Items of lists do not say what they are.
fn read<S>(kind: Kind, object: Cut<S>) -> Decoded {
    let mut value = object.value;
    let Some(fields) = value.as_object_mut() else {
        return Decoded {
            selects: Selects::All,
            key: None,
            outcome: Outcome::Rejected,
            stand_in: None,
            created: None,
            problems: Vec::new(),
        };
    };
    let api_version = api_resource(kind).api_version;
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.as_str().into());
    decode(value)
}
