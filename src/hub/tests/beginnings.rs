//! Where subscribers begin, and what is kept for them.
