#include "taskvec/core/files/atomic_file.h"
#include "taskvec/formats/folders/find_model.h"
#include "taskvec/formats/folders/sidecars.h"
#include "taskvec/formats/verify.h"
#include "tests/formats/checkpoint_folder.h"

#include <gmock/gmock.h>

#include <cstdlib>

namespace taskvec::formats {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// What lies on a disk where models are kept.
class Folders : public testing::Test {
 protected:
  Folders() { setenv("HF_HUB_CACHE", (folder_ / "hub").c_str(), 1); }
  ~Folders() override { unsetenv("HF_HUB_CACHE"); }

  void put(const std::string& name, const std::string& contents) {
    fs::create_directories((folder_ / name).parent_path());
    write_file_atomically(folder_ / name, contents);
  }
  void put_model(const std::string& name) {
    fs::create_directories((folder_ / name).parent_path());
    folder_.write(name, {made("w", Dtype::F32, {1}, {1})});
  }
  void link(const std::string& target, const std::string& name) {
    fs::create_directories((folder_ / name).parent_path());
    fs::create_symlink(target, folder_ / name);
  }
  /// A repository of the cache with one snapshot, also in a sub-folder.
  void cache(const std::string& repository, const std::string& commit) {
    put_model("hub/" + repository + "/blobs/0abc.safetensors");
    fs::rename(folder_ / "hub" / repository / "blobs/0abc.safetensors", folder_ / "hub" / repository / "blobs/0abc");
    link("../../blobs/0abc", "hub/" + repository + "/snapshots/" + commit + "/model.safetensors");
    link("../../../blobs/0abc", "hub/" + repository + "/snapshots/" + commit + "/text_encoder/model.safetensors");
    put("hub/" + repository + "/refs/main", commit);
  }
  std::string error_of(const std::string& path) {
    return message_of([&] { open(folder_ / path); });
  }

  CheckpointFolder folder_;
};

TEST_F(Folders, DownloadsThatFailedAreSaidToBeSo) {
  put("lfs/model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345678\n");
  EXPECT_THAT(error_of("lfs"),
              HasSubstr("is a Git LFS pointer, not the weights: run `git lfs pull` (12,345,678 bytes are missing)"));
  put("html/pytorch_model.bin", "\n <!DOCTYPE html><html>secret</html>");
  EXPECT_THAT(error_of("html"), HasSubstr("is an HTML page, not the weights; the download failed"));
  EXPECT_THAT(error_of("html"), testing::Not(HasSubstr("secret")));
  put("xml.gguf", "<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>");
  EXPECT_THAT(error_of("xml.gguf"), HasSubstr("is an XML page"));
  put("json/model.safetensors", R"({"error":"Repository not found"})");
  EXPECT_THAT(error_of("json"), HasSubstr("is a server's error message (JSON)"));
  put("text/model.safetensors", "Entry not found");
  EXPECT_THAT(error_of("text"), HasSubstr("is a server's error message, not the weights"));
  put("index/model.safetensors.index.json", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n");
  EXPECT_THAT(error_of("index"), HasSubstr("model.safetensors.index.json is a Git LFS pointer, not the file"));
  put("shards/model.safetensors.index.json", R"({"weight_map":{"w":"model-00001-of-00001.safetensors"}})");
  put("shards/model-00001-of-00001.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n");
  EXPECT_THAT(error_of("shards"), HasSubstr("model-00001-of-00001.safetensors is a Git LFS pointer"));
}

TEST_F(Folders, LinksLeadIntoTheCacheThatAFolderLiesIn) {
  cache("models--org--name", "0123456789");
  const fs::path snapshot = folder_ / "hub/models--org--name/snapshots/0123456789";
  EXPECT_NO_THROW(open(snapshot));
  EXPECT_NO_THROW(open(snapshot / "text_encoder"));
  // --local-dir of older programs: a folder anywhere
  link(folder_ / "hub/models--org--name/blobs/0abc", "local/model.safetensors");
  EXPECT_NO_THROW(open(folder_ / "local"));
  // Another repository's blobs are no part of this one, and other files of none.
  cache("models--org--other", "aa");
  link("../../../models--org--other/blobs/0abc", "hub/models--org--name/snapshots/bb/model.safetensors");
  EXPECT_THAT(error_of("hub/models--org--name/snapshots/bb"), HasSubstr("is a symbolic link"));
  put_model("blobs/secret.safetensors");
  link(folder_ / "blobs/secret.safetensors", "stranger/model.safetensors");
  EXPECT_THAT(error_of("stranger"), HasSubstr("is a symbolic link"));
}

TEST_F(Folders, ModelsAreFoundByTheirNames) {
  cache("models--org--name", "0123456789");
  const fs::path snapshot = folder_ / "hub/models--org--name/snapshots/0123456789";
  EXPECT_EQ(find_model("org/name"), snapshot);
  EXPECT_EQ(find_model("org/name@main"), snapshot);
  EXPECT_EQ(find_model("org/name@0123456"), snapshot);
  EXPECT_EQ(find_model((folder_ / "hub/models--org--name").string()), snapshot);
  EXPECT_EQ(find_model((folder_ / "").string()), folder_ / "");
  EXPECT_THAT(message_of([] { find_model("org/name@v2"); }), HasSubstr("`hf download org/name --revision v2` fetches it"));
  EXPECT_THAT(message_of([] { find_model("org/absent"); }), HasSubstr("`hf download org/absent` fetches it"));
  EXPECT_EQ(find_model("pocket-clip").filename(), "pocket-clip");
  EXPECT_EQ(find_model("x/model.safetensors"), "x/model.safetensors");
  EXPECT_EQ(find_model("../x/y"), "../x/y");  // a path that is not there
}

TEST_F(Folders, VerifySaysWhatItDidNotRead) {
  put_model("two/model.safetensors");
  put_model("two/model-00001-of-00002.safetensors");
  put("two/pytorch_model.bin", "x");
  EXPECT_THAT(verify(folder_ / "two").unread, ElementsAre("model-00001-of-00002.safetensors", "pytorch_model.bin"));
  EXPECT_THAT(verify(folder_ / "two/model.safetensors").unread, IsEmpty());
  put_model("shards/model-00001-of-00002.safetensors");
  EXPECT_THAT(error_of("shards"), HasSubstr("but no index of them"));
}

TEST_F(Folders, WhatStaysBehindIsSaid) {
  put_model("m/model.safetensors");
  EXPECT_THAT(left_behind(folder_ / "m"), ElementsAre(HasSubstr("has no config.json")));
  put("m/config.json", "{}");
  put("m/README.md", "A model.");
  put("m/1_Pooling/config.json", "{}");
  put("m/.git/HEAD", "x");
  EXPECT_THAT(left_behind(folder_ / "m"),
              ElementsAre(HasSubstr("stay behind: 1_Pooling/"), HasSubstr("README.md is taken along")));
}

}  // namespace
}  // namespace taskvec::formats
