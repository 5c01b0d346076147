//! Who is heard, for every kind of client.
