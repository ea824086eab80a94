# Everything here is a Debian 12 package; deploy/debian-packages.txt lists them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(Protobuf REQUIRED)  # the module: Debian ships no package file
find_package(SQLite3 REQUIRED)
find_package(hwy REQUIRED)
pkg_check_modules(TOMLPP REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(HTTPLIB REQUIRED IMPORTED_TARGET cpp-httplib)  # its flags change class layouts
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(ABSL REQUIRED IMPORTED_TARGET absl_statusor)  # which needs absl_status, absl_strings and absl_cord
# gRPC without pkg-config, which looks for two seconds at all that it depends on, once for each of CMake's ten questions.
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
find_path(GRPC_INCLUDE_DIR grpcpp/grpcpp.h REQUIRED)
find_library(GRPCPP_LIBRARY grpc++ REQUIRED)
find_library(GRPC_LIBRARY grpc REQUIRED)
find_library(GPR_LIBRARY gpr REQUIRED)
add_library(rivulet_grpc INTERFACE)
target_include_directories(rivulet_grpc SYSTEM INTERFACE ${GRPC_INCLUDE_DIR})
target_link_libraries(rivulet_grpc INTERFACE ${GRPCPP_LIBRARY} ${GRPC_LIBRARY} ${GPR_LIBRARY} PkgConfig::ABSL)
if(RIVULET_TORCH)
  find_package(Torch REQUIRED)
endif()
include(RivuletCuda)

find_program(RIVULET_CCACHE ccache)
if(RIVULET_CCACHE)
  # no_hash_dir and base_dir let checkouts in different folders share results.
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} ${RIVULET_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()
