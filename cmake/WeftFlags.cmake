# Compiler flags of every target: warnings are errors, and the sanitizers asked for.
find_package(Threads REQUIRED)
add_library(weft_flags INTERFACE)
target_include_directories(weft_flags INTERFACE "${CMAKE_SOURCE_DIR}")
target_link_libraries(weft_flags INTERFACE Threads::Threads)

set(WEFT_WARNINGS -Wall -Wextra -Werror -Wnon-virtual-dtor -Woverloaded-virtual)
target_compile_options(weft_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${WEFT_WARNINGS}>")

if(WEFT_SANITIZE STREQUAL "address")
  set(WEFT_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all -g)
elseif(WEFT_SANITIZE STREQUAL "fuzzer")
  # As above, and what libFuzzer is guided by. Warnings are for the compiler of the other builds.
  set(WEFT_SANITIZE_FLAGS -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -g
                          -Wno-everything)
elseif(WEFT_SANITIZE STREQUAL "thread")
  # Without -fno-builtin-mem* GCC inlines copies that ThreadSanitizer cannot see.
  set(WEFT_SANITIZE_FLAGS -fsanitize=thread -g -fno-builtin-memcpy -fno-builtin-memset
                          -fno-builtin-memmove -DWEFT_MUTANTS=1)
elseif(WEFT_SANITIZE)
  message(FATAL_ERROR "WEFT_SANITIZE is 'address', 'fuzzer', 'thread' or empty, not '${WEFT_SANITIZE}'")
endif()
if(WEFT_SANITIZE)
  target_compile_options(weft_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${WEFT_SANITIZE_FLAGS}>")
  target_link_options(weft_flags INTERFACE ${WEFT_SANITIZE_FLAGS})
endif()
