//! What is kept is what is found again, and nothing else is.
