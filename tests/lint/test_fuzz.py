"""`make fuzz` runs every target, and says what it cannot build."""

from __future__ import annotations

import re

from fuzz import build
from lint.source import ROOT

FUZZ = ROOT / "tests" / "fuzz"


def targets() -> set[str]:
    """What libFuzzer can be started with, by the file's name."""
    sources = [*FUZZ.glob("*.py"), *FUZZ.glob("*.cc")]
    entry = re.compile(r"^ +atheris\.Fuzz\(\)|^extern \"C\" int LLVMFuzzer", re.MULTILINE)
    return {path.stem for path in sources if entry.search(path.read_text())}


def test_every_target_is_run_and_has_a_corpus():
    makefile = (ROOT / "Makefile").read_text()
    (names,) = re.findall(r"^FUZZ \?= (.*)", makefile, re.MULTILINE)
    assert set(names.split()) == targets() == {"topology", "trace", "dlpack", "config"}
    for name in targets():
        assert f"\nfuzz-{name}:" in makefile
        assert len(list((FUZZ / "corpus" / name).iterdir())) > 5


def test_without_clang_it_is_an_error_that_says_what_was_not_built(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert build.main("build/nowhere") == 2
    assert "dlpack, config) were not built" in capsys.readouterr().err
