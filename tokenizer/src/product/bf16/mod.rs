//! Products of factors that are rounded to bf16, with sums of f32, on CPUs with instructions for them: AVX512-BF16, which multiplies at twice
//! the rate of f32, and AMX, at sixteen times.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod factor;
#[cfg(target_arch = "x86_64")]
mod turned;

pub use factor::Factor;

/// What the CPU multiplies with; none if it has no instructions for bf16.
pub fn kernel() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        if amx::is_available() {
            return Some("AMX");
        }
        if avx512::is_available() {
            return Some("AVX512-BF16");
        }
    }
    None
}

/// Whether the CPU has instructions for bf16.
pub fn is_available() -> bool {
    kernel().is_some()
}

/// `[m, n]`, the sums over `k` of `a` times `b`, whose numbers are rounded to bf16. Every sum adds its products in the same order, whatever
/// the number of rows; which order, depends on the CPU.
///
/// # Panics
/// If a factor has the wrong size, or the CPU lacks the instructions.
pub fn product([m, n, k]: [usize; 3], a: Factor, b: Factor) -> Vec<f32> {
    assert_eq!((a.len(), b.len()), (m * k, k * n), "sizes of the factors");
    #[cfg(target_arch = "x86_64")]
    {
        if amx::is_available() {
            return amx::product([m, n, k], a, b);
        }
        avx512::product([m, n, k], a, b)
    }
    #[cfg(not(target_arch = "x86_64"))]
    panic!("a CPU without instructions for bf16")
}
