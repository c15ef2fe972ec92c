//! The `nextscale` command: one file per subcommand.

mod bar;
mod bench;
mod calibrate;
mod command;
mod convert;
mod data;
mod edit;
mod eval;
mod generate;
mod huge_pages;
mod image_options;
mod info;
mod memory;
mod metadata;
mod models;
mod options;
mod output;
mod panic;
mod progress;
mod ranks;
mod run;
mod serve;
mod settings;
mod signal;
mod study;
mod train;
mod variation;
mod video;
mod warm_up;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: huge_pages::HugePages = huge_pages::HugePages;

fn main() -> ExitCode {
    keep_freed_memory();
    find_cuda_toolkit();
    panic::guarded(command::main)
}

/// Tells the compiler of CUDA kernels where its library is, if that is not where it looks by itself.
fn find_cuda_toolkit() {
    if cfg!(feature = "cuda")
        && std::env::var_os("CUDA_PATH").is_none()
        && let Some(path) = nextscale_models::device::toolkit()
    {
        // SAFETY: no other thread was started yet.
        unsafe { std::env::set_var("CUDA_PATH", path) };
    }
}

/// Lets the allocator keep what is freed: every layer allocates the same blocks again, and returning them to the system in
/// between costs a tenth of the time of an image. The largest blocks (weights) still go back: 32 MiB is the most that the allocator accepts.
fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) sets parameters of the allocator and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 512 << 20);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
