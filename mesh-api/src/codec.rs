//! Messages on their way in, looked at before they are decoded: two bytes of a message can be an
//! entry of a list that takes eighty once it is decoded.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::limits::MAX_PROXY_ENTRIES;
use crate::proto::{ProxyMessage, ServerMessage};

/// What is decoded only if it is not too much.
pub trait Bounded {
    /// What is wrong with an encoded message of this kind, if it is too much.
    ///
    /// # Errors
    ///
    /// A sentence for whoever sent it.
    fn check(encoded: &[u8]) -> Result<(), String>;
}

impl Bounded for ProxyMessage {
    fn check(encoded: &[u8]) -> Result<(), String> {
        let entries = entries(encoded);
        if entries > MAX_PROXY_ENTRIES {
            return Err(format!(
                "it has {entries} entries; at most {MAX_PROXY_ENTRIES} are decoded"
            ));
        }
        Ok(())
    }
}

impl Bounded for ServerMessage {
    /// A proxy believes its control plane.
    fn check(_encoded: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// Protocol buffers, as in every stub, but of messages that are [`Bounded`].
#[derive(Debug)]
pub struct BoundedCodec<T, U> {
    messages: PhantomData<(T, U)>,
}

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self {
            messages: PhantomData,
        }
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Bounded + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder {
            decoder: ProstDecoder::default(),
        }
    }
}

/// The half that decodes.
#[derive(Debug)]
pub struct BoundedDecoder<U> {
    decoder: ProstDecoder<U>,
}

impl<U: Message + Bounded + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Whole and in one piece, whatever came in how many.
        U::check(buffer.chunk()).map_err(Status::out_of_range)?;
        self.decoder.decode(buffer)
    }
}

/// `Hello.hosts` and `Subscribe.hosts`: lists within what a proxy says.
const LISTS_WITHIN: [(u64, u64); 2] = [(1, 7), (2, 2)];

/// How many fields there are in what a proxy says. What is no protocol buffer has as many as there
/// are before it stops being one; to decode it fails.
fn entries(encoded: &[u8]) -> usize {
    let mut count = 0;
    for (kind, said) in fields(encoded) {
        count += 1;
        for (number, within) in fields(said) {
            count += 1;
            if LISTS_WITHIN.contains(&(kind, number)) {
                count += fields(within).count();
            }
        }
    }
    count
}

/// The fields of a message in the wire format of protocol buffers: number, and content where it has a
/// length of its own.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let tag = varint(&mut rest)?;
        let content: &[u8] = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                &[]
            }
            1 => {
                rest = rest.get(8..)?;
                &[]
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (content, after) = rest.split_at_checked(length)?;
                rest = after;
                content
            }
            5 => {
                rest = rest.get(4..)?;
                &[]
            }
            // Groups, which nobody here has.
            _ => return None,
        };
        Some((tag >> 3, content))
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::proxy_message::Message as Said;
    use crate::proto::{
        Ack, HeldResource, Hello, HostChange, HostSet, Nack, Rejection, Subscribe, hello, subscribe,
    };

    const MANY: usize = 2 * MAX_PROXY_ENTRIES;

    fn check(said: Said) -> Result<(), String> {
        let message = ProxyMessage {
            message: Some(said),
        };
        ProxyMessage::check(&message.encode_to_vec())
    }

    #[test]
    fn as_much_as_a_proxy_may_say_is_decoded() {
        let held = (0..crate::limits::MAX_HELD).map(|number| HeldResource {
            name: format!("routes/80/host-{number}.example.com"),
            version: u64::MAX,
        });
        let hello = Hello {
            held: held.collect(),
            names: vec!["workload/10.0.0.1".to_owned(); 2048],
            ..Hello::default()
        };
        check(Said::Hello(hello)).unwrap();
        check(Said::Ack(Ack { nonce: 7 })).unwrap();
        ProxyMessage::check(&[]).unwrap();
    }

    #[test]
    fn what_is_small_on_the_wire_and_large_in_memory_is_not() {
        let hosts = vec![String::new(); MANY];
        let said = [
            Said::Hello(Hello {
                held: vec![HeldResource::default(); MANY],
                ..Hello::default()
            }),
            Said::Hello(Hello {
                names: hosts.clone(),
                ..Hello::default()
            }),
            Said::Hello(Hello {
                subscription: Some(hello::Subscription::Hosts(HostSet {
                    hosts: hosts.clone(),
                })),
                ..Hello::default()
            }),
            Said::Subscribe(Subscribe {
                names_removed: hosts.clone(),
                ..Subscribe::default()
            }),
            Said::Subscribe(Subscribe {
                subscription: Some(subscribe::Subscription::Hosts(HostChange {
                    added: hosts.clone(),
                    removed: hosts,
                })),
                ..Subscribe::default()
            }),
            Said::Nack(Nack {
                nonce: 1,
                rejections: vec![Rejection::default(); MANY],
            }),
        ];
        for one in said {
            let told = check(one).unwrap_err();
            assert!(told.contains("entries"), "{told}");
        }
    }

    #[test]
    fn what_is_said_again_and_again_in_one_message_is_counted_together() {
        let part = ProxyMessage {
            message: Some(Said::Nack(Nack {
                nonce: 1,
                rejections: vec![Rejection::default(); 1000],
            })),
        };
        let all = part.encode_to_vec().repeat(MANY / 1000);
        ProxyMessage::check(&all).unwrap_err();
    }

    #[test]
    fn what_is_no_message_ends_the_count() {
        for bytes in [
            &b"\xff"[..],
            &[0xff; 32],
            b"\x0a\x05a",
            b"\x0b",
            b"\x09\x00",
            b"\x0d",
        ] {
            assert!(entries(bytes) <= 1, "{bytes:?}");
        }
    }
}
