//! Tables, chains and rules as nf_tables knows them: a rule is a list of small expressions that
//! load something into a register, compare it, and at last decide.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::plan::{Chain, Condition, Family, Hook, PRIORITY, Rule, TABLE, Table, Verdict};
use super::super::text;
use super::message::{APPEND, Batch, CREATE, attribute, name, nested, number};

/// The loopback interface is the first one of every network namespace.
pub(super) const LOOPBACK: u32 = 1;

const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

/// Attributes of a list of expressions.
const ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// Attributes of data.
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
/// The registers used: one for verdicts, one for everything else.
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;

const TCP: u8 = 6;

/// Removes a table, whether it is there or not.
pub(super) fn delete(batch: &mut Batch, family: Family) {
    let table = name(1, TABLE);
    let of = number_of(family);
    let step = |what: &str| format!("{what} the {family} table");
    batch.push(NEW_TABLE, CREATE, of, &table, step("preparing"));
    batch.push(DELETE_TABLE, 0, of, &table, step("clearing"));
}

/// Creates a table with everything in it.
pub(super) fn create(batch: &mut Batch, table: &Table) {
    let family = table.family;
    let of = number_of(family);
    let step = format!("creating the {family} table");
    batch.push(NEW_TABLE, CREATE, of, &name(1, TABLE), step);
    for chain in [&table.inbound, &table.outbound] {
        let title = text::name(chain.hook);
        let step = format!("creating the {family} chain {title} for NAT");
        batch.push(NEW_CHAIN, CREATE, of, &chain_attributes(chain), step);
        for (place, rule) in chain.rules.iter().enumerate() {
            let step = format!("adding rule {} of the {family} chain {title}", place + 1);
            let attributes = rule_attributes(chain.hook, family, rule);
            batch.push(NEW_RULE, CREATE | APPEND, of, &attributes, step);
        }
    }
}

fn number_of(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn chain_attributes(chain: &Chain) -> Vec<u8> {
    const HOOK: u16 = 4;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
    const ACCEPT: u32 = 1;
    let place = match chain.hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
    };
    let hook = [number(1, place), attribute(2, &PRIORITY.to_be_bytes())];
    [
        name(1, TABLE),
        name(3, text::name(chain.hook)),
        nested(HOOK, &hook),
        number(POLICY, ACCEPT),
        name(TYPE, "nat"),
    ]
    .concat()
}

fn rule_attributes(hook: Hook, family: Family, rule: &Rule) -> Vec<u8> {
    const EXPRESSIONS: u16 = 4;
    const USER_DATA: u16 = 7;
    let mut expressions: Vec<Vec<u8>> = rule
        .conditions
        .iter()
        .flat_map(|condition| condition_expressions(family, *condition))
        .collect();
    expressions.extend(verdict_expressions(rule.verdict));
    [
        name(1, TABLE),
        name(2, text::name(hook)),
        nested(EXPRESSIONS, &expressions),
        attribute(USER_DATA, &comment(rule.comment)),
    ]
    .concat()
}

/// A comment, where nft looks for it: kind, length, text.
fn comment(text: &str) -> Vec<u8> {
    const COMMENT: u8 = 0;
    let length = u8::try_from(text.len() + 1).unwrap_or(u8::MAX);
    [&[COMMENT, length], text.as_bytes(), &[0]].concat()
}

fn condition_expressions(family: Family, condition: Condition) -> Vec<Vec<u8>> {
    const TO_INTERFACE: u32 = 5;
    const USER: u32 = 10;
    const GROUP: u32 = 11;
    const PROTOCOL: u32 = 16;
    let tcp = [meta(PROTOCOL), compare(Is::Equal, &[TCP])];
    let native =
        |what: u32, is: Is, value: u32| vec![meta(what), compare(is, &value.to_ne_bytes())];
    match condition {
        Condition::Tcp => tcp.to_vec(),
        Condition::ToPort(port) => {
            let port = [
                load(Header::Transport, 2, 2),
                compare(Is::Equal, &port.to_be_bytes()),
            ];
            [tcp, port].concat()
        }
        Condition::ByLoopback => native(TO_INTERFACE, Is::Equal, LOOPBACK),
        Condition::ByUser(user) => native(USER, Is::Equal, user),
        Condition::NotByUser(user) => native(USER, Is::Different, user),
        Condition::ByGroup(group) => native(GROUP, Is::Equal, group),
        Condition::From(address) => {
            let (source, _) = offsets(family);
            address_expressions(source, Is::Equal, IpNet::from(address))
        }
        Condition::To(range) => address_expressions(offsets(family).1, Is::Equal, range),
        Condition::NotTo(range) => address_expressions(offsets(family).1, Is::Different, range),
    }
}

/// Where source and destination are in the header of an IP packet.
fn offsets(family: Family) -> (u32, u32) {
    match family {
        Family::V4 => (12, 16),
        Family::V6 => (8, 24),
    }
}

fn address_expressions(offset: u32, is: Is, range: IpNet) -> Vec<Vec<u8>> {
    let (address, mask) = (octets(range.network()), octets(range.netmask()));
    let length = u32::try_from(address.len()).unwrap_or_default();
    let mut expressions = vec![load(Header::Network, offset, length)];
    if range.prefix_len() != range.max_prefix_len() {
        expressions.push(keep(&mask));
    }
    expressions.push(compare(is, &address));
    expressions
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn verdict_expressions(verdict: Verdict) -> Vec<Vec<u8>> {
    const RETURN: i32 = -5;
    const LOWEST_PORT: u16 = 1;
    match verdict {
        Verdict::Return => {
            let code = attribute(1, &RETURN.to_be_bytes());
            let data = nested(2, &[nested(VERDICT, &[code])]);
            vec![expression(
                "immediate",
                &[number(1, VERDICT_REGISTER), data],
            )]
        }
        Verdict::Redirect(port) => {
            let data = nested(2, &[attribute(VALUE, &port.to_be_bytes())]);
            vec![
                expression("immediate", &[number(1, REGISTER), data]),
                expression("redir", &[number(LOWEST_PORT, REGISTER)]),
            ]
        }
    }
}

/// How a register is compared.
#[derive(Clone, Copy)]
enum Is {
    Equal,
    Different,
}

/// Which header of a packet.
#[derive(Clone, Copy)]
enum Header {
    Network,
    Transport,
}

/// Loads something the kernel knows about a packet.
fn meta(what: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, what)])
}

/// Loads bytes of a packet.
fn load(header: Header, offset: u32, length: u32) -> Vec<u8> {
    let base = match header {
        Header::Network => 1,
        Header::Transport => 2,
    };
    expression(
        "payload",
        &[
            number(1, REGISTER),
            number(2, base),
            number(3, offset),
            number(4, length),
        ],
    )
}

/// Goes on only if the register compares so.
fn compare(is: Is, value: &[u8]) -> Vec<u8> {
    let how = match is {
        Is::Equal => 0,
        Is::Different => 1,
    };
    let data = nested(3, &[attribute(VALUE, value)]);
    expression("cmp", &[number(1, REGISTER), number(2, how), data])
}

/// Keeps the bits of the register that are in the mask.
fn keep(mask: &[u8]) -> Vec<u8> {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let nothing = vec![0; mask.len()];
    expression(
        "bitwise",
        &[
            number(1, REGISTER),
            number(2, REGISTER),
            number(3, length),
            nested(4, &[attribute(VALUE, mask)]),
            nested(5, &[attribute(VALUE, &nothing)]),
        ],
    )
}

fn expression(kind: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let data = nested(EXPRESSION_DATA, attributes);
    nested(ELEMENT, &[name(EXPRESSION_NAME, kind), data])
}
