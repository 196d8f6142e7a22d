// Pickles that would run a command, by every way that a pickle has of importing and calling, in every kind of file that holds a
// pickle. The command leaves a file behind where it runs; what the file would have called is reported.
#include "tests/formats/file_test.h"
#include "tests/formats/samples.h"

#include <functional>

namespace taskvec::formats {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;
using torch_builder::dict;
using torch_builder::text;

struct Trap {
  const char* name;
  std::function<std::string(const std::string&)> make;  ///< the opcodes, of the command as a pushed string
  const char* global;                                   ///< that is reported
};
void PrintTo(const Trap& trap, std::ostream* out) { *out << trap.name; }

class BoobyTrap : public FileTest, public testing::WithParamInterface<Trap> {
 protected:
  std::string trap() const { return GetParam().make(text("touch " + marker().string())); }
  std::filesystem::path marker() const { return folder_ / "marker"; }

  /// All of a checkpoint is read.
  void expect_harmless(const std::filesystem::path& path, const std::string& tensor) const {
    const auto read = open(path);
    EXPECT_FALSE(values<std::byte>(*read, tensor).empty());
    read->fingerprint();
    EXPECT_THAT(read->manifest().metadata.at("pytorch.globals"), HasSubstr(GetParam().global));
    EXPECT_FALSE(std::filesystem::exists(marker()));
  }
};

const std::string kTensor = torch_builder::tensor({{2, 3}, {3, 1}});

TEST_P(BoobyTrap, BesideATensor) {
  const std::string object = dict({{"before", trap()}, {"w", kTensor}, {"after", trap()}});
  expect_harmless(write(torch_builder::archive(object).bytes(), "zip"), "w");
  expect_harmless(write(torch_builder::archive(object, true).bytes(), "deflated"), "w");
  expect_harmless(write(torch_builder::legacy(object), "legacy"), "w");
}

TEST_P(BoobyTrap, InAModule) {
  const std::string module =
      "cpapers\nModel\n)\x81" +
      dict({{"_parameters", dict({{"w", kTensor}})}, {"_buffers", dict({{"b", trap()}})}, {"_modules", "}"}, {"x", trap()}}) +
      "b";
  ZipBuilder script;
  script.store("m/data.pkl", "\x80\2" + module + ".");
  script.store("m/constants.pkl", "\x80\2" + trap() + "\x85.");
  script.store("m/code/__torch__.py", "import os; os.system('touch " + marker().string() + "')");
  script.store("m/data/0", torch_builder::six_floats());
  expect_harmless(write(script.bytes(), "script"), "w");
}

TEST_P(BoobyTrap, InTheFirstPicklesOfALegacyFile) {
  std::string bytes = torch_builder::legacy(dict({{"w", kTensor}}));
  const std::string magic = bytes.substr(0, bytes.find('.') + 1);
  EXPECT_THAT(open_error(write("\x80\2" + trap() + "0" + magic.substr(2) + bytes.substr(magic.size()), "before")), "no error");
  EXPECT_THAT(open_error(write("\x80\2" + trap() + "." + bytes, "instead")), HasSubstr("that torch.save did not write"));
  EXPECT_FALSE(std::filesystem::exists(marker()));
}

TEST_P(BoobyTrap, InAnAdapter) {
  const auto factor = [](const std::vector<int64_t>& size) { return torch_builder::tensor({size, {size[1], 1}}); };
  const std::string object = dict({{"base_model.model.q.lora_A.weight", factor({1, 2})},
                                   {"base_model.model.q.lora_B.weight", factor({3, 1})},
                                   {"trap", trap()}});
  write(R"({"peft_type":"LORA","r":1})", "adapter_config.json");
  write(torch_builder::archive(object).bytes(), "adapter_model.bin");
  expect_harmless(folder_, "q.weight");
}

std::string opcode(const std::string& before, const std::string& command, const std::string& after) {
  return before + command + after;
}

INSTANTIATE_TEST_SUITE_P(
    By, BoobyTrap,
    testing::Values(
        Trap{"REDUCE", [](const auto& command) { return opcode("cos\nsystem\n", command, "\x85R"); }, "os.system"},
        Trap{"STACK_GLOBAL", [](const auto& command) { return text("os") + text("system") + opcode("\x93", command, "\x85R"); },
             "os.system"},
        Trap{"INST", [](const auto& command) { return opcode("(", command, "iposix\nsystem\n"); }, "posix.system"},
        Trap{"OBJ", [](const auto& command) { return opcode("(cos\nsystem\n", command, "o"); }, "os.system"},
        Trap{"NEWOBJ", [](const auto& command) { return opcode("csubprocess\nPopen\n", command, "\x85\x81"); },
             "subprocess.Popen"},
        Trap{"NEWOBJ_EX", [](const auto& command) { return opcode("csubprocess\ngetoutput\n", command, "\x85}\x92"); },
             "subprocess.getoutput"},
        Trap{"BUILD",
             [](const auto& command) { return opcode("cm\nM\n)\x81}" + text("x") + "cos\nsystem\n", command, "\x85Rsb"); },
             "m.M, os.system"},
        Trap{"APPENDS", [](const auto& command) { return opcode("ccode\nInteractiveConsole\n)R(", command, "e"); },
             "code.InteractiveConsole"},
        Trap{"SETITEMS", [](const auto& command) { return opcode("cos\n_Environ\n)R(", command, "Nu"); }, "os._Environ"},
        Trap{"BINPERSID", [](const auto& command) { return opcode("cos\nsystem\n", command, "\x85RQ"); }, "os.system"},
        Trap{"memo", [](const auto& command) { return opcode("cos\nsystem\nr\xFF\xFF\0\0\x30j\xFF\xFF\0\0"s, command, "\x85R"); },
             "os.system"},
        Trap{"eval", [](const auto& command) { return opcode("cbuiltins\neval\n", command, "\x85R"); }, "builtins.eval"},
        Trap{"getattr",
             [](const auto& command) {
               return opcode("cbuiltins\ngetattr\n(cbuiltins\n__import__\n" + text("os") + "\x85R" + text("system") + "tR",
                             command, "\x85R");
             },
             "builtins.getattr, builtins.__import__"},
        Trap{"a_function_of_torch", [](const auto& command) { return opcode("ctorch.hub\nload\n", command, "\x85R"); },
             "torch.hub.load"}),
    [](const auto& trap) { return std::string(trap.param.name); });

// By these nothing is named that could be reported, or it is named by a number.
class NamelessTrap : public FileTest {};

TEST_F(NamelessTrap, PersistentIdsOfTextAreData) {
  const auto read = open(write(torch_builder::archive(dict({{"w", kTensor}, {"trap", "Pos.system('exit')\n"}})).bytes(), "x"));
  EXPECT_EQ(read->manifest().tensors.size(), 1U);
}

TEST_F(NamelessTrap, ExtensionCodesAreRefused) {
  for (const auto& code : {"\x82\1"s, "\x83\1\1"s, "\x84\1\1\1\1"s})
    EXPECT_THAT(open_error(write(torch_builder::archive(dict({{"w", kTensor}, {"trap", code + ")R"}})).bytes(), "x")),
                HasSubstr("names code by a number that only its writer's copyreg registry knows"));
}

}  // namespace
}  // namespace taskvec::formats
