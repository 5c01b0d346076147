//! Mistakes, one by one: what is rejected, and where the rejection says it is.

use super::*;

fn rule(action: Option<proto::rule::Action>) -> proto::Rule {
    proto::Rule {
        headers: Some(proto::HeaderEdits::default()),
        action,
        ..proto::Rule::default()
    }
}

fn forward() -> proto::Forward {
    proto::Forward {
        destinations: vec![proto::Destination {
            target: Some(proto::destination::Target::Cluster(
                "BlackHoleCluster".to_owned(),
            )),
            weight: 1,
            headers: Some(proto::HeaderEdits::default()),
        }],
        retry: Some(proto::RetryPolicy {
            backoff_base: Some(proto::Duration::default()),
            backoff_max: Some(proto::Duration::default()),
            ..proto::RetryPolicy::default()
        }),
        rewrite: Some(proto::Rewrite {
            uri: Some(proto::rewrite::Uri::Keep(proto::Unit {})),
            authority: None,
        }),
        ..proto::Forward::default()
    }
}

/// A virtual host whose third rule forwards as `change` says.
fn third_rule(change: impl FnOnce(&mut proto::Forward)) -> proto::VirtualHost {
    use proto::rule::Action::Forward;
    let mut third = forward();
    change(&mut third);
    let rules = [forward(), forward(), third];
    proto::VirtualHost {
        rules: rules.map(|forward| rule(Some(Forward(forward)))).to_vec(),
        ..proto::VirtualHost::default()
    }
}

/// Changes a forwarding rule so that it cannot be taken.
type Spoil = fn(&mut proto::Forward);

const SPOILED: &[(Spoil, &str)] = &[
    (
        |forward| {
            forward.timeout = Some(proto::Duration {
                seconds: 0,
                nanos: 1_000_000_000,
            });
        },
        "timeout.nanos",
    ),
    (
        |forward| {
            forward.timeout = Some(proto::Duration {
                seconds: u64::MAX,
                nanos: 0,
            });
        },
        "timeout.seconds",
    ),
    (|forward| forward.retry = None, "retry"),
    (|forward| forward.rewrite = None, "rewrite"),
    (|forward| forward.destinations.clear(), "destinations"),
    (
        |forward| {
            forward.destinations[0].weight = 0;
            forward.destinations.push(forward.destinations[0].clone());
        },
        "destinations",
    ),
    (
        |forward| forward.destinations[0].target = None,
        "destinations[0].target",
    ),
    (
        |forward| {
            forward.destinations[0].target = Some(proto::destination::Target::Cluster(
                "outbound|0||x".to_owned(),
            ));
        },
        "destinations[0].target.cluster",
    ),
    (
        |forward| forward.retry.as_mut().unwrap().on = vec![1, 0],
        "retry.on[1]",
    ),
    (
        |forward| forward.retry.as_mut().unwrap().on = vec![99],
        "retry.on[0]",
    ),
    (
        |forward| forward.retry.as_mut().unwrap().statuses = vec![503, 7],
        "retry.statuses[1]",
    ),
    (
        |forward| {
            forward.destinations[0].headers = Some(proto::HeaderEdits {
                request: Some(proto::HeaderOps {
                    remove: vec!["x-a".to_owned(), "content-length".to_owned()],
                    ..proto::HeaderOps::default()
                }),
                response: None,
            });
        },
        "destinations[0].headers.request.remove[1]",
    ),
    (
        |forward| {
            forward.destinations[0].headers = Some(proto::HeaderEdits {
                request: None,
                response: Some(proto::HeaderOps {
                    add: vec![proto::HeaderEdit {
                        name: "transfer_encoding".to_owned(),
                        value: Some(proto::header_edit::Value::Literal("chunked".into())),
                    }],
                    ..proto::HeaderOps::default()
                }),
            });
        },
        "destinations[0].headers.response.add[0].name",
    ),
    (
        |forward| forward.rewrite.as_mut().unwrap().authority = Some("a b".to_owned()),
        "rewrite.authority",
    ),
    (
        |forward| {
            let full = proto::rewrite::Uri::Full("/a?b".to_owned());
            forward.rewrite.as_mut().unwrap().uri = Some(full);
        },
        "rewrite.uri.full",
    ),
    (
        |forward| forward.retry.as_mut().unwrap().headers = vec!["X-Upper".to_owned()],
        "retry.headers[0]",
    ),
    (
        |forward| forward.retry.as_mut().unwrap().backoff_max = None,
        "retry.backoff_max",
    ),
    (
        |forward| {
            forward.rewrite.as_mut().unwrap().uri =
                Some(proto::rewrite::Uri::Regex(proto::RegexRewrite {
                    pattern: "((((a{100}){100}){100}){100})".to_owned(),
                    substitution: String::new(),
                }));
        },
        "rewrite.uri.regex.pattern",
    ),
    (
        |forward| {
            forward.mirrors.push(proto::Mirror {
                target: Some(proto::mirror::Target::Fail(proto::Failure {
                    status: 100,
                    flag: 1,
                    reason: String::new(),
                })),
                share_ppm: 1,
            });
        },
        "mirrors[0].target.fail.status",
    ),
    (
        |forward| {
            let mut mirror = proto::Mirror {
                target: Some(proto::mirror::Target::Cluster(
                    "BlackHoleCluster".to_owned(),
                )),
                share_ppm: 1_000_000,
            };
            forward.mirrors.push(mirror.clone());
            mirror.share_ppm += 1;
            forward.mirrors.push(mirror);
        },
        "mirrors[1].share_ppm",
    ),
];

#[test]
fn mistakes_in_rules_are_named_by_their_path() {
    assert!(
        decode(&with_body(
            "routes/80/a",
            third_rule(|_| {}).encode_to_vec()
        ))
        .is_ok()
    );
    for (spoil, field) in SPOILED {
        let (path, reason) = rejected("routes/80/a", &third_rule(*spoil));
        assert_eq!(path, format!("rules[2].action.forward.{field}"));
        assert!(!reason.is_empty());
    }
}

#[test]
fn a_missing_oneof_and_an_unknown_enum_are_rejected() {
    let host = proto::VirtualHost {
        rules: vec![rule(None)],
        ..proto::VirtualHost::default()
    };
    assert_eq!(rejected("routes/80/a", &host).0, "rules[0].action");
    let set = |health, weight| proto::EndpointSet {
        endpoints: vec![proto::Endpoint {
            address: Some(proto::endpoint::Address::Named(proto::NamedAddress {
                host: "a".to_owned(),
                port: 70_000,
            })),
            weight,
            health,
            locality: Some(proto::Locality::default()),
            peer: Some(proto::Peer::default()),
            ..proto::Endpoint::default()
        }],
    };
    assert_eq!(
        rejected("endpoints/a:80", &set(1, 0)).0,
        "endpoints[0].weight"
    );
    assert_eq!(
        rejected("endpoints/a:80", &set(1, 1)).0,
        "endpoints[0].address.named.port"
    );
}

#[test]
fn endpoints_out_of_order_are_rejected() {
    let endpoint = |last| proto::Endpoint {
        address: Some(proto::endpoint::Address::Socket(proto::SocketAddress {
            ip: vec![10, 0, 0, last].into(),
            port: 80,
        })),
        weight: 1,
        health: proto::Health::Healthy.into(),
        locality: Some(proto::Locality::default()),
        peer: Some(proto::Peer::default()),
        ..proto::Endpoint::default()
    };
    let set = |order: &[u8]| proto::EndpointSet {
        endpoints: order.iter().map(|last| endpoint(*last)).collect(),
    };
    assert!(decode(&with_body("endpoints/a:80", set(&[1, 2]).encode_to_vec())).is_ok());
    for order in [[2, 1], [1, 1]] {
        assert_eq!(
            rejected("endpoints/a:80", &set(&order)).0,
            "endpoints[1].address"
        );
    }
    let mut unknown = set(&[1]);
    unknown.endpoints[0].health = 3;
    assert_eq!(
        rejected("endpoints/a:80", &unknown).0,
        "endpoints[0].health"
    );
}

#[test]
fn an_unreadable_policy_refuses_everything() {
    let allow = proto::PolicyRule {
        rule: Some(proto::policy_rule::Rule::Allow(proto::Unit {})),
    };
    let ports = |port: u32, rule: &proto::PolicyRule| [(port, rule.clone())].into_iter().collect();
    let unreadable = [
        (proto::Policy::default(), "elsewhere"),
        (
            proto::Policy {
                elsewhere: Some(allow.clone()),
                ports: ports(0, &allow),
            },
            "ports[0].key",
        ),
        (
            proto::Policy {
                elsewhere: Some(allow.clone()),
                ports: ports(9_080, &proto::PolicyRule { rule: None }),
            },
            "ports[0].value.rule",
        ),
    ];
    for (policy, field) in unreadable {
        let message = with_body("policy/inbound", policy.encode_to_vec());
        let entry = decode(&message).unwrap();
        assert_eq!(
            entry.version.0, message.version,
            "the server need not send it again"
        );
        let Resource::Policy(policy) = entry.resource else {
            panic!("not a policy");
        };
        assert!(policy.ports.is_empty(), "no port may stay open");
        let crate::policy::PolicyRule::Refuse { reason } = &policy.elsewhere else {
            panic!("it must not allow");
        };
        assert!(reason.contains(field), "{reason}");
    }
}

#[test]
fn a_version_that_does_not_fit_is_rejected() {
    let host = third_rule(|_| {}).encode_to_vec();
    let mut message = with_body("routes/80/a", host);
    message.version ^= 1;
    let rejection = decode(&message).unwrap_err();
    assert!(rejection.reason.contains("version"), "{rejection}");
    assert_eq!(rejection.version.0, message.version);
}

#[test]
fn unknown_fields_are_skipped() {
    let mut body = third_rule(|_| {}).encode_to_vec();
    // Field 1000, length-delimited, three bytes.
    body.extend([0xc2, 0x3e, 3, 1, 2, 3]);
    assert!(decode(&with_body("routes/80/a", body)).is_ok());
}

#[test]
fn large_bodies_and_long_names_are_rejected() {
    let large = with_body("routes/80/a", vec![0; MAX_RESOURCE_BYTES + 1]);
    assert!(decode(&large).unwrap_err().reason.contains("at most"));
    let long = with_body(&format!("listener/{}", "x".repeat(2000)), Vec::new());
    let rejection = decode(&long).unwrap_err();
    assert_eq!(rejection.field, "name");
    assert_eq!(rejection.resource.known(), None);
    assert!(rejection.resource.to_string().len() <= 1000);
}

#[test]
fn rejections_travel() {
    let rejection = Rejection::new(
        "routes/80/a".parse::<ResourceName>().unwrap(),
        Version(7),
        "rules[0]",
        "no",
    );
    assert_eq!(
        Rejection::from(proto::Rejection::from(&rejection)),
        rejection
    );
}
