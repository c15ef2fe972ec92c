//! Weight files of every model: one reader, one error, one writer.
//!
//! A [`WeightFile`] opens a PyTorch file, a `.safetensors` file or all shards of either. Tensors are read when a module
//! takes them: memory-mapped, converted to the wanted number format and layout in one pass. Loading is strict: a tensor
//! that is missing, left over, of another shape or not finite is an error that names it. [`Rule`] tables say which of our
//! parameters a tensor of a released checkpoint holds; the same tables serve reading and writing.
//!
//! | file | idea |
//! |---|---|
//! | `file` | an open file: names, shapes, tensors, and filling a module |
//! | `wrapper` | the prefixes of training checkpoints |
//! | `shards`, `format` | which files there are, and opening one of them |
//! | `mapped` | a safetensors file in memory |
//! | `small` | numbers of eight bits, widened |
//! | `content` | what a file is, by its content |
//! | `archive` | PyTorch archives that the ZIP reader misreads |
//! | `adapt`, `convert` | PyTorch's layout to burn's, one number format to another |
//! | `names` | checkpoints of the module's own tensors under other names |
//! | `rules`, `split` | names of released checkpoints, and stacked tensors cut into parts |
//! | `shapes` | what a file has to hold, known from the module alone |
//! | `int8` | rounding to numbers of eight bits |
//! | `lora` | low-rank adapters: read, added to the weights of a file, written |
//! | `pth` | safetensors as an archive for PyTorch |
//! | `export`, `stream` | writing: a module, or a checkpoint larger than memory |

mod adapt;
mod archive;
mod content;
mod convert;
mod dtype;
mod error;
mod export;
mod file;
mod format;
mod int8;
mod lora;
mod mapped;
mod names;
mod pth;
mod rules;
mod scripted;
mod shapes;
mod shards;
mod small;
mod split;
mod stream;
mod wrapper;

pub use adapt::Layout;
pub use convert::Rows;
pub use dtype::WeightDtype;
pub use error::{ShapeError, WeightError};
pub use export::Export;
pub use file::WeightFile;
pub use format::check_header;
pub use int8::round_to_int8;
pub use lora::{Lora, LoraExport, LoraStyle};
pub use names::Names;
pub use pth::rewrite_as_pytorch;
pub use rules::{Rule, block_name, official_block_keys, official_keys, rule};
pub use shapes::{names, shapes};
pub use stream::{Format, StreamError};
pub use wrapper::Choice;
