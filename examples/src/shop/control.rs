//! How a tier is told to misbehave, and what it has counted: everything under `/control`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Distinct paths and ids that are counted apart; what comes beyond is only in the total.
const COUNTED_PATHS: usize = 10_000;
const COUNTED_IDS: usize = 1_000_000;

/// The header that asks single tiers to misbehave for one request:
/// `WHO:WHAT[:VALUE]`, comma separated.
pub(crate) const FAULT_HEADER: &str = "x-shop-fault";

/// The header whose values are counted, to see whether a request arrived more than once.
pub(crate) const ID_HEADER: &str = "x-shop-id";

/// Standing orders to misbehave, as `POST /control` takes them. `{}` ends them all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Orders {
    /// Answer with this status instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fail_status: Option<u16>,
    /// The share of requests that status, reset and stall apply to; all if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fail_percent: Option<f64>,
    /// Only so many requests fail, then the order ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fail_times: Option<u64>,
    /// Wait before every answer.
    pub(crate) delay_ms: u64,
    /// Reset the connection (HTTP/1.1) or the stream (HTTP/2) instead of answering.
    pub(crate) reset: bool,
    /// Never answer.
    pub(crate) stall: bool,
}

/// What happens to one request instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(StatusCode),
    Reset,
    Stall,
}

/// What was decided for one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) delay: Duration,
    pub(crate) outcome: Option<Outcome>,
}

/// Requests seen so far.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Counters {
    /// All requests but those under `/control`.
    pub(crate) requests: u64,
    /// By path without query.
    pub(crate) paths: BTreeMap<String, u64>,
    /// Distinct values of `x-shop-id`.
    pub(crate) ids: usize,
    /// The values that arrived more than once, at most a hundred of them.
    pub(crate) repeated_ids: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct State {
    orders: Orders,
    requests: u64,
    paths: BTreeMap<String, u64>,
    ids: HashMap<String, u64>,
}

/// The state behind `/control`.
#[derive(Debug, Default)]
pub(crate) struct Control {
    state: Mutex<State>,
}

impl Control {
    pub(crate) fn orders(&self) -> Orders {
        self.lock().orders.clone()
    }

    /// Replaces all standing orders, or says what is wrong with them.
    pub(crate) fn order(&self, body: &[u8]) -> Result<Orders, String> {
        let orders: Orders = serde_json::from_slice(body).map_err(|error| {
            format!(
                "the orders do not parse: {error}; for example {{\"fail_status\": 503, \
                 \"fail_percent\": 50, \"fail_times\": 10, \"delay_ms\": 100, \"reset\": false, \
                 \"stall\": false}}"
            )
        })?;
        if let Some(status) = orders.fail_status {
            parse_status(&status.to_string())?;
        }
        if let Some(percent) = orders.fail_percent
            && !(0.0..=100.0).contains(&percent)
        {
            return Err(format!("fail_percent {percent} is not within 0 and 100"));
        }
        self.lock().orders = orders.clone();
        Ok(orders)
    }

    /// Counts one request and decides its fate by the standing orders. `draw` is uniform
    /// over 0 to 100.
    pub(crate) fn admit(&self, path: &str, id: Option<&str>, draw: f64) -> Fault {
        let mut state = self.lock();
        state.requests += 1;
        if let Some(count) = state.paths.get_mut(path) {
            *count += 1;
        } else if state.paths.len() < COUNTED_PATHS {
            state.paths.insert(path.to_owned(), 1);
        }
        if let Some(id) = id {
            if let Some(count) = state.ids.get_mut(id) {
                *count += 1;
            } else if state.ids.len() < COUNTED_IDS {
                state.ids.insert(id.to_owned(), 1);
            }
        }
        let orders = &mut state.orders;
        let delay = Duration::from_millis(orders.delay_ms);
        let outcome = orders
            .outcome()
            .filter(|_| draw < orders.fail_percent.unwrap_or(100.0));
        if outcome.is_none() {
            return Fault { delay, outcome };
        }
        match orders.fail_times.as_mut() {
            Some(0) => Fault {
                delay,
                outcome: None,
            },
            Some(left) => {
                *left -= 1;
                Fault { delay, outcome }
            }
            None => Fault { delay, outcome },
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let state = self.lock();
        let repeated = state.ids.iter().filter(|(_, count)| **count > 1).take(100);
        Counters {
            requests: state.requests,
            paths: state.paths.clone(),
            ids: state.ids.len(),
            repeated_ids: repeated.map(|(id, count)| (id.clone(), *count)).collect(),
        }
    }

    pub(crate) fn reset_counters(&self) {
        let mut state = self.lock();
        let orders = std::mem::take(&mut state.orders);
        *state = State {
            orders,
            ..State::default()
        };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Orders {
    fn outcome(&self) -> Option<Outcome> {
        if self.stall {
            return Some(Outcome::Stall);
        }
        if self.reset {
            return Some(Outcome::Reset);
        }
        let status = StatusCode::from_u16(self.fail_status?).ok()?;
        Some(Outcome::Status(status))
    }
}

/// The orders of one request's own headers that are meant for `tier` or `name`.
pub(crate) fn requested_fault(
    headers: &HeaderMap,
    tier: &str,
    name: &str,
) -> Result<Fault, String> {
    let mut fault = Fault::default();
    for value in headers.get_all(FAULT_HEADER) {
        let text = value
            .to_str()
            .map_err(|_not_text| format!("{FAULT_HEADER} is not text"))?;
        for order in text
            .split(',')
            .map(str::trim)
            .filter(|order| !order.is_empty())
        {
            let mut parts = order.splitn(3, ':');
            let who = parts.next().unwrap_or_default();
            let what = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default();
            let meant = who == tier || who == name;
            match what {
                "status" => {
                    let status = parse_status(value)?;
                    if meant {
                        fault.outcome = Some(Outcome::Status(status));
                    }
                }
                "delay" => {
                    let delay = parse_delay(value)?;
                    if meant {
                        fault.delay = delay;
                    }
                }
                "reset" if meant => fault.outcome = Some(Outcome::Reset),
                "stall" if meant => fault.outcome = Some(Outcome::Stall),
                "reset" | "stall" => {}
                other => {
                    return Err(format!(
                        "{FAULT_HEADER}: {other:?} in {order:?} is none of status, delay, \
                         reset, stall; for example backend-v2:status:503"
                    ));
                }
            }
        }
    }
    Ok(fault)
}

pub(crate) fn parse_status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<u16>() {
        Ok(code @ 200..=599) => {
            StatusCode::from_u16(code).map_err(|error| format!("status {text:?}: {error}"))
        }
        _ => Err(format!("status {text:?} is not a number from 200 to 599")),
    }
}

pub(crate) fn parse_delay(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(milliseconds @ 0..=600_000) => Ok(Duration::from_millis(milliseconds)),
        _ => Err(format!(
            "delay {text:?} is not a number of milliseconds up to 600000"
        )),
    }
}
