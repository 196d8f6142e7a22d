#include "taskvec/formats/pytorch/pickle.h"

#include "taskvec/core/error.h"
#include "tests/message_of.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace taskvec::formats {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::HasSubstr;

/// A pickle whose texts live in a string of its own.
struct Read {
  std::string bytes;
  Pickle pickle;
  explicit Read(std::string text) : bytes(std::move(text)), pickle(read_pickle(std::as_bytes(std::span(bytes)), "x.pkl")) {}
};

std::string error_of(const std::string& bytes) {
  return message_of([&] { read_pickle(std::as_bytes(std::span(bytes)), "x.pkl"); });
}

/// A value as text, like Python's repr; deep enough for what the tests hold.
std::string repr(const Pickle& pickle, PickleId id) {
  const auto& value = pickle[id];
  const auto list = [&](const std::vector<PickleId>& items) {
    std::string out;
    for (const PickleId item : items) out += (out.empty() ? "" : ", ") + repr(pickle, item);
    return out;
  };
  switch (value.kind) {
    case PickleKind::None: return "None";
    case PickleKind::Bool: return value.integer ? "True" : "False";
    case PickleKind::Int: return std::to_string(value.integer);
    case PickleKind::BigInt: return fmt::format("big({})", value.text.size());
    case PickleKind::Float: return fmt::format("{}", value.real);
    case PickleKind::String: return fmt::format("'{}'", value.text);
    case PickleKind::Bytes: return fmt::format("b'{}'", value.text);
    case PickleKind::List: return "[" + list(value.items) + "]";
    case PickleKind::Tuple: return "(" + list(value.items) + ")";
    case PickleKind::Dict: return "{" + list(value.items) + "}";
    case PickleKind::Set: return "set(" + list(value.items) + ")";
    case PickleKind::Global: return "<" + std::string(value.text) + ">";
    case PickleKind::PersistentId: return "persistent(" + list(value.items) + ")";
    case PickleKind::Call: break;
  }
  const auto& call = pickle.calls[static_cast<size_t>(value.integer)];
  std::string out = repr(pickle, call.callable) + repr(pickle, call.args);
  if (call.kwargs != kNoValue) out += " kwargs " + repr(pickle, call.kwargs);
  if (call.state != kNoValue) out += " state " + repr(pickle, call.state);
  if (!call.appended.empty()) out += " appended " + list(call.appended);
  if (!value.items.empty()) out += " items " + list(value.items);
  return out;
}

std::string repr(const std::string& bytes) {
  const Read read(bytes);
  EXPECT_EQ(read.pickle.size, bytes.size());
  return repr(read.pickle, read.pickle.root);
}

struct Data {
  std::string bytes;
  const char* repr;
};

class PickleDataTest : public testing::TestWithParam<Data> {};

TEST_P(PickleDataTest, IsRead) { EXPECT_EQ(repr(GetParam().bytes), GetParam().repr); }

INSTANTIATE_TEST_SUITE_P(
    Opcodes, PickleDataTest,
    testing::Values(
        Data{"N.", "None"}, Data{"\x88.", "True"}, Data{"\x89.", "False"}, Data{"I01\n.", "True"}, Data{"I00\n.", "False"},
        Data{"I-42\n.", "-42"}, Data{"L9223372036854775807L\n.", "9223372036854775807"}, Data{"J\xfe\xff\xff\xff.", "-2"},
        Data{"K\xff.", "255"}, Data{"M\xff\xff.", "65535"}, Data{"\x8a\x00."s, "0"}, Data{"\x8a\x01\xff.", "-1"},
        Data{"\x8a\x02\x00\x80."s, "-32768"}, Data{"\x8b\x02\x00\x00\x00\xff\x00."s, "255"},
        Data{"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "big(10)"}, Data{"F1.5\n.", "1.5"}, Data{"F-inf\n.", "-inf"},
        Data{"G\x3f\xf8\0\0\0\0\0\0."s, "1.5"}, Data{"S'a\\x41\\n\\101'\n.", "'aA\nA'"}, Data{"T\x02\0\0\0hi."s, "'hi'"},
        Data{"U\x02hi.", "'hi'"}, Data{"V\\u00e9\\U0001f600\xe9\n.", "'é😀é'"}, Data{"X\x02\0\0\0hi."s, "'hi'"},
        Data{"\x8c\x02hi.", "'hi'"}, Data{"\x8d\x02\0\0\0\0\0\0\0hi."s, "'hi'"}, Data{"B\x02\0\0\0hi."s, "b'hi'"},
        Data{"C\x02hi.", "b'hi'"}, Data{"\x8e\x02\0\0\0\0\0\0\0hi."s, "b'hi'"}, Data{"\x96\x02\0\0\0\0\0\0\0hi."s, "b'hi'"},
        Data{"].", "[]"}, Data{"(K\1K\2l.", "[1, 2]"}, Data{"]K\1a(K\2K\3e.", "[1, 2, 3]"}, Data{").", "()"},
        Data{"(K\1K\2t.", "(1, 2)"}, Data{"K\1\x85.", "(1)"}, Data{"K\1K\2\x86.", "(1, 2)"}, Data{"K\1K\2K\3\x87.", "(1, 2, 3)"},
        Data{"}.", "{}"}, Data{"(K\1K\2d.", "{1, 2}"}, Data{"}K\1K\2s(K\3K\4u.", "{1, 2, 3, 4}"}, Data{"\x8f(K\1\x90.", "set(1)"},
        Data{"(K\1\x91.", "set(1)"}, Data{"K\1K\2\x30.", "1"}, Data{"K\1(K\2K\3\x31.", "1"}, Data{"K\1(\x30.", "1"},
        Data{"K\1\x32\x86.", "(1, 1)"}, Data{"K\1p7\nK\2g7\n\x87.", "(1, 2, 1)"}, Data{"K\1q\7K\2h\7\x87.", "(1, 2, 1)"},
        Data{"K\1r\7\0\0\0K\2j\7\0\0\0\x87."s, "(1, 2, 1)"}, Data{"K\1\x94K\2\x94h\1h\0\x86\x86\x86."s, "(1, (2, (2, 1)))"},
        Data{"\x80\5\x95\2\0\0\0\0\0\0\0K\1."s, "1"}, Data{"Pseven\n.", "persistent('seven')"}, Data{"K\1Q.", "persistent(1)"}));

// What would run a command, once per opcode that can name or call something. All that comes of it is a tree that tells.
class BoobyTrapTest : public testing::TestWithParam<Data> {};

TEST_P(BoobyTrapTest, IsOnlyDescribed) { EXPECT_EQ(repr(GetParam().bytes), GetParam().repr); }

INSTANTIATE_TEST_SUITE_P(
    Opcodes, BoobyTrapTest,
    testing::Values(Data{"cos\nsystem\n(U\4exittR.", "<os.system>('exit')"},                  // GLOBAL, REDUCE
                    Data{"\x8c\2os\x8c\6system\x93\x8c\4exit\x85R.", "<os.system>('exit')"},  // STACK_GLOBAL
                    Data{"(U\4exitios\nsystem\n.", "<os.system>('exit')"},                    // INST
                    Data{"(cos\nsystem\nU\4exito.", "<os.system>('exit')"},                   // OBJ
                    Data{"cbuiltins\neval\nU\4exit\x85\x81.", "<builtins.eval>('exit')"},     // NEWOBJ
                    Data{"cbuiltins\neval\nU\4exit\x85}U\1kK\1s\x92.", "<builtins.eval>('exit') kwargs {'k', 1}"},  // NEWOBJ_EX
                    Data{"ca\nA\n)\x81}U\1xcos\nsystem\nsb.", "<a.A>() state {'x', <os.system>}"},                  // BUILD
                    Data{"ca\nA\n)R(U\1xe.", "<a.A>() appended 'x'"},                 // APPENDS: a method's call
                    Data{"ca\nA\n)RU\1xa.", "<a.A>() appended 'x'"},                  // APPEND
                    Data{"ca\nA\n)R(U\1xK\1u.", "<a.A>() items 'x', 1"},              // SETITEMS: __setitem__
                    Data{"ca\nA\n)RU\1xK\1s.", "<a.A>() items 'x', 1"},               // SETITEM
                    Data{"ca\nA\n)R(U\1x\x90.", "<a.A>() appended 'x'"},              // ADDITEMS: add
                    Data{"cos\nsystem\nQ.", "persistent(<os.system>)"},               // BINPERSID
                    Data{"Pos.system\n.", "persistent('os.system')"},                 // PERSID
                    Data{"cbuiltins\ngetattr\n(cos\n_wrap\nU\5closetRU\4exit\x85R.",  // what is made is called
                         "<builtins.getattr>(<os._wrap>, 'close')('exit')"}));

TEST(PickleTest, EveryGlobalIsListedOnceInOrder) {
  const Read read("cos\nsystem\n0\x8c\2os\x8c\6system\x93\x30(ibuiltins\neval\n0ca.b\nC\n.");
  std::vector<std::string> names;
  for (const PickleId id : read.pickle.globals) names.emplace_back(read.pickle[id].text);
  EXPECT_THAT(names, ElementsAre("os.system", "builtins.eval", "a.b.C"));
}

TEST(PickleTest, AListMayContainItself) {
  const Read read("]q\0h\0a."s);
  EXPECT_EQ(read.pickle[read.pickle.root].items, std::vector<PickleId>{read.pickle.root});
}

TEST(PickleTest, WhatFollowsIsNotRead) { EXPECT_EQ(Read("N.garbage").pickle.size, 2U); }

TEST(PickleTest, AMillionLevelsNeedNoStack) {
  const size_t depth = 1'000'000;
  const std::string tuples = "N" + std::string(depth, '\x85') + ".",
                    lists = std::string(depth, ']') + std::string(depth - 1, 'a') + ".",
                    marks = std::string(depth, '(') + std::string(depth, 't') + ".",
                    objects = "(" + std::string(depth, '(') + "ca\nb\n" + std::string(depth, 'o') + ".";
  for (const auto* text : {&tuples, &lists, &marks, &objects}) {
    const Read read(*text);
    EXPECT_EQ(read.pickle.size, text->size());
  }
}

TEST(PickleTest, EveryTruncationIsAnError) {
  const std::string whole =
      "\x80\4\x95\2\0\0\0\0\0\0\0(I1\nL2L\nF1.5\nS'a'"
      "\nVb\nJ\1\0\0\0M\1\0G\0\0\0\0\0\0\0\0T\1\0\0\0xX\1\0\0\0xB\1\0\0\0xU\1x\x8a\1\1"
      "\x8b\1\0\0\0\1\x8c\1x\x8d\1\0\0\0\0\0\0\0xC\1x\x8e\1\0\0\0\0\0\0\0x\x96\1\0\0\0\0\0\0\0xp0\ng0\nq\1h\1r\2\0\0\0j\2\0\0\0"
      "ca\nb\n)R}b(ia\nb\nPx\nt."s;
  EXPECT_EQ(error_of(whole), "no error");
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_THAT(error_of(whole.substr(0, size)), HasSubstr("it may be truncated")) << size;
}

struct Bad {
  std::string bytes;
  const char* message;
};

class BadPickleTest : public testing::TestWithParam<Bad> {};

TEST_P(BadPickleTest, IsRefusedWithTheRule) {
  EXPECT_THAT(error_of(GetParam().bytes), HasSubstr(std::string("x.pkl: at byte ")));
  EXPECT_THAT(error_of(GetParam().bytes), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Rules, BadPickleTest,
    testing::Values(
        Bad{"\xff", "no pickle opcode is 0xff"}, Bad{"\x80\6N.", "pickle protocol 6; taskvec reads 0 to 5"},
        Bad{"\x82\1.", "EXT1 names code by a number"}, Bad{"\x83\1\1.", "EXT2 names"}, Bad{"\x84\1\1\1\1.", "EXT4 names"},
        Bad{"\x97.", "NEXT_BUFFER takes bytes that were kept outside"}, Bad{"N\x98.", "READONLY_BUFFER takes bytes"},
        Bad{".", "from an empty stack"}, Bad{"N(a.", "takes 1 values from a smaller stack"}, Bad{"t.", "was never begun"},
        Bad{"(Nd.", "a key without a value"}, Bad{"](Nu.", "a key without a value"}, Bad{"]NNs.", "neither dict nor object"},
        Bad{"}Na.", "neither list nor object"}, Bad{"]Nb.", "gives a state to what is no new object"},
        Bad{"ca\nb\n)R}b}b.", "gives a state to what is no new object"}, Bad{"(o.", "an object without a class"},
        Bad{"NN\x93.", "a global whose module and name are no strings"},
        Bad{"ca\n\n.", "'a.' is no name that Python could import"}, Bad{"ca b\nc\n.", "'a b.c' is no name"},
        Bad{"\x8c\1\n\x8c\1b\x93.", "'?.b' is no name"},
        Bad{"c" + std::string(2000, 'a') + "\nb\n.", "is no name that Python could import"},
        Bad{"\x8b\xff\xff\xff\x7f.", "an integer of 2147483647 bytes; at most 1024"},
        Bad{"\x8b\xff\xff\xff\xff.", "an integer of 4294967295 bytes; at most 1024"},
        Bad{"L" + std::string(100'000, '9') + "\n.", "is no integer of 64 bits"}, Bad{"Ix\n.", "'x' is no integer"},
        Bad{"Fx\n.", "'x' is no number"}, Bad{"S'a\n.", "wrong quotes or escapes"},
        Bad{"Vabc\\u12\n.", "wrong quotes or escapes"},
        Bad{"Nr\xff\xff\xff\xff.", "place 4294967295 in the memo; at most 16777216"},
        Bad{"Np99999999999999999999\n.", "is no place in the memo"}, Bad{"h\1.", "takes what was never put at 1 in the memo"},
        Bad{"X\xff\xff\xff\xff.", "4294967295 bytes should follow, but only 1 are left"},
        Bad{"\x8d\0\0\0\0\0\0\0\x80."s, "9223372036854775808 bytes should follow, but only 1 are left"},
        Bad{"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "a frame of 18446744073709551615 bytes, but only 2 are left"}));

}  // namespace
}  // namespace taskvec::formats
