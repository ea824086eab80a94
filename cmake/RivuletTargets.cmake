# Warnings, sanitizers and hardening for our own targets only.
add_library(rivulet_flags INTERFACE)
target_compile_definitions(rivulet_flags INTERFACE RIVULET_VERSION="${PROJECT_VERSION}")
target_compile_options(rivulet_flags INTERFACE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict -Wno-stringop-overflow>  # GCC 12 misfires on std::string concatenation
   -Werror=return-type -Werror=unused-result -ffp-contract=off -fno-omit-frame-pointer)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(rivulet_flags INTERFACE -fstack-protector-strong)
endif()
if(RIVULET_SANITIZE)
  add_compile_options(-fsanitize=${RIVULET_SANITIZE})
  if(RIVULET_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)  # or a report would leave the exit code 0
  endif()
  if(RIVULET_SANITIZE_NOT)  # behind it, or it would switch them on again
    add_compile_options(-fno-sanitize=${RIVULET_SANITIZE_NOT})
  endif()
  add_link_options(-fsanitize=${RIVULET_SANITIZE})
endif()

# GNU ld takes seconds for each program: it reads all of libtorch, or 100 MB of an AddressSanitizer's.
include(CheckLinkerFlag)
foreach(linker lld gold)
  check_linker_flag(CXX -fuse-ld=${linker} RIVULET_LINKS_WITH_${linker})
  if(RIVULET_LINKS_WITH_${linker})
    add_link_options(-fuse-ld=${linker})
    break()
  endif()
endforeach()

if(RIVULET_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "RIVULET_FUZZ needs clang: cmake --preset fuzz")
  endif()
  # Without the checks before every access (null, alignment, object-size, vptr, function): ASan stops what does harm.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=null,alignment,object-size,vptr,function
    -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
endif()

# GCC collects garbage, a tenth of a compilation, from twice this many kB on (128 MB by default): where each of Ninja's
# jobs may hold that.
cmake_host_system_information(RESULT rivulet_ram QUERY TOTAL_PHYSICAL_MEMORY)
cmake_host_system_information(RESULT rivulet_cores QUERY NUMBER_OF_LOGICAL_CORES)
math(EXPR rivulet_ram_a_job "${rivulet_ram} / (${rivulet_cores} + 2)")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND rivulet_ram_a_job GREATER 2500)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:--param=ggc-min-heapsize=1000000>)
endif()

# What nearly every file includes, parsed once.
file(WRITE ${CMAKE_BINARY_DIR}/pch.cc "")
add_library(rivulet_pch OBJECT ${CMAKE_BINARY_DIR}/pch.cc)
target_precompile_headers(rivulet_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.h)
target_link_libraries(rivulet_pch PRIVATE rivulet_flags)
# The same for code that waits for lines, disks and people: two fifths less to compile without the last of speed.
set(rivulet_cold_options $<$<CONFIG:Release>:-O1>)
add_library(rivulet_cold_pch OBJECT ${CMAKE_BINARY_DIR}/pch.cc)
target_precompile_headers(rivulet_cold_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.h)
target_compile_options(rivulet_cold_pch PRIVATE ${rivulet_cold_options})
target_link_libraries(rivulet_cold_pch PRIVATE rivulet_flags)

# rivulet_library(name SRCS a.cc ... PUBLIC targets in our headers ... PRIVATE the others ... [OWN_PCH | COLD])
# COLD: no loop over numbers or text in it.
function(rivulet_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "OWN_PCH;COLD" "" "SRCS;PUBLIC;PRIVATE")
  add_library(rivulet_${name} STATIC EXCLUDE_FROM_ALL ${arg_SRCS})  # what no program links is not built
  add_library(rivulet::${name} ALIAS rivulet_${name})
  target_include_directories(rivulet_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(rivulet_${name} PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:rivulet_flags>)
  if(arg_COLD)
    target_compile_options(rivulet_${name} PRIVATE ${rivulet_cold_options})
    target_precompile_headers(rivulet_${name} REUSE_FROM rivulet_cold_pch)
  elseif(NOT arg_OWN_PCH)
    target_precompile_headers(rivulet_${name} REUSE_FROM rivulet_pch)
  endif()
endfunction()

# rivulet_binary(name SRCS ... LIBS ...): an installed program; lands in build/<preset>/bin.
function(rivulet_binary name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SRCS;LIBS")
  add_executable(${name} ${arg_SRCS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} rivulet_flags)
  target_compile_options(${name} PRIVATE ${rivulet_cold_options})  # main.cc and what it parses
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  if(NOT RIVULET_INTEGRATION)
    set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# Libraries are optimised, the tests are not: they are two fifths of what a build compiles.
set(rivulet_test_options $<$<CONFIG:Release>:-O0>)
if(RIVULET_SANITIZE_TESTS_NOT)
  list(APPEND rivulet_test_options -fno-sanitize=${RIVULET_SANITIZE_TESTS_NOT})
endif()

# Properties of every test that runs our programs.
set(rivulet_test_environment "")
if(RIVULET_SANITIZE STREQUAL "thread")  # libraries of the distribution are not built with it
  set(rivulet_test_environment ENVIRONMENT
      "TSAN_OPTIONS=ignore_noninstrumented_modules=1 suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp")
endif()

# rivulet_test(name SRCS ... LIBS ... [LABELS integration|statistical|nightly] [TIMEOUT s] [FIGURES Suite.Case ...]
#              [THREADS Suite.Case ...] [TORCH] [ONE_START] [ONE_THREAD] [OPTIMIZED]): one GoogleTest program.
# Every test case becomes a ctest entry; names are read when ctest runs, not at build time.
# ONE_START: the program as a whole is one entry, since it links libtorch, which takes a second to load, or has hundreds
# of short cases. Under a sanitizer, where a start costs more than most cases, that is every program without a label.
# TORCH: it includes headers of libtorch; ONE_START as well.
# FIGURES: cases that take long since they look at figures or at one more of a kind, where others run the same code. The
# sanitizers of every submission (RIVULET_FIGURES off) go without them.
# THREADS: the only cases that start a thread; of every submission they alone run under the thread sanitizer, which would
# look at nothing else.
# OPTIMIZED: it computes for long itself, beside what it tests; without the precompiled headers of the others.
# ONE_THREAD: there is none. What is labelled statistical or nightly looks at figures. Neither is built where it would not
# be run.
function(rivulet_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH;ONE_START;ONE_THREAD;OPTIMIZED" "TIMEOUT" "SRCS;LIBS;LABELS;FIGURES;THREADS")
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "rivulet_test(${name}): got ${arg_UNPARSED_ARGUMENTS}, want what this file lists")
  endif()
  if(RIVULET_SANITIZE AND arg_LABELS MATCHES "statistical|nightly")
    return()
  endif()
  if(RIVULET_SANITIZE STREQUAL "thread" AND arg_ONE_THREAD AND NOT RIVULET_FIGURES)
    return()
  endif()
  if(arg_TORCH OR (RIVULET_SANITIZE AND NOT arg_LABELS))
    set(arg_ONE_START ON)
  endif()
  if(NOT arg_TIMEOUT AND arg_ONE_START)
    set(arg_TIMEOUT 600)
  elseif(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(RIVULET_SANITIZE)  # they cost up to ten times
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 10")
  endif()
  add_executable(${name} ${arg_SRCS})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest GTest::gmock GTest::gtest_main rivulet_flags)
  target_compile_definitions(${name} PRIVATE RIVULET_SOURCE_DIR="${PROJECT_SOURCE_DIR}" RIVULET_BINARY_DIR="${CMAKE_BINARY_DIR}")
  target_compile_options(${name} PRIVATE ${rivulet_test_options})
  if(arg_OPTIMIZED)
    target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O2>)
  elseif(arg_TORCH)
    target_precompile_headers(${name} REUSE_FROM rivulet_torch_test_pch)
  else()
    target_precompile_headers(${name} REUSE_FROM rivulet_test_pch)
  endif()
  set(properties TIMEOUT ${arg_TIMEOUT})
  if(arg_LABELS)
    list(APPEND properties LABELS ${arg_LABELS})
  endif()
  list(APPEND properties ${rivulet_test_environment})
  set(filter "")
  if(RIVULET_SANITIZE STREQUAL "thread" AND NOT RIVULET_FIGURES)
    list(JOIN arg_THREADS ":" filter)
  endif()
  if(arg_FIGURES AND NOT RIVULET_FIGURES)
    list(JOIN arg_FIGURES ":" figures)
    string(APPEND filter "-${figures}")
  endif()
  if(arg_ONE_START)
    if(filter)
      set(filter --gtest_filter=${filter})
    endif()
    add_test(NAME ${name} COMMAND ${name} ${filter})
    set_tests_properties(${name} PROPERTIES COST 60 ${properties})  # first: they take longest
  else()
    if(filter)
      set(filter TEST_FILTER ${filter})
    endif()
    # Five seconds, the default, are too few for a sanitizer's start on a busy machine.
    gtest_discover_tests(${name} ${filter} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 PROPERTIES ${properties})
  endif()
endfunction()
