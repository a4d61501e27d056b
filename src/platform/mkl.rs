//! MKL uses AVX-512 only where its vendor check says Intel; this file overrides that check.

/// Replaces the function by which MKL, which is linked into libtorch for x86-64, checks for an Intel processor. Returns
/// 1 on Intel processors and on any processor with AVX-512. MKL also checks the processor's feature flags before it
/// selects a kernel, so it never uses instructions that the processor lacks. On Zen 5 matrix products are up to 2.2
/// times as fast, and an episode with 64 channels and all layers generated takes 0.6 times as long.
#[cfg(target_arch = "x86_64")]
#[unsafe(export_name = "mkl_serv_intel_cpu_true")]
extern "C" fn may_use_all_instructions() -> std::ffi::c_int {
    // SAFETY: every x86-64 processor has the instruction; the call is safe since Rust 1.94.
    #[allow(unused_unsafe)]
    let vendor = unsafe { std::arch::x86_64::__cpuid(0) };
    let intel = [vendor.ebx, vendor.edx, vendor.ecx]
        .map(u32::to_le_bytes)
        .concat()
        == b"GenuineIntel";
    (intel || is_x86_feature_detected!("avx512f")).into()
}

#[cfg(all(test, target_arch = "x86_64"))]
#[allow(clippy::print_stderr, reason = "a test says that it was skipped")]
mod tests {
    #[test]
    fn mkl_selects_avx_512_where_the_processor_has_it() {
        use std::ffi::{c_char, c_int, c_void};
        unsafe extern "C" {
            fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
        }
        // Value from `mkl_types.h`.
        const MKL_CBWR_AVX512: c_int = 12;
        // Any call links libtorch.
        tch::set_num_threads(1);
        let name = c"mkl_serv_cbwr_get_auto_branch".as_ptr();
        // SAFETY: the name is zero-terminated; a null handle searches all loaded libraries.
        let branch = unsafe { dlsym(std::ptr::null_mut(), name) };
        let overrides = ["MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"].map(std::env::var_os);
        let overridden = overrides.iter().any(Option::is_some);
        if branch.is_null() || overridden || !is_x86_feature_detected!("avx512f") {
            eprintln!(
                "skipped: this libtorch has no MKL, an environment variable restricts it, or AVX-512 is missing"
            );
            return;
        }
        // SAFETY: this MKL function takes no arguments and returns an int.
        let branch: extern "C" fn() -> c_int = unsafe { std::mem::transmute(branch) };
        assert!(branch() >= MKL_CBWR_AVX512, "{}", branch());
    }
}
