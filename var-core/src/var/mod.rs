//! VAR: the class-conditional next-scale transformer (arXiv 2404.02905).
//!
//! The first token is the class; the tokens of scale `k > 1` are the running feature map, resized to that scale, through
//! one linear layer. Every token has a learned position and scale embedding. Every block attends to the image so far
//! and is modulated by the class (section 3 of the paper; `var.py` and `basic_var.py` of the reference).
//!
//! ```text
//! r_k = sample(transformer(x_k))   f_k = f_{k-1} + phi(up(embed(r_k)))   x_{k+1} = down(f_k)
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `config` | sizes, released presets |
//! | `model`, `block` | the transformer |
//! | `plan` | a schedule made ready for a device |
//! | `state` | generation scale by scale, with a cache |
//! | `generate` | the loop, an iterator of scales |
//! | `loss` | teacher forcing and the training loss |
//! | `import` | released checkpoints |

mod block;
mod chain;
mod config;
mod generate;
mod import;
mod loss;
mod model;
mod plan;
mod state;

pub use block::Block;
pub use chain::VarChain;
pub use config::{Modulation, VarConfig};
pub use generate::{GenerateInput, GenerateOptions, Generation, Step, generate, generate_on_ranks};
pub use import::{load_var, read_var, save_var, var_config, var_keys, var_keys_like};
pub use loss::{CodeLoss, TeacherForcing, loss};
pub use model::Var;
pub use plan::Plan;
pub use state::State;
