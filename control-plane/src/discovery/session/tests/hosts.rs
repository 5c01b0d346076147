//! Subscriptions by host: what belongs to a host, and what comes along.

use bytes::Bytes;

use super::*;

/// A resource that refers to others; what it says does not matter here.
fn resource(name: &str, references: &[&str]) -> Encoded {
    let body = Bytes::copy_from_slice(name.as_bytes());
    Encoded {
        name: name.parse().unwrap(),
        version: Version::of_body(&body),
        body,
        references: references
            .iter()
            .map(|name| name.parse().unwrap())
            .collect(),
    }
}

fn mesh() -> Arc<DesiredState> {
    let mut all = vec![
        resource("policy/inbound/80", &[]),
        resource("cluster/BlackHoleCluster", &[]),
        resource("cluster/inbound|80||", &[]),
        resource("listener/inbound", &["policy/inbound/80"]),
        resource("listener/http", &[]),
        resource("listener/tcp-a", &["cluster/outbound|80||a.x"]),
        resource("listener/tcp-c", &["cluster/outbound|80||c.y"]),
        resource("routes/80/*.y", &["cluster/outbound|80||c.y"]),
        resource("routes/80/*", &["cluster/BlackHoleCluster"]),
        // Leads elsewhere.
        resource("routes/80/b.x", &["cluster/outbound|80||c.y"]),
    ];
    for host in ["a.x", "b.x", "c.y"] {
        let set = format!("endpoints/{host}:80");
        let cluster = format!("cluster/outbound|80||{host}");
        all.push(resource(&set, &[]));
        all.push(resource(&cluster, &[&set]));
        if host != "b.x" {
            all.push(resource(&format!("routes/80/{host}"), &[&cluster]));
        }
    }
    desired(all)
}

fn asking(hosts: &[&str]) -> proto::Hello {
    let hosts = hosts.iter().map(|host| String::from(*host)).collect();
    proto::Hello {
        subscription: Some(proto::hello::Subscription::Hosts(proto::HostSet { hosts })),
        ..hello()
    }
}

fn sent(outputs: &[Output]) -> Vec<&str> {
    let mut names: Vec<&str> = pushes(outputs)
        .into_iter()
        .flat_map(|push| &push.resources)
        .map(|resource| &*resource.name)
        .collect();
    names.sort_unstable();
    names
}

const OWN: [&str; 6] = [
    "cluster/BlackHoleCluster",
    "cluster/inbound|80||",
    "listener/http",
    "listener/inbound",
    "policy/inbound/80",
    "routes/80/*",
];

fn with_own(names: &[&'static str]) -> Vec<&'static str> {
    let mut all: Vec<&str> = OWN.into_iter().chain(names.iter().copied()).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_proxy_that_asks_for_no_host_gets_what_is_its_own() {
    let (mut session, _) = greeted(asking(&[]));
    assert_eq!(sent(&session.on_desired(mesh())), with_own(&[]));
}

#[test]
fn a_host_brings_what_leads_to_it_and_what_that_refers_to() {
    let (mut session, _) = greeted(asking(&["a.x"]));
    let expected = with_own(&[
        "cluster/outbound|80||a.x",
        "endpoints/a.x:80",
        "listener/tcp-a",
        "routes/80/a.x",
    ]);
    assert_eq!(sent(&session.on_desired(mesh())), expected);

    // The routes of one host lead to another's cluster, which therefore comes along.
    let (mut session, _) = greeted(asking(&["b.x"]));
    let expected = with_own(&[
        "cluster/outbound|80||b.x",
        "cluster/outbound|80||c.y",
        "endpoints/b.x:80",
        "endpoints/c.y:80",
        "routes/80/b.x",
    ]);
    assert_eq!(sent(&session.on_desired(mesh())), expected);
}

#[test]
fn hosts_come_and_go() {
    let (mut session, _) = greeted(hello());
    let everything = session.on_desired(mesh());
    assert_eq!(sent(&everything).len(), mesh().iter().count());
    session.hear(ack(1)).unwrap();
    let change = |added: &[&str], removed: &[&str]| {
        let texts = |hosts: &[&str]| hosts.iter().map(|host| String::from(*host)).collect();
        say(Message::Subscribe(proto::Subscribe {
            subscription: Some(proto::subscribe::Subscription::Hosts(proto::HostChange {
                added: texts(added),
                removed: texts(removed),
            })),
            ..proto::Subscribe::default()
        }))
    };
    // After all hosts the set is empty, and then has this one.
    let outputs = session.hear(change(&["c.y"], &[])).unwrap();
    assert!(sent(&outputs).is_empty());
    let mut gone = pushes(&outputs)[0].removed.clone();
    gone.sort_unstable();
    let expected = [
        "cluster/outbound|80||a.x",
        "cluster/outbound|80||b.x",
        "endpoints/a.x:80",
        "endpoints/b.x:80",
        "listener/tcp-a",
        "routes/80/a.x",
        "routes/80/b.x",
    ];
    assert_eq!(gone, expected);
    session.hear(ack(2)).unwrap();
    let outputs = session.hear(change(&["a.x"], &["c.y"])).unwrap();
    assert_eq!(sent(&outputs).len(), 4);
    assert_eq!(pushes(&outputs)[0].removed.len(), 5);
}
