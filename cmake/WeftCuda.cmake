# Whether and for what CUDA is built. Sets WEFT_CUDA_ENABLED and defines weft_cuda_flags.
#
#   off   no CUDA
#   auto  with a toolkit, for the GPUs that are present; none present: no CUDA
#   on    with a toolkit (else an error), for every default architecture
# WEFT_CUDA_ARCHITECTURES, if set, replaces the list. An environment variable of either name is taken
# where the CMake variable was left alone.
#
# Architectures always carry a suffix: on plain sm_100 CuTe's bulk copies silently compile to nothing.
# Mode on also compiles the kernels without newer instructions for sm_80: see weft_layer.
foreach(name WEFT_CUDA WEFT_CUDA_ARCHITECTURES)
  if(DEFINED ENV{${name}} AND NOT "$ENV{${name}}" STREQUAL "")
    set(${name} "$ENV{${name}}")
  endif()
endforeach()
set(WEFT_CUDA_ENABLED OFF)
string(TOLOWER "${WEFT_CUDA}" weft_cuda_mode)
if(NOT weft_cuda_mode MATCHES "^(auto|on|off)$")
  message(FATAL_ERROR "WEFT_CUDA is auto, on or off, not '${WEFT_CUDA}'")
endif()

if(CMAKE_VERSION VERSION_LESS 3.31.10)
  set(weft_default_architectures "90a-real;100a-real;103a-real")
else()
  set(weft_default_architectures "90a-real;100f-real")
endif()

# "9.0" lines of the GPUs that are present, as architectures ("90a").
function(weft_present_architectures result)
  set(found)
  find_program(WEFT_NVIDIA_SMI nvidia-smi)
  if(WEFT_NVIDIA_SMI)
    execute_process(COMMAND ${WEFT_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader
                    OUTPUT_VARIABLE lines ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0)
      string(REGEX MATCHALL "[0-9]+\\.[0-9]" capabilities "${lines}")
      list(REMOVE_DUPLICATES capabilities)
      foreach(capability IN LISTS capabilities)
        string(REPLACE "." "" number "${capability}")
        if(number GREATER_EQUAL 90)
          list(APPEND found "${number}a-real")
        elseif(number GREATER_EQUAL 80)
          list(APPEND found "${number}-real")
        endif()
      endforeach()
    endif()
  endif()
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

if(NOT weft_cuda_mode STREQUAL "off")
  set(weft_architectures "${WEFT_CUDA_ARCHITECTURES}")
  if(NOT weft_architectures AND weft_cuda_mode STREQUAL "on")
    set(weft_architectures "${weft_default_architectures}")
  elseif(NOT weft_architectures)
    weft_present_architectures(weft_architectures)
  endif()
  if(weft_architectures)
    include(CheckLanguage)
    find_program(WEFT_NVCC nvcc PATHS /usr/local/cuda/bin)
    if(WEFT_NVCC AND NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
      set(CMAKE_CUDA_COMPILER "${WEFT_NVCC}")
    endif()
    set(CMAKE_CUDA_ARCHITECTURES "${weft_architectures}")
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(WEFT_CUDA_ENABLED ON)
    endif()
  endif()
  if(weft_cuda_mode STREQUAL "on" AND NOT WEFT_CUDA_ENABLED)
    message(FATAL_ERROR "WEFT_CUDA=on, but no CUDA compiler (nvcc) was found")
  endif()
endif()

if(WEFT_CUDA_ENABLED)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  include(WeftCutlass)
  add_library(weft_cuda_flags INTERFACE)
  target_link_libraries(weft_cuda_flags INTERFACE CUDA::cudart_static)
  target_compile_options(weft_cuda_flags INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror>")
  target_include_directories(weft_cuda_flags SYSTEM INTERFACE "${WEFT_CUTLASS_INCLUDE}")
endif()
message(STATUS "weft: CUDA ${WEFT_CUDA_ENABLED} ${CMAKE_CUDA_ARCHITECTURES}")
