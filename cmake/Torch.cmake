# taskvec::torch: libtorch from the PyPI wheel, as an imported target of our own. The wheel's own package file would demand a
# CUDA toolkit where the wheel is a CUDA build; linking torch_cpu and c10 by path does not.
if(NOT TASKVEC_TORCH_DIR)
  set(TASKVEC_TORCH_DIR "$ENV{TASKVEC_TORCH_DIR}")
endif()
if(NOT TASKVEC_TORCH_DIR)
  file(GLOB candidates ${CMAKE_SOURCE_DIR}/.venv/lib/python3.*/site-packages/torch)
  if(candidates)
    list(GET candidates 0 TASKVEC_TORCH_DIR)
  endif()
endif()
if(NOT EXISTS "${TASKVEC_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "libtorch not found (TASKVEC_TORCH_DIR='${TASKVEC_TORCH_DIR}'): run tools/setup, or give the torch folder of "
                      "a Python environment with -DTASKVEC_TORCH_DIR=, or build the core alone with -DTASKVEC_TORCH=OFF")
endif()
message(STATUS "libtorch: ${TASKVEC_TORCH_DIR}")

add_library(taskvec_torch INTERFACE)
add_library(taskvec::torch ALIAS taskvec_torch)
# The wheel carries headers of its own fmt; Debian's are the ones whose library is linked, so they come first.
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fmt-first)
file(CREATE_LINK ${fmt_include}/fmt ${CMAKE_BINARY_DIR}/fmt-first/fmt SYMBOLIC)
target_include_directories(taskvec_torch SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/fmt-first
                                                          ${TASKVEC_TORCH_DIR}/include
                                                          ${TASKVEC_TORCH_DIR}/include/torch/csrc/api/include)
target_compile_definitions(taskvec_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
target_link_libraries(taskvec_torch INTERFACE ${TASKVEC_TORCH_DIR}/lib/libtorch_cpu.so ${TASKVEC_TORCH_DIR}/lib/libc10.so)
# A CUDA build's libtorch_cpu needs libcudart and libcupti: it finds them itself when it runs, the linker has to be told.
file(GLOB nvidia_libs ${TASKVEC_TORCH_DIR}/../nvidia/*/lib)
foreach(folder ${TASKVEC_TORCH_DIR}/lib ${nvidia_libs})
  target_link_options(taskvec_torch INTERFACE -Wl,-rpath-link,${folder})
endforeach()

# libtorch's headers take ten times longer than our code: compiled once, reused by every target of taskvec_use_torch().
add_library(taskvec_torch_pch STATIC ${CMAKE_SOURCE_DIR}/cmake/empty.cpp)
target_link_libraries(taskvec_torch_pch PUBLIC taskvec::torch PRIVATE fmt::fmt nlohmann_json::nlohmann_json)
target_precompile_headers(taskvec_torch_pch PRIVATE ${CMAKE_SOURCE_DIR}/cmake/torch_pch.h)

function(taskvec_use_torch TARGET)
  target_link_libraries(${TARGET} PUBLIC taskvec::torch)
  target_precompile_headers(${TARGET} REUSE_FROM taskvec_torch_pch)
endfunction()
