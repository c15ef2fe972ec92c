//! Checkpoints in the layout of the released models.

mod var;

pub use var::{load_var, read_var, save_var, var_config, var_keys};
