//! Functions that are compiled for several processors.

/// Runs a function that is compiled for the widest vectors of the processor.
///
/// `widest!(name, body, (argument: Type, ..) -> Type)` defines `name`, which calls `body`: an `#[inline(always)]` function without
/// closures that other functions call, which would not be compiled again.
#[macro_export]
macro_rules! widest {
    ($name:ident, $body:ident, ($($arg:ident: $type:ty),*) $(-> $ret:ty)?) => {
        fn $name($($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn v4($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn v3($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                // Each is called only if the processor has the features that it was compiled for.
                if std::arch::is_x86_feature_detected!("avx512f") {
                    return unsafe { v4($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    return unsafe { v3($($arg),*) };
                }
            }
            $body($($arg),*)
        }
    };
}
