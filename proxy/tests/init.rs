//! `proxy init` in network namespaces: the kernel is asked where connections were going.
//!
//! The workload's side of the cable gets the rules; its peer and its own processes connect, and
//! two listeners stand in for the proxy.

#![cfg(test)]

#[path = "support/namespaces.rs"]
mod namespaces;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

use namespaces::{Namespaces, inside, missing, skipped};
use socket2::{Domain, SockRef, Socket, Type};

/// Runs a command in a namespace as some user.
fn run(namespace: &str, user: u32, words: &[&str]) -> Output {
    let user = user.to_string();
    Command::new("ip")
        .args(["netns", "exec", namespace, "setpriv", "--reuid", &user])
        .args(["--regid", &user, "--clear-groups"])
        .args(words)
        .output()
        .unwrap()
}

fn init(namespace: &str, options: &[&str]) -> Output {
    let mut words = vec![env!("CARGO_BIN_EXE_proxy"), "init"];
    words.extend(options);
    run(namespace, 0, &words)
}

fn good(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Says what it is and where the connection was going.
fn serve(namespace: &str, what: &'static str, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    inside(namespace, move || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        if address.is_ipv6() {
            socket.set_only_v6(true).unwrap();
        }
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        let listener = TcpListener::from(socket);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let socket = SockRef::from(&stream);
                let to = if address.is_ipv4() {
                    socket.original_dst_v4()
                } else {
                    socket.original_dst_v6()
                };
                let to = to.ok().and_then(|to| to.as_socket());
                let to = to.filter(|to| *to != stream.local_addr().unwrap());
                let to = to.map_or("itself".to_owned(), |to| to.to_string());
                drop(write!(stream, "{what} for {to}"));
            }
        });
    });
}

fn read(mut stream: TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer
}

/// What answers at an address, asked from a namespace by root.
fn ask(namespace: &str, address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    inside(namespace, move || {
        match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            Ok(stream) => read(stream),
            Err(_) => "nobody".to_owned(),
        }
    })
}

/// Set in the child that connects as another user: where to, and where from.
const CONNECT: &str = "MESH_TEST_CONNECT";
/// Comes before what the child heard.
const HEARD: &str = "HEARD:";

/// The child: connects and says what it heard.
fn connect_as_told(told: &str) {
    let (to, from) = told.split_once(' ').unwrap();
    let to: SocketAddr = to.parse().unwrap();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    if !from.is_empty() {
        let from = SocketAddr::new(from.parse().unwrap(), 0);
        socket.bind(&from.into()).unwrap();
    }
    let heard = match socket.connect_timeout(&to.into(), Duration::from_secs(1)) {
        Ok(()) => read(socket.into()),
        Err(_) => "nobody".to_owned(),
    };
    println!("{HEARD}{heard}");
}

/// What answers at an address when asked by another user, from another address if given.
fn ask_as(namespace: &str, user: u32, address: &str, from: &str) -> String {
    let user = user.to_string();
    let output = Command::new("ip")
        .args(["netns", "exec", namespace, "setpriv", "--reuid", &user])
        .args(["--regid", &user, "--clear-groups"])
        // For the files of this test, which are root's.
        .args(["--inh-caps", "+dac_override"])
        .args(["--ambient-caps", "+dac_override"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", REDIRECTED, "--nocapture"])
        .env(CONNECT, format!("{address} {from}"))
        .output()
        .unwrap();
    let text = good(&output);
    let heard = text.lines().find_map(|line| line.split_once(HEARD));
    heard.unwrap().1.to_owned()
}

/// Whether this test cannot run here; says why.
fn unable(test: &str) -> bool {
    let reason = missing();
    if let Some(reason) = &reason {
        skipped(&format!("init::{test}"), reason);
    }
    reason.is_some()
}

fn proxy_and_applications(namespaces: &Namespaces) {
    let workload = &namespaces.workload;
    for address in ["0.0.0.0:15001", "[::]:15001"] {
        serve(workload, "outbound", address);
    }
    for address in ["0.0.0.0:15006", "[::]:15006"] {
        serve(workload, "inbound", address);
    }
    for address in [
        "0.0.0.0:8080",
        "[::]:8080",
        "0.0.0.0:15020",
        "0.0.0.0:22",
        "0.0.0.0:9000",
    ] {
        serve(workload, "application", address);
    }
    for address in ["10.77.0.2:7000", "[fd77::2]:7000", "10.77.0.2:3306"] {
        serve(&namespaces.peer, "peer", address);
    }
}

const REDIRECTED: &str = "connections_are_redirected_and_know_where_they_were_going";

#[test]
fn connections_are_redirected_and_know_where_they_were_going() {
    if let Ok(told) = std::env::var(CONNECT) {
        return connect_as_told(&told);
    }
    if unable(REDIRECTED) {
        return;
    }
    let namespaces = Namespaces::new("init");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let options = [
        "--exclude-outbound-ports=3306",
        "--exclude-inbound-ports=9000",
    ];
    for round in 0..2 {
        let report = good(&init(workload, &options));
        assert!(
            report.contains("192.0.2.1:443 arrived at the proxy's port"),
            "round {round}: {report}"
        );
        // This pod has IPv6 addresses but no way out by them.
        assert!(report.contains("no route to [2001:db8::1]:443"), "{report}");
    }
    proxy_and_applications(&namespaces);
    let report = good(&init(workload, &options));
    assert!(
        report.contains("already listens on 0.0.0.0:15001"),
        "{report}"
    );

    for (from, to, expected) in [
        (workload, "10.77.0.2:7000", "outbound for 10.77.0.2:7000"),
        (workload, "10.96.0.10:80", "outbound for 10.96.0.10:80"),
        (workload, "[fd77::2]:7000", "outbound for [fd77::2]:7000"),
        (workload, "10.77.0.2:3306", "peer for itself"),
        (workload, "127.0.0.1:8080", "application for itself"),
        (workload, "[::1]:8080", "application for itself"),
        (workload, "10.77.0.1:8080", "application for itself"),
        (peer, "10.77.0.1:8080", "inbound for 10.77.0.1:8080"),
        (peer, "10.77.0.1:22", "inbound for 10.77.0.1:22"),
        (peer, "[fd77::1]:8080", "inbound for [fd77::1]:8080"),
        (peer, "10.77.0.1:15020", "application for itself"),
        (peer, "10.77.0.1:9000", "application for itself"),
    ] {
        assert_eq!(ask(from, to), expected, "{to}");
    }
    for (user, to, from, expected) in [
        (1337, "10.77.0.2:7000", "", "peer for itself"),
        (1337, "[fd77::2]:7000", "", "peer for itself"),
        (1000, "10.77.0.2:7000", "", "outbound for 10.77.0.2:7000"),
        (1000, "[fd77::2]:7000", "", "outbound for [fd77::2]:7000"),
        // The application reached by its own proxy, as somebody else's would.
        (1337, "10.77.0.1:8080", "", "inbound for 10.77.0.1:8080"),
        (1337, "[fd77::1]:8080", "", "inbound for [fd77::1]:8080"),
        (1337, "127.0.0.1:8080", "", "application for itself"),
        // And the proxy on behalf of somebody else.
        (
            1337,
            "10.77.0.1:8080",
            "127.0.0.6",
            "application for itself",
        ),
        (1337, "[fd77::1]:8080", "::6", "application for itself"),
    ] {
        let answer = ask_as(workload, user, to, from);
        assert_eq!(answer, expected, "{user} from {from:?} to {to}");
    }

    for _ in 0..2 {
        good(&init(workload, &["--clean"]));
        assert_eq!(ask(workload, "10.77.0.2:7000"), "peer for itself");
        assert_eq!(ask(peer, "[fd77::1]:8080"), "application for itself");
    }
}

#[test]
fn the_kernel_has_the_rules_that_nft_would_have_made() {
    if unable("the_kernel_has_the_rules_that_nft_would_have_made") {
        return;
    }
    let options = [
        "--exclude-outbound-ports=3306,5432",
        "--exclude-outbound-cidrs=169.254.169.254,10.0.0.0/9,fd00:1::/33",
        "--include-outbound-cidrs=10.96.0.0/12,fd96::/108",
        "--include-outbound-ports=80",
        "--include-inbound-ports=80,443",
        "--skip-verify",
    ];
    let namespaces = Namespaces::new("nft");
    let (ours, theirs) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    good(&init(ours, &options));
    let mut shown = options.to_vec();
    shown.push("--dry-run");
    let text = good(&init(theirs, &shown));
    assert_eq!(good(&run(theirs, 0, &["nft", "list", "ruleset"])), "");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    good(&run(
        theirs,
        0,
        &["nft", "-f", file.path().to_str().unwrap()],
    ));
    let list = |namespace| good(&run(namespace, 0, &["nft", "list", "ruleset"]));
    assert_eq!(list(ours), list(theirs));
    assert_eq!(list(ours), text);
}

#[test]
fn it_needs_net_admin_and_nothing_more() {
    if unable("it_needs_net_admin_and_nothing_more") {
        return;
    }
    let namespaces = Namespaces::new("caps");
    let workload = namespaces.workload.as_str();
    let with = |capabilities: &str| {
        let bounding = format!("--bounding-set={capabilities}");
        run(
            workload,
            0,
            &[
                "setpriv",
                &bounding,
                &format!("--inh-caps={capabilities}"),
                "--no-new-privs",
                env!("CARGO_BIN_EXE_proxy"),
                "init",
            ],
        )
    };
    let output = with("-all");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("NET_ADMIN"), "{error}");
    assert!(error.contains("nothing was changed"), "{error}");
    let rules = run(workload, 0, &["nft", "list", "ruleset"]);
    assert_eq!(good(&rules), "");
    let report = good(&with("-all,+net_admin"));
    assert!(report.contains("192.0.2.1:443 arrived"), "{report}");
}

#[test]
fn ipv6_that_is_off_for_now_is_captured_once_an_interface_has_it() {
    if unable("ipv6_that_is_off_for_now_is_captured_once_an_interface_has_it") {
        return;
    }
    let namespaces = Namespaces::new("four");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let set = |what: &str| drop(good(&run(workload, 0, &["sysctl", "-w", what])));
    set("net.ipv6.conf.all.disable_ipv6=1");
    let report = good(&init(workload, &[]));
    assert!(report.contains("off for this pod's loopback"), "{report}");
    assert!(report.contains("192.0.2.1:443 arrived"), "{report}");

    proxy_and_applications(&namespaces);
    set("net.ipv6.conf.cable.disable_ipv6=0");
    let address = ["address", "add", "fd77::1/64", "dev", "cable", "nodad"];
    good(&run(workload, 0, &[&["ip"], &address[..]].concat()));
    for (from, to, expected) in [
        (peer, "[fd77::1]:8080", "inbound for [fd77::1]:8080"),
        (peer, "10.77.0.1:8080", "inbound for 10.77.0.1:8080"),
        // The way to the proxy leads over the loopback: closed, and not past it.
        (workload, "[fd77::2]:7000", "nobody"),
        (workload, "10.77.0.2:7000", "outbound for 10.77.0.2:7000"),
    ] {
        assert_eq!(ask(from, to), expected, "{to}");
    }
    set("net.ipv6.conf.lo.disable_ipv6=0");
    let report = good(&init(workload, &[]));
    assert!(!report.contains("IPv6 is"), "{report}");
    assert_eq!(
        ask(workload, "[fd77::2]:7000"),
        "outbound for [fd77::2]:7000"
    );
    good(&init(workload, &["--clean"]));
    assert_eq!(ask(peer, "[fd77::1]:8080"), "application for itself");
}

/// Somebody else's table that decides first is noticed.
#[test]
fn rules_that_do_not_act_are_a_failure() {
    if unable("rules_that_do_not_act_are_a_failure") {
        return;
    }
    let namespaces = Namespaces::new("deaf");
    let workload = namespaces.workload.as_str();
    namespaces.rules(
        "table ip other { chain output { type nat hook output priority -150; \
         ip daddr 192.0.2.0/24 dnat to 10.77.0.2; }\n}\n",
    );
    let output = init(workload, &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("did not arrive at port 15001"), "{error}");
    assert!(error.contains("nft list ruleset"), "{error}");
}

#[test]
fn mistakes_are_usage_errors() {
    let output = Command::new(env!("CARGO_BIN_EXE_proxy"))
        .args(["init", "--dry-run", "--exclude-outbound-ports", "http"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--exclude-outbound-ports 'http'"), "{error}");
}
