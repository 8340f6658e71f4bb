"""Files and functions stay short, and the scanner sees the functions that there are."""

from __future__ import annotations

from lint import size
from lint.source import project_files


def test_no_file_is_too_long():
    assert size.long_files(project_files()) == []


def test_files_are_short_as_a_rule(capsys):
    median, p90 = size.spread(project_files())
    with capsys.disabled():
        print(f"[file length: median {median}, p90 {p90}]", end=" ")
    assert median <= size.MEDIAN
    assert p90 <= size.P90


def test_no_function_is_too_long():
    assert size.long_functions(project_files()) == []


def test_long_files_are_found():
    files = {"core/base/x.cc": "\n" * 501, "tests/core/x.cc": "\n" * 800, "tests/y.py": "\n" * 801}
    assert [line.split(":")[0] for line in size.long_files(files)] == [
        "core/base/x.cc",
        "tests/y.py",
    ]


def test_generated_files_are_exempt():
    assert (
        size.long_files({"python/weft/_weft.pyi": "\n" * 900, "topology/presets/x.h": "\n" * 900})
        == []
    )


def test_spread_counts_no_tests():
    files = {f"core/base/{i}.h": "\n" * i for i in range(1, 11)} | {"tests/x.py": "\n" * 700}
    assert size.spread(files) == (6, 10)


BODY = "  work();\n" * 60
LONG = {
    "plain": "int f(int a) {\n%s}\n",
    "method": "namespace a {\nclass C : public B {\n void f() const override {\n%s}\n};\n}\n",
    "constructor": "C::C(int a)\n    : a_{a}, b_(std::move(a)), c_{} {\n%s}\n",
    "template": "template <class T, class = E<1>>\nT f(T t) requires true {\n%s}\n",
    "test": 'TEST_SUITE("s") {\nTEST_CASE("a { b") {\n%s}\n}\n',
    "lambda": "auto f = [](int a) {\n%s};\n",
    "kernel": "__global__ void __launch_bounds__(128) k(const __grid_constant__ P p) {\n%s}\n",
}


def test_long_cpp_functions_are_found():
    for name, text in LONG.items():
        files = {"core/base/x.cc": text % BODY}
        assert len(size.long_functions(files)) == 1, name


def test_sixty_lines_are_allowed():
    files = {"core/base/x.cc": "int f() {\n" + "  work();\n" * 58 + "}\n"}
    assert size.long_functions(files) == []


def test_names_and_lines_of_cpp_functions():
    text = """#define X {
namespace weft {
// a brace in a comment {
struct S { int x{0}; std::array<int, 2> y = {1, 2}; char c = '{'; int get() const { return x; } };
int g(int a = 1'000) {
  const char* s = "}";
  if (a) { return 1; }
  return 2;
}
S::S() : x{1}, y{} {
}
}  // namespace weft
"""
    assert size.cpp_functions(text) == [("get", 4, 1), ("g", 5, 5), ("S::S", 10, 2)]


def test_long_python_functions_are_found_and_docstrings_do_not_count():
    long = "def f():\n" + "    work()\n" * 60
    documented = 'def f():\n    """Text.\n' + "    more\n" * 60 + '    """\n    work()\n'
    assert len(size.long_functions({"python/weft/x.py": long})) == 1
    assert size.long_functions({"python/weft/x.py": documented}) == []
