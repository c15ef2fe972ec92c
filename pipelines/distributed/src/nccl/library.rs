//! NVIDIA's library, loaded when it is asked for.
//!
//! The types are those of `cudarc`. Its own functions are not used: they look for `libnccl.so`, a name that only packages for developers
//! install, and not for `libnccl.so.2`; and they end the program where the library is missing or old.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

use crate::error::DistributedError;

/// The names of the file, the usual one first.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// Where numbers are read, and where results are written, and how many numbers.
type Collect = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    c_int,
    c_int,
    ncclComm_t,
    CUstream,
) -> c_int;

/// The functions that are used. Each returns a code, 0 for success.
pub(super) struct Library {
    pub(super) unique_id: unsafe extern "C" fn(*mut ncclUniqueId) -> c_int,
    pub(super) init_rank:
        unsafe extern "C" fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int) -> c_int,
    pub(super) split:
        unsafe extern "C" fn(ncclComm_t, c_int, c_int, *mut ncclComm_t, *mut c_void) -> c_int,
    pub(super) destroy: unsafe extern "C" fn(ncclComm_t) -> c_int,
    pub(super) abort: unsafe extern "C" fn(ncclComm_t) -> c_int,
    pub(super) async_error: unsafe extern "C" fn(ncclComm_t, *mut c_int) -> c_int,
    pub(super) all_reduce: Collect,
    pub(super) broadcast: Collect,
    pub(super) all_gather: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        ncclComm_t,
        CUstream,
    ) -> c_int,
    pub(super) send:
        unsafe extern "C" fn(*const c_void, usize, c_int, c_int, ncclComm_t, CUstream) -> c_int,
    pub(super) receive:
        unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, ncclComm_t, CUstream) -> c_int,
    pub(super) group_start: unsafe extern "C" fn() -> c_int,
    pub(super) group_end: unsafe extern "C" fn() -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    last_error: unsafe extern "C" fn(ncclComm_t) -> *const c_char,
    /// Keeps the functions where they are.
    _file: libloading::Library,
}

/// The code of NCCL for numbers of f32.
pub(super) const F32: c_int = ncclDataType_t::ncclFloat32 as c_int;
/// That of bytes.
pub(super) const BYTE: c_int = ncclDataType_t::ncclUint8 as c_int;
/// That of sums.
pub(super) const SUM: c_int = ncclRedOp_t::ncclSum as c_int;

impl Library {
    /// The library, which stays loaded.
    ///
    /// # Errors
    /// If this machine has none, or one that is too old.
    pub(super) fn load() -> Result<&'static Self, DistributedError> {
        static LOADED: OnceLock<Library> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        let found = Self::open(&NAMES)?;
        Ok(LOADED.get_or_init(|| found))
    }

    fn open(names: &[&str]) -> Result<Self, DistributedError> {
        // SAFETY: what NCCL does when it is loaded needs nothing of this program.
        let found = names
            .iter()
            .find_map(|name| unsafe { libloading::Library::new(*name) }.ok());
        let file = found.ok_or(DistributedError::NoNccl)?;
        // SAFETY: the types are those of NCCL's own header, of every version 2.
        unsafe {
            Ok(Self {
                unique_id: function(&file, "ncclGetUniqueId")?,
                init_rank: function(&file, "ncclCommInitRank")?,
                split: function(&file, "ncclCommSplit")?,
                destroy: function(&file, "ncclCommDestroy")?,
                abort: function(&file, "ncclCommAbort")?,
                async_error: function(&file, "ncclCommGetAsyncError")?,
                all_reduce: function(&file, "ncclAllReduce")?,
                broadcast: function(&file, "ncclBroadcast")?,
                all_gather: function(&file, "ncclAllGather")?,
                send: function(&file, "ncclSend")?,
                receive: function(&file, "ncclRecv")?,
                group_start: function(&file, "ncclGroupStart")?,
                group_end: function(&file, "ncclGroupEnd")?,
                error_string: function(&file, "ncclGetErrorString")?,
                last_error: function(&file, "ncclGetLastError")?,
                _file: file,
            })
        }
    }

    /// Nothing for success, and otherwise the code and what NCCL says about it and about its last failure.
    pub(super) fn check(&self, code: c_int, communicator: ncclComm_t) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: both return text that stays, or null.
        let (what, why) = unsafe {
            let last = (self.last_error)(communicator);
            (text((self.error_string)(code)), text(last))
        };
        let why = why.trim();
        let colon = if why.is_empty() { "" } else { ": " };
        Err(format!("NCCL error {code}, {what}{colon}{why}"))
    }
}

/// A function of the library.
///
/// # Safety
/// `T` has to be its type.
unsafe fn function<T: Copy>(
    file: &libloading::Library,
    name: &'static str,
) -> Result<T, DistributedError> {
    // SAFETY: the caller knows the type.
    let found = unsafe { file.get::<T>(name.as_bytes()) };
    found
        .map(|function| *function)
        .map_err(|_| DistributedError::OldNccl { function: name })
}

/// # Safety
/// A text that ends with a zero, or null.
unsafe fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: the caller says so.
    let text = unsafe { CStr::from_ptr(from) };
    text.to_string_lossy().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_ends_in_a_sentence() {
        let told = |names: &[&str]| match Library::open(names) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let none = told(&["libnone-of-this-name.so.2"]);
        assert!(
            none.starts_with("there is no NCCL here (libnccl.so.2): install "),
            "{none}"
        );
        // A library without these functions.
        let other = told(&["libc.so.6"]);
        assert_eq!(
            other,
            "the NCCL of this machine has no ncclGetUniqueId: install version 2.18 or later"
        );
    }
}
