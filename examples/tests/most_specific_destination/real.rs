//! The real thing: objects through the decoder, the compiler and the wire into the proxy's
//! running configuration, and calls through its look-up.

use std::sync::Arc;

use control_plane::compile::{CaptureMode, ProxyRole, ProxyScope, compile};
use control_plane::model::{Change, MeshSettings, World};
use mesh_api::convert;
use mesh_api::destination::{FirstBytes, Found};
use mesh_api::listener::{Listener, ListenerKind, Silence, UnmatchedTraffic};
use mesh_api::name::ClusterName;
use mesh_api::route::{RequestView, RouteAction, Target};
use mesh_api::snapshot::Snapshot;
use mesh_resources::decode;
use proxy::config::ActiveConfig;

use super::reference;
use super::town::{HOME, Town};
use super::{Call, Outcome, Says};

/// The client's proxy.
pub(crate) struct Proxy(ActiveConfig);

impl Proxy {
    pub(crate) fn of(town: &Town) -> Self {
        let mut world = World::new(MeshSettings {
            outbound_traffic: if town.registry_only {
                UnmatchedTraffic::Refuse
            } else {
                UnmatchedTraffic::Passthrough
            },
            ..MeshSettings::default()
        });
        let objects = town.objects().into_iter().map(|object| {
            let decoded = decode(object.clone());
            match decoded.object() {
                Some(object) => Change::Applied(object.clone()),
                None => panic!("{:?}\n{object:#}", decoded.problems),
            }
        });
        world.apply(objects);
        let client = format!("{HOME}/client").parse().unwrap();
        let mode = CaptureMode::OriginalDestination;
        let scope = ProxyScope::new(&world, &client, ProxyRole::Sidecar, mode).unwrap();
        let compiled = compile(&world, &scope);
        let resources = compiled
            .iter()
            .map(|(_, encoded)| convert::decode(&encoded.to_wire()).unwrap().resource);
        let snapshot = Snapshot::of(resources).unwrap();
        let own = "10.0.0.1".parse().unwrap();
        Self(ActiveConfig::next(None, Arc::new(snapshot), own))
    }

    pub(crate) fn outcome(&self, call: &Call) -> Outcome {
        let first = match &call.says {
            Says::Http(_) => FirstBytes::Http,
            Says::Tls(name) => FirstBytes::Tls(name.as_deref()),
            Says::Bytes => FirstBytes::Other,
        };
        let found = self.0.destinations().find(call.to, Some(first));
        let unseen = self.0.destinations().find(call.to, None);
        if !matches!(unseen, Found::Depends(_)) {
            assert_eq!(found, unseen, "{call:?}: not asked, and yet it depends");
        }
        match (found, &call.says) {
            (Found::Depends(_), _) => panic!("{call:?}: the first bytes are there"),
            (Found::Bytes(destinations), _) => {
                cluster(&destinations.list().first().unwrap().target, false)
            }
            (Found::Http(listener), Says::Http(host)) => self.request(listener, host),
            (Found::Http(_), _) => panic!("{call:?} is no HTTP"),
            (Found::Unknown, Says::Http(_)) => self.unknown(Outcome::BadGateway),
            (Found::Unknown, Says::Tls(_) | Says::Bytes) => self.unknown(Outcome::Closed),
        }
    }

    /// A client that says nothing is waited for only where a protocol is declared in which it
    /// speaks first, and nobody else's traffic can be meant.
    pub(crate) fn check_silence(&self, town: &Town, call: &Call) {
        let waits = self.0.destinations().find(call.to, None) == Found::Depends(Silence::Wait);
        assert!(
            !waits || reference::may_wait(town, call),
            "{call:?}\n{town:#?}"
        );
    }

    fn request(&self, listener: &Listener, host: &str) -> Outcome {
        let ListenerKind::Outbound(outbound) = &listener.kind else {
            panic!("{listener:?}");
        };
        let selection = outbound.http.as_ref().unwrap();
        let Some(routes) = self.0.virtual_host(selection, host, None) else {
            return self.unknown(Outcome::BadGateway);
        };
        let headers = http::HeaderMap::new();
        let view = RequestView {
            path: "/",
            query: None,
            method: "GET",
            scheme: "http",
            authority: host,
            headers: &headers,
        };
        let rule = routes
            .find(&view)
            .unwrap_or_else(|| panic!("no rule for {host}"));
        match &rule.rule().action {
            RouteAction::Forward(forward) => {
                cluster(&forward.destinations.list().first().unwrap().target, true)
            }
            RouteAction::Respond(answer) if answer.status == 502 => Outcome::BadGateway,
            other @ (RouteAction::Redirect(_) | RouteAction::Respond(_) | RouteAction::Fail(_)) => {
                panic!("{other:?}")
            }
        }
    }

    fn unknown(&self, refused: Outcome) -> Outcome {
        match self.0.unmatched().unwrap() {
            UnmatchedTraffic::Passthrough => Outcome::Through,
            UnmatchedTraffic::Refuse => refused,
        }
    }
}

fn cluster(target: &Target, as_http: bool) -> Outcome {
    match target {
        Target::Cluster(ClusterName::Passthrough) => Outcome::Through,
        Target::Cluster(name) => Outcome::Cluster {
            name: name.to_string(),
            as_http,
        },
        Target::Fail(failure) => panic!("{failure:?}"),
    }
}
