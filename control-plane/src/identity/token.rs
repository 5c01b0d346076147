//! Service-account tokens: the API server says whose they are.
//!
//! We ask with our audience, so that a token stolen for us is worth nothing elsewhere and one
//! stolen elsewhere nothing here; and we insist on a token that is bound to a pod, since only then
//! it ends with the pod. An answer is remembered for a short while: a fleet that reconnects must not
//! become a flood of reviews. Nor must whoever shows us what is no token ([`claims`]), or one bad
//! token after the other ([`budget`]).

mod budget;
mod claims;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use mesh_api::workload::WorkloadId;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use budget::Budget;
use claims::Claims;

/// The audience a proxy's token must have.
pub const AUDIENCE: &str = "istio-ca";
/// Longer ones are not worth asking about; a bound token has about 1 KiB.
const LONGEST: usize = 16 * 1024;
/// How long a positive answer is believed; as long a deleted pod's token may still work.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How long a negative one is: a proxy tries again every two seconds.
const REFUSED_FOR: Duration = Duration::from_secs(2);
/// Entries after which old ones are looked for and dropped.
const CACHE: usize = 4096;
/// Below what a proxy waits for its stream to be accepted.
const REVIEW_LIMIT: Duration = Duration::from_secs(4);
/// Characters of a name that a message repeats.
const LONGEST_NAME: usize = 320;
/// Reviews under way at a time.
const AT_ONCE: usize = 32;
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The pod a token was issued to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// Its namespace and name.
    pub workload: WorkloadId,
    /// Tells it from any other pod there ever was of that name.
    pub uid: Arc<str>,
    /// The service account it runs as.
    pub service_account: Arc<str>,
}

/// Why a token proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error(
        "no service-account token came with the stream (header \"authorization: Bearer TOKEN\"); \
         mount a projected token with audience istio-ca and start the proxy with --token FILE"
    )]
    Missing,
    /// It is not a token.
    #[error(
        "the authorization header holds no service-account token; it must be \"Bearer\" and the \
         content of a projected token's file"
    )]
    Malformed,
    /// It is meant for somebody else.
    #[error(
        "the token is for audience {0}, not for istio-ca; set audience: istio-ca on the pod's \
         projected serviceAccountToken"
    )]
    WrongAudience(String),
    /// It was good once.
    #[error(
        "the token expired {} seconds ago; kubelet renews the file of a projected token, so check \
         that the proxy reads that file and not a copy, and the clocks of node and API server",
        .0.as_secs()
    )]
    Expired(Duration),
    /// The pod or the service account it was issued to does not exist any more.
    #[error(
        "the token was issued to a pod or service account that has been deleted ({0}); only a \
         running pod may connect"
    )]
    Gone(String),
    /// The API server does not believe it.
    #[error("the API server does not accept the token: {0}; use the pod's own projected token")]
    Rejected(String),
    /// It is not bound to a pod.
    #[error(
        "the token of {0} is not bound to a pod; a token from a Secret or from `kubectl create \
         token` does not say which pod speaks, mount a projected serviceAccountToken instead"
    )]
    NotBound(String),
    /// Too many were shown to us that proved nothing.
    #[error(
        "too many tokens that prove nothing came from this address, or from everywhere; the token \
         is looked at when the proxy tries again"
    )]
    TooMany,
    /// Nobody can say now.
    #[error(
        "the token cannot be checked now, the API server does not answer ({0}); the proxy keeps \
         what it has and tries again"
    )]
    Unavailable(String),
}

impl TokenError {
    /// In one word, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "no_token",
            Self::Malformed => "malformed_token",
            Self::WrongAudience(_) => "wrong_audience",
            Self::Expired(_) => "expired_token",
            Self::Gone(_) => "pod_deleted",
            Self::Rejected(_) => "invalid_token",
            Self::NotBound(_) => "not_bound_to_pod",
            Self::TooMany => "reviews_used_up",
            Self::Unavailable(_) => "review_unavailable",
        }
    }
}

type Answer = Result<Arc<PodIdentity>, TokenError>;

/// Asks the API server, and remembers for a while.
pub struct TokenReviewer {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api<TokenReview>,
    believed: Remembered,
    /// Apart from those that are believed, which must not be crowded out by them.
    refused: Remembered,
    budget: Arc<Budget>,
    slots: Semaphore,
}

impl std::fmt::Debug for TokenReviewer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenReviewer")
    }
}

impl TokenReviewer {
    /// One that asks through `client`.
    pub fn new(client: Client) -> Self {
        Self {
            shared: Arc::new(Shared {
                api: Api::all(client),
                believed: Remembered::default(),
                refused: Remembered::default(),
                budget: Budget::new(Instant::now()),
                slots: Semaphore::new(AT_ONCE),
            }),
        }
    }

    /// The pod this token was issued to, which came from this address.
    pub async fn review(&self, token: &str, from: Option<IpAddr>) -> Answer {
        // Before the API server is asked: it must not be a way to make it work.
        let claims = (token.len() <= LONGEST)
            .then(|| Claims::of(token))
            .flatten();
        let claims = claims.ok_or(TokenError::Malformed)?;
        check(&claims)?;
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(answer) = self.shared.recall(&key) {
            return answer;
        }
        // Whoever asks may leave before there is an answer. The API server has been asked all the
        // same, so what it says is heard, paid for and remembered.
        let (shared, token) = (Arc::clone(&self.shared), token.to_owned());
        let deadline = Instant::now() + REVIEW_LIMIT;
        let reviewing = async move { shared.review(key, token, claims, (from, deadline)).await };
        tokio::spawn(reviewing)
            .await
            .unwrap_or_else(|error| Err(TokenError::Unavailable(error.to_string())))
    }
}

impl Shared {
    fn recall(&self, key: &[u8; 32]) -> Option<Answer> {
        let believed = self.believed.recall(key);
        believed.or_else(|| self.refused.recall(key))
    }

    async fn review(
        &self,
        key: [u8; 32],
        token: String,
        claims: Claims,
        (from, deadline): (Option<IpAddr>, Instant),
    ) -> Answer {
        let late = |_elapsed| {
            let limit = format!("no answer within {REVIEW_LIMIT:?}");
            Err(TokenError::Unavailable(limit))
        };
        let under_way = match timeout_at(deadline, self.budget.take(from)).await {
            Ok(Some(under_way)) => under_way,
            Ok(None) => return Err(TokenError::TooMany),
            Err(elapsed) => return late(elapsed),
        };
        // It may have been shown by somebody else meanwhile.
        if let Some(answer) = self.recall(&key) {
            return answer;
        }
        let answer = match timeout_at(deadline, self.ask(&token)).await {
            Ok(Ok(status)) => judge(status, &claims),
            Ok(Err(error)) => Err(TokenError::Unavailable(error)),
            Err(elapsed) => late(elapsed),
        };
        match &answer {
            Ok(_) => {
                let believed = REMEMBERED.min(claims.left(SystemTime::now()));
                self.believed.remember(key, answer.clone(), believed);
            }
            Err(TokenError::Unavailable(_)) => {}
            Err(_) => {
                self.refused.remember(key, answer.clone(), REFUSED_FOR);
                under_way.was_worthless(Instant::now());
            }
        }
        answer
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, String> {
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let answer = self.api.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| {
            if let kube::Error::Api(status) = error {
                status.message
            } else {
                error.to_string()
            }
        })?;
        answer
            .status
            .ok_or_else(|| "its answer has no status".to_owned())
    }
}

/// What a token must say of itself to be shown to the API server.
fn check(claims: &Claims) -> Result<(), TokenError> {
    if !claims.audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(TokenError::WrongAudience(list(&claims.audiences)));
    }
    if let Some(ago) = claims.surely_expired(SystemTime::now()) {
        return Err(TokenError::Expired(ago));
    }
    if !claims.bound {
        let account = claims.account.chars().take(LONGEST_NAME).collect();
        return Err(TokenError::NotBound(account));
    }
    Ok(())
}

/// Answers, for a while each.
#[derive(Default)]
struct Remembered {
    answers: Mutex<HashMap<[u8; 32], (Answer, Instant)>>,
}

impl Remembered {
    fn recall(&self, key: &[u8; 32]) -> Option<Answer> {
        let answers = self.answers.lock();
        let (answer, until) = answers.get(key)?;
        (*until > Instant::now()).then(|| answer.clone())
    }

    fn remember(&self, key: [u8; 32], answer: Answer, believed: Duration) {
        let now = Instant::now();
        let mut answers = self.answers.lock();
        if answers.len() >= CACHE {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() < CACHE {
            answers.insert(key, (answer, now + believed));
        }
    }
}

/// What the API server's answer means. `claims` are not proven, and only explain a refusal.
fn judge(status: TokenReviewStatus, claims: &Claims) -> Answer {
    if status.authenticated != Some(true) {
        return Err(explain(status.error.unwrap_or_default(), claims));
    }
    // An authenticator that knows no audiences leaves this empty, and has not checked ours.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(TokenError::WrongAudience(list(&audiences)));
    }
    let user = status.user.unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let extra = user.extra.unwrap_or_default();
    let only = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.as_str()),
        Some(_) | None => None,
    };
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'));
    let (Some((namespace, account)), Some(pod), Some(uid)) =
        (account, only(POD_NAME), only(POD_UID))
    else {
        return Err(TokenError::NotBound(name));
    };
    Ok(Arc::new(PodIdentity {
        workload: WorkloadId {
            namespace: namespace.into(),
            name: pod.into(),
        },
        uid: uid.into(),
        service_account: account.into(),
    }))
}

fn explain(error: String, claims: &Claims) -> TokenError {
    if !claims.audiences.iter().any(|audience| audience == AUDIENCE) {
        return TokenError::WrongAudience(list(&claims.audiences));
    }
    if let Some(ago) = claims.expired(SystemTime::now()) {
        return TokenError::Expired(ago);
    }
    let gone = ["invalidated", "deleted", "not found"];
    if gone.iter().any(|word| error.contains(word)) {
        return TokenError::Gone(error);
    }
    TokenError::Rejected(if error.is_empty() {
        "it gives no reason".to_owned()
    } else {
        error
    })
}

fn list(audiences: &[String]) -> String {
    if audiences.is_empty() {
        return "(none)".to_owned();
    }
    let shown: Vec<String> = audiences
        .iter()
        .map(|audience| format!("\"{}\"", audience.chars().take(80).collect::<String>()))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests;
