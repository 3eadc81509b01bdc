//! What the server and this machine use.
