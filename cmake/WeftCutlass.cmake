# CUTLASS headers (CuTe), from the wheel nvidia-cutlass, without its Python dependencies: 6 MB, once a
# build folder. Set WEFT_CUTLASS_INCLUDE to use other headers.
set(WEFT_CUTLASS_INCLUDE "" CACHE PATH "Folder that holds cute/ and cutlass/")
if(NOT WEFT_CUTLASS_INCLUDE)
  find_package(Python REQUIRED COMPONENTS Interpreter)
  set(weft_cutlass_root "${CMAKE_BINARY_DIR}/cutlass")
  set(weft_cutlass_found "${weft_cutlass_root}/cutlass_library/source/include")
  if(NOT EXISTS "${weft_cutlass_found}/cute/tensor.hpp")
    message(STATUS "weft: fetching CUTLASS headers")
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -m pip install --quiet --no-deps --disable-pip-version-check
              --target "${weft_cutlass_root}" nvidia-cutlass==4.2.0.0
      RESULT_VARIABLE weft_pip_status)
    if(NOT weft_pip_status EQUAL 0 OR NOT EXISTS "${weft_cutlass_found}/cute/tensor.hpp")
      message(FATAL_ERROR "could not fetch nvidia-cutlass; set WEFT_CUTLASS_INCLUDE or WEFT_CUDA=off")
    endif()
  endif()
  set(WEFT_CUTLASS_INCLUDE "${weft_cutlass_found}")
endif()
