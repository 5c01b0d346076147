//! References: all of them, in order, each once, and where they stand.

use std::sync::Arc;

use super::*;
use crate::cluster::ConnectionLimits;
use crate::listener::{
    Bind, GatewayListener, GatewayProtocol, InboundListener, InboundProtocol, InboundTarget,
    ListenerKind, Outbound, RouteSelection, Silence, TcpRoutes, TcpRule, TlsRoutes, TlsRule,
};
use crate::name::{ClusterName, ListenerName, PolicyName};
use crate::route::{
    Destination, Destinations, Forward, HeaderEdits, Mirror, RetryPolicy, Rewrite, RouteAction,
    Rule, Target,
};
use crate::units::{PartsPerMillion, Port};

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn to(number: u16) -> Target {
    Target::Cluster(ClusterName::Inbound { port: port(number) })
}

fn destinations(numbers: &[u16]) -> Destinations {
    let list = numbers.iter().map(|number| Destination {
        target: to(*number),
        weight: 1,
        headers: HeaderEdits::default(),
    });
    Destinations::new(list.collect()).unwrap()
}

fn rule(numbers: &[u16], mirrors: &[u16]) -> Arc<Rule> {
    let mirrors = mirrors.iter().map(|number| Mirror {
        target: to(*number),
        share: PartsPerMillion::ALL,
    });
    Arc::new(Rule {
        name: "rule".into(),
        matches: Vec::new(),
        fault: None,
        cors: None,
        headers: HeaderEdits::default(),
        action: RouteAction::Forward(Box::new(Forward {
            destinations: destinations(numbers),
            timeout: None,
            retry: RetryPolicy::off(),
            rewrite: Rewrite::default(),
            mirrors: mirrors.collect(),
        })),
    })
}

fn paths(resource: &Resource) -> Vec<String> {
    let mut paths = Vec::new();
    resource.each_reference(&mut |path, name| paths.push(format!("{path} {name}")));
    paths
}

fn listener(kind: ListenerKind) -> Resource {
    Listener {
        name: ListenerName("l".into()),
        bind: Bind::Socket("127.0.0.1:80".parse().unwrap()),
        kind,
    }
    .into()
}

#[test]
fn routes_refer_to_destinations_and_mirrors() {
    let host: Resource = VirtualHost {
        name: "80/a".parse().unwrap(),
        domains: Vec::new(),
        service: None,
        rules: vec![rule(&[3], &[2]), rule(&[3, 1], &[])],
    }
    .into();
    assert_eq!(
        paths(&host),
        [
            "rules[0].action.forward.destinations[0].target.cluster cluster/inbound|3||",
            "rules[0].action.forward.mirrors[0].target.cluster cluster/inbound|2||",
            "rules[1].action.forward.destinations[0].target.cluster cluster/inbound|3||",
            "rules[1].action.forward.destinations[1].target.cluster cluster/inbound|1||",
        ]
    );
    let names: Vec<_> = host.references().iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "cluster/inbound|1||",
            "cluster/inbound|2||",
            "cluster/inbound|3||"
        ]
    );
}

#[test]
fn listeners_refer_to_clusters_and_policies() {
    let tcp = TcpRoutes {
        rules: vec![TcpRule {
            destination_subnets: Vec::new(),
            destinations: destinations(&[1]).into(),
        }],
    };
    let tls = TlsRoutes {
        rules: vec![TlsRule {
            sni_hosts: Vec::new(),
            destination_subnets: Vec::new(),
            destinations: destinations(&[2]).into(),
        }],
    };
    let outbound = listener(ListenerKind::Outbound(Outbound {
        http: Some(RouteSelection::ByAuthorityPort),
        tls: tls.clone(),
        tcp,
        silence: Silence::Bytes,
    }));
    let rest = "[0].destinations[0].target.cluster cluster";
    assert_eq!(
        paths(&outbound),
        [
            format!("kind.outbound.tls{rest}/inbound|2||"),
            format!("kind.outbound.tcp{rest}/inbound|1||"),
        ]
    );
    let gateway = listener(ListenerKind::Gateway(GatewayListener {
        policy: PolicyName("p".into()),
        protocol: GatewayProtocol::TlsPassthrough(tls),
    }));
    assert_eq!(
        paths(&gateway),
        [
            "kind.gateway.policy policy/p".to_owned(),
            format!("kind.gateway.protocol.tls_passthrough.rules{rest}/inbound|2||"),
        ]
    );
    let capture = listener(ListenerKind::InboundCapture {
        policy: PolicyName("p".into()),
    });
    assert_eq!(paths(&capture), ["kind.inbound_capture.policy policy/p"]);
    let inbound = listener(ListenerKind::Inbound(Box::new(InboundListener {
        port: port(80),
        protocol: InboundProtocol::Detect,
        target: InboundTarget::OriginalDestination,
        service: None,
        policy: PolicyName("p".into()),
        limits: ConnectionLimits::default(),
    })));
    assert_eq!(paths(&inbound), ["kind.inbound.policy policy/p"]);
}
