//! The rules in the syntax of nft, for people.

use std::fmt::Write as _;

use super::plan::{Chain, Condition, Family, Hook, Plan, Rule, TABLE, Verdict};

/// A plan as a file for `nft -f`.
pub(super) fn render(plan: &Plan) -> String {
    let mut text = String::new();
    for table in &plan.tables {
        let family = keyword(table.family);
        // Writing to a String cannot fail.
        let _written = writeln!(text, "table {family} {TABLE} {{");
        chain(&mut text, table.family, &table.inbound);
        text.push('\n');
        chain(&mut text, table.family, &table.outbound);
        text.push_str("}\n");
    }
    text
}

fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The name of a chain, in nft and in the kernel.
pub(super) fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "prerouting",
        Hook::Output => "output",
    }
}

fn chain(text: &mut String, family: Family, chain: &Chain) {
    let name = name(chain.hook);
    let priority = match chain.hook {
        Hook::Prerouting => "dstnat",
        Hook::Output => "-100",
    };
    // Writing to a String cannot fail.
    let _written = writeln!(
        text,
        "\tchain {name} {{\n\t\ttype nat hook {name} priority {priority}; policy accept;"
    );
    for rule in &chain.rules {
        let _written = writeln!(text, "\t\t{}", line(family, rule));
    }
    text.push_str("\t}\n");
}

fn line(family: Family, rule: &Rule) -> String {
    let mut words: Vec<String> = rule
        .conditions
        .iter()
        .map(|condition| phrase(family, *condition))
        .collect();
    words.push(match rule.verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
    });
    words.push(format!("comment \"{}\"", rule.comment));
    words.join(" ")
}

fn phrase(family: Family, condition: Condition) -> String {
    let ip = keyword(family);
    match condition {
        Condition::Tcp => "meta l4proto tcp".to_owned(),
        Condition::ToPort(port) => format!("tcp dport {port}"),
        Condition::ByLoopback => "oif \"lo\"".to_owned(),
        Condition::ByUser(user) => format!("meta skuid {user}"),
        Condition::NotByUser(user) => format!("meta skuid != {user}"),
        Condition::ByGroup(group) => format!("meta skgid {group}"),
        Condition::From(address) => format!("{ip} saddr {address}"),
        Condition::To(range) => format!("{ip} daddr {}", place(range)),
        Condition::NotTo(range) => format!("{ip} daddr != {}", place(range)),
    }
}

/// A range as nft shows it: a whole address without its length.
fn place(range: ipnet::IpNet) -> String {
    if range.prefix_len() == range.max_prefix_len() {
        range.addr().to_string()
    } else {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::tests::capture;
    use super::super::plan::{Family, Plan};
    use super::render;

    #[test]
    fn the_rules_can_be_read() {
        let words = [
            "--exclude-outbound-ports=3306",
            "--exclude-outbound-cidrs=169.254.169.254,fd00::/8",
        ];
        let plan = Plan::of(&capture(&words).unwrap(), &[Family::V4]);
        assert_eq!(
            render(&plan),
            r#"table ip mesh {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 15020 return comment "not captured"
		tcp dport 15021 return comment "not captured"
		tcp dport 15090 return comment "not captured"
		meta l4proto tcp redirect to :15006 comment "to the proxy"
	}

	chain output {
		type nat hook output priority -100; policy accept;
		tcp dport 3306 return comment "not captured"
		oif "lo" ip saddr 127.0.0.6 return comment "the proxy calls the application"
		oif "lo" ip daddr != 127.0.0.0/8 meta skuid 1337 meta l4proto tcp redirect to :15006 comment "the application calls itself by way of the proxy"
		oif "lo" meta skuid != 1337 return comment "the pod talks to itself"
		meta skuid 1337 return comment "the proxy's own"
		meta skgid 1337 return comment "the proxy's own"
		ip daddr 127.0.0.0/8 return comment "the pod talks to itself"
		ip daddr 169.254.169.254 return comment "not captured"
		meta l4proto tcp redirect to :15001 comment "to the proxy"
	}
}
"#
        );
    }
}
