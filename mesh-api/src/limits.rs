//! How large things on the wire may be. `PROTOCOL.md` makes these figures binding.

/// Largest gRPC message of either side; clients and servers must raise their decoders to it.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Largest encoded body of one resource.
pub const MAX_RESOURCE_BYTES: usize = 4 << 20;

/// A push is cut into messages of about this size; a larger resource travels alone.
pub const PUSH_CHUNK_BYTES: usize = 1 << 20;

/// Largest sum of bodies a proxy collects for one push before it gives the stream up.
pub const MAX_PUSH_BYTES: usize = 256 << 20;

/// Longest text of a resource name.
pub const MAX_NAME_BYTES: usize = 1024;

/// Largest message of a proxy. Only Hello comes near it.
pub const MAX_PROXY_MESSAGE_BYTES: usize = 8 << 20;

/// Most fields in a message of a proxy, those of lists counted one by one: twice what any has to be.
pub const MAX_PROXY_ENTRIES: usize = 2 * MAX_HELD;

/// Most resources a proxy may say it holds.
pub const MAX_HELD: usize = 1 << 16;

/// Most single names, and most hosts, a proxy may ask for beside its configuration.
pub const MAX_SUBSCRIBED_NAMES: usize = 1 << 11;

/// Most rejections of one Nack.
pub const MAX_REJECTIONS: usize = 1_000;

/// The protocol revision this code speaks.
pub const PROTOCOL_REVISION: u32 = 1;
