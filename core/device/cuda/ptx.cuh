// PTX that CUDA C++ has no function for: one instruction a function, named after it.
//
// The bulk functions need sm_90; the rest builds for sm_80 too. `memory` clobbers keep the compiler
// from moving memory accesses across.
#pragma once

#include <cstdint>

namespace weft::ptx {

__device__ inline std::uint32_t ld_relaxed_sys(const std::uint32_t* word) {
  std::uint32_t value;
  asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline std::uint32_t ld_acquire_sys(const std::uint32_t* word) {
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(word) : "memory");
  return value;
}

__device__ inline void st_relaxed_sys(std::uint32_t* word, std::uint32_t value) {
  asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(word), "r"(value) : "memory");
}

// 16 bytes at a time. The memory model sees four words of 32 bits, each whole in itself; that they
// come together is likely, not promised.
__device__ inline uint4 ld_relaxed_sys(const uint4* words) {
  uint4 v;
  asm volatile("ld.relaxed.sys.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(words)
               : "memory");
  return v;
}

__device__ inline void st_relaxed_sys(uint4* words, uint4 v) {
  asm volatile("st.relaxed.sys.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(words), "r"(v.x),
               "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

// The same as two words of 64 bits.
__device__ inline ulonglong2 ld_relaxed_sys(const ulonglong2* words) {
  ulonglong2 v;
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(v.x), "=l"(v.y)
               : "l"(words)
               : "memory");
  return v;
}

__device__ inline void st_relaxed_sys(ulonglong2* words, ulonglong2 v) {
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(words), "l"(v.x), "l"(v.y)
               : "memory");
}

__device__ inline void fence_acq_rel_sys() { asm volatile("fence.acq_rel.sys;" ::: "memory"); }

// Words in shared memory, between threads of one block.
__device__ inline std::uint32_t ld_acquire_cta(const std::uint32_t* shared_word) {
  std::uint32_t value;
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_word));
  asm volatile("ld.acquire.cta.shared.u32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
  return value;
}

__device__ inline void st_release_cta(std::uint32_t* shared_word, std::uint32_t value) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared_word));
  asm volatile("st.release.cta.shared.u32 [%0], %1;" ::"r"(address), "r"(value) : "memory");
}

// Nanoseconds of the GPU's clock; steps of 32 ns on H200. All blocks share it: reads take about a
// microsecond and queue up, so nothing that is fast may depend on it.
__device__ inline std::int64_t globaltimer() {
  std::int64_t now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

// Orders ordinary accesses before this thread's later bulk copies, in every memory.
__device__ inline void fence_proxy_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

// The same for shared memory alone.
__device__ inline void fence_proxy_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ inline void bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Every bulk store of this thread has read its shared memory.
__device__ inline void bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

// Every bulk store of this thread has been written.
__device__ inline void bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

}  // namespace weft::ptx
