# How everything is compiled. The flags are the same for every target, so that one precompiled header fits all.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)  # an installed program finds libtorch where it was linked

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")  # asserts stay on

add_compile_options(
  -ffp-contract=off  # the same bytes on every CPU level
  -fno-math-errno
  -fdiagnostics-color=auto)

if(TASKVEC_SANITIZE)
  add_compile_options(-fsanitize=${TASKVEC_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${TASKVEC_SANITIZE})
endif()

if(TASKVEC_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(TASKVEC_CCACHE_PROGRAM ccache)
  if(TASKVEC_CCACHE_PROGRAM)
    # The sloppiness is what precompiled headers need; the base folder lets another clone share the cache.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
        CCACHE_NOHASHDIR=1 ${TASKVEC_CCACHE_PROGRAM})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      add_compile_options(-fpch-preprocess)
    endif()
  endif()
endif()

# Warnings for our own code.
add_library(taskvec_warnings INTERFACE)
# gcc 12 sees an overflow inside fmt that is not there.
target_compile_options(taskvec_warnings INTERFACE -Wall -Wextra -Wshadow -Wconversion $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow> $<$<BOOL:${TASKVEC_WERROR}>:-Werror>)
