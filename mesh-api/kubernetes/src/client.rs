//! How the API server is reached: whose credentials, which deadlines, and errors that say what
//! was wanted and what to do.

use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long opening a connection to the API server may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A connection on which nothing arrives for this long is given up. Watches are quiet for long;
/// the API server ends each after 290 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(320);
/// How long one request that is not a watch may take, see [`within`].
pub const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig that cannot be used.
    #[error(
        "cannot use {place}: {error}; check that the file exists and that it has the context you \
         mean (kubectl config get-contexts)"
    )]
    Kubeconfig {
        /// Which one.
        place: String,
        /// What is wrong with it.
        error: String,
    },
    /// Neither inside a cluster nor a kubeconfig.
    #[error(
        "no cluster to connect to: this is not a pod with a service account ({in_cluster}), and \
         {default}; name a kubeconfig with --kubeconfig"
    )]
    Nowhere {
        /// Why it counts as outside a cluster.
        in_cluster: String,
        /// What is wrong with the kubeconfig that applies by default.
        default: String,
    },
    /// Credentials or certificates that cannot be used.
    #[error("cannot set up the connection to {url}: {error}")]
    Setup {
        /// The API server.
        url: String,
        /// What is wrong.
        error: kube::Error,
    },
}

/// The API server this process talks to: errors of requests do not say where they were sent.
static SERVER: RwLock<Option<String>> = RwLock::new(None);

/// The API server as errors name it, with its address.
pub fn server() -> String {
    let known = SERVER.read().unwrap_or_else(PoisonError::into_inner);
    known.as_ref().map_or_else(
        || "the API server".to_owned(),
        |url| format!("the API server at {url}"),
    )
}

/// An error and the reasons behind it, each once: the last is as a rule the one that helps.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text.push_str(": ");
            text.push_str(&reason);
        }
        next = error.source();
    }
    text
}

/// A client for the cluster this process runs in, or the one a kubeconfig names.
///
/// Nothing is sent yet: an API server that is away now is no error. `agent` is what its audit log
/// will show.
pub async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    agent: &str,
) -> Result<Client, ConnectError> {
    let mut config = if kubeconfig.is_some() || context.is_some() {
        from_kubeconfig(kubeconfig, context).await?
    } else {
        infer().await?
    };
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(SILENCE_LIMIT);
    if let Ok(agent) = HeaderValue::from_str(agent) {
        config.headers.push((USER_AGENT, agent));
    }
    let url = config.cluster_url.to_string();
    let mut server = SERVER.write().unwrap_or_else(PoisonError::into_inner);
    *server = Some(url.trim_end_matches('/').to_owned());
    drop(server);
    Client::try_from(config).map_err(|error| ConnectError::Setup { url, error })
}

/// A pod's own service account first: inside a cluster a stray kubeconfig must not win.
async fn infer() -> Result<Config, ConnectError> {
    let in_cluster = match Config::incluster() {
        Ok(config) => return Ok(config),
        Err(error) => error.to_string(),
    };
    from_kubeconfig(None, None)
        .await
        .map_err(|default| ConnectError::Nowhere {
            in_cluster,
            default: default.to_string(),
        })
}

async fn from_kubeconfig(
    path: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, ConnectError> {
    let place = path.map_or_else(
        || "the default kubeconfig ($KUBECONFIG or ~/.kube/config)".to_owned(),
        |path| format!("kubeconfig {}", path.display()),
    );
    let read = match path {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let config = match read {
        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
        Err(error) => Err(error),
    };
    config.map_err(|error| ConnectError::Kubeconfig {
        place,
        error: error.to_string(),
    })
}

/// A request to the API server that did not work.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {}", explain(.cause.as_deref()))]
pub struct ApiFailure {
    /// What was to be done: a verb and the object.
    pub what: String,
    /// Why it was not; `None` where no answer came in time.
    pub cause: Option<Box<kube::Error>>,
}

fn explain(cause: Option<&kube::Error>) -> String {
    match cause {
        None => format!("{} did not answer within {REQUEST_LIMIT:?}", server()),
        Some(kube::Error::Api(status)) if status.is_forbidden() => format!(
            "{}; the service account lacks this permission, apply the Roles that belong to this \
             version",
            status.message
        ),
        Some(kube::Error::Api(status)) => status.message.clone(),
        Some(error) => format!("{}: {}", server(), chain(error)),
    }
}

impl ApiFailure {
    fn status(&self) -> Option<&kube::core::Status> {
        match self.cause.as_deref() {
            Some(kube::Error::Api(status)) => Some(status),
            Some(_) | None => None,
        }
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Somebody else was first: it exists already, or has changed since it was read.
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The service account may not do this.
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// The HTTP status the API server answered with; `None` where it did not answer.
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }
}

/// Waits for one request, [`REQUEST_LIMIT`] at most. `what` is a verb and the object, for errors.
pub async fn within<T>(
    what: impl Into<String>,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiFailure> {
    let failure = |cause| ApiFailure {
        what: what.into(),
        cause,
    };
    match tokio::time::timeout(REQUEST_LIMIT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(Some(Box::new(error)))),
        Err(_elapsed) => Err(failure(None)),
    }
}

#[cfg(test)]
mod tests;
