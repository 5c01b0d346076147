//! Breaches of the protocol, and what a proxy is told about them.

/// What a proxy may not do on a stream. The stream is closed with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Something came before Hello.
    #[error("the first message of a stream must be Hello")]
    HelloMissing,
    /// Hello came again.
    #[error("Hello may only be the first message of a stream")]
    HelloAgain,
    /// A message of a kind this server does not know, or none.
    #[error("a message was empty or of a kind this server does not know")]
    UnknownMessage,
    /// The proxy speaks no revision this server speaks.
    #[error("protocol revision {0} is not supported; this server speaks revision 1")]
    Revision(u32),
    /// A field of Hello or Subscribe is missing or wrong.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// More of something than a proxy can have need of.
    #[error("{field}: at most {limit} may be named")]
    TooMany {
        /// The field.
        field: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// An answer to no push.
    #[error("nonce {0} answers no push that is in flight")]
    UnknownNonce(u64),
    /// A second push was answered before the first.
    #[error("nonce {answered} was answered before nonce {expected}; pushes are answered in order")]
    AnswerOrder {
        /// The nonce answered.
        answered: u64,
        /// The nonce whose turn it was.
        expected: u64,
    },
    /// A refusal without a reason.
    #[error("Nack of nonce {0} has no rejections; a refusal must say what is wrong")]
    EmptyNack(u64),
}

impl From<ProtocolError> for tonic::Status {
    fn from(error: ProtocolError) -> Self {
        let text = error.to_string();
        match error {
            ProtocolError::UnknownMessage
            | ProtocolError::Field { .. }
            | ProtocolError::EmptyNack(_) => Self::invalid_argument(text),
            ProtocolError::TooMany { .. } => Self::resource_exhausted(text),
            ProtocolError::HelloMissing
            | ProtocolError::HelloAgain
            | ProtocolError::Revision(_)
            | ProtocolError::UnknownNonce(_)
            | ProtocolError::AnswerOrder { .. } => Self::failed_precondition(text),
        }
    }
}
