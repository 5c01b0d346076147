//! The proxy's side of the protocol, message by message.
