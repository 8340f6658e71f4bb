"""Tracked text keeps to the project, macros stay few, and skips say why."""

from __future__ import annotations

import pytest

from lint import words
from lint.source import project_files

RULES = [words.forbidden, words.too_many_macros, words.silent_skips]


@pytest.mark.parametrize("rule", RULES)
def test_project_keeps_the_rule(rule):
    assert rule(project_files()) == []


@pytest.mark.parametrize(
    "text",
    [
        "https://" + "py" + "pi.org/simple",
        "files." + "python" + "hosted.org",
        "see /" + "work/main/x",
        "cd '/" + "home/someone'",
        "written by Cl" + "aude",
        "in this " + "session",
    ],
)
def test_forbidden_text_is_found(text):
    assert len(words.forbidden({"README.md": f"fine\n{text}\n"})) == 1


@pytest.mark.parametrize("text", ["/usr/local/cuda/bin", "tests/home/x", "from PyPI", "a/work/b"])
def test_ordinary_text_is_fine(text):
    assert words.forbidden({"README.md": text}) == []


def test_a_seventh_macro_is_found():
    text = "".join(f"#define WEFT_M{i} 1\n" for i in range(6))
    assert words.too_many_macros({"core/base/x.h": text}) == []
    cmake = "target_compile_definitions(x PRIVATE WEFT_M6=1)\n"
    assert len(words.too_many_macros({"core/base/x.h": text, "CMakeLists.txt": cmake})) == 1


def test_a_macro_of_another_name_is_found():
    assert len(words.too_many_macros({"core/base/x.h": "#define CHECK(x) x\n"})) == 1


@pytest.mark.parametrize(
    "text",
    [
        "pytest.skip()",
        "pytest.skip('')",
        "@pytest.mark.skip\ndef test_f(): pass",
        "@pytest.mark.skipif(True)\ndef test_f(): pass",
        "@pytest.mark.xfail\ndef test_f(): pass",
        "torch = pytest.importorskip('torch')",
    ],
)
def test_a_silent_skip_is_found(text):
    assert len(words.silent_skips({"tests/x.py": text})) == 1


def test_a_skipped_cpp_test_is_found():
    text = 'TEST_CASE("x" * doctest::skip()) {}\n'
    assert len(words.silent_skips({"tests/core/x.cc": text})) == 1


def test_skips_with_reasons_are_fine():
    text = (
        "pytest.skip('no GPU')\npytest.importorskip('torch', reason='optional')\npytest.skip(why)\n"
    )
    assert words.silent_skips({"tests/x.py": text}) == []
