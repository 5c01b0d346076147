//! The gRPC side of a tier: one call of each shape.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::App;
use super::proto::shop_server::Shop;
use super::proto::{ChatMessage, DescribeReply, DescribeRequest, Tick, WatchRequest};

/// Ticks one call may ask for.
const TICKS: u32 = 100_000;

/// The service as tonic calls it.
#[derive(Debug, Clone)]
pub(crate) struct GrpcShop {
    pub(crate) app: Arc<App>,
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Shop for GrpcShop {
    async fn describe(
        &self,
        request: Request<DescribeRequest>,
    ) -> Result<Response<DescribeReply>, Status> {
        let metadata: HashMap<String, String> = request
            .metadata()
            .as_ref()
            .iter()
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            })
            .collect();
        let wanted = request.into_inner();
        if wanted.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(u64::from(wanted.delay_ms))).await;
        }
        let code = Code::from_i32(wanted.fail_code);
        if code != Code::Ok {
            return Err(Status::new(code, format!("as asked, by {}", self.app.name)));
        }
        Ok(Response::new(DescribeReply {
            app: self.app.tier.as_str().to_owned(),
            name: self.app.name.clone(),
            version: self.app.version.clone(),
            metadata,
        }))
    }

    type WatchStream = Replies<Tick>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let WatchRequest { count, interval_ms } = request.into_inner();
        if count > TICKS {
            return Err(Status::invalid_argument(format!(
                "count {count} is above {TICKS}"
            )));
        }
        let interval = Duration::from_millis(u64::from(interval_ms));
        let version = self.app.version.clone();
        let ticks = stream::iter(1..=count).then(move |number| {
            let version = version.clone();
            async move {
                if number > 1 && !interval.is_zero() {
                    tokio::time::sleep(interval).await;
                }
                Ok(Tick { number, version })
            }
        });
        Ok(Response::new(Box::pin(ticks)))
    }

    type ChatStream = Replies<ChatMessage>;

    async fn chat(
        &self,
        request: Request<Streaming<ChatMessage>>,
    ) -> Result<Response<Self::ChatStream>, Status> {
        let name = self.app.name.clone();
        let replies = request.into_inner().map(move |message| {
            let message = message?;
            let text = format!("{}: {}", message.from, message.text);
            Ok(ChatMessage {
                from: name.clone(),
                text,
            })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}
