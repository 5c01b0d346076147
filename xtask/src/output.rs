//! Printing for people, who may have seen enough: `cargo xtask deploy | head` is no reason to stop
//! in the middle of a deployment. The standard macros panic then, so these stand in their place.

macro_rules! print {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        // Whoever read it has gone.
        drop(write!(std::io::stdout(), $($text)*));
    }};
}

macro_rules! println {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        // Whoever read it has gone.
        drop(writeln!(std::io::stdout(), $($text)*));
    }};
}

macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        // Whoever read it has gone.
        drop(writeln!(std::io::stderr(), $($text)*));
    }};
}
