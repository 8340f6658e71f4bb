"""Sync tags are there, well formed and paired, and the rules catch what is not."""

from __future__ import annotations

import pytest

from lint import sync
from lint.source import project_files

RULES = [sync.untagged, sync.unpaired, sync.malformed, sync.host_fences]
PAIR = """
void f() {
  // sync(a-b): release - publishes x; pairs with acquire in g
  x.store(1, std::memory_order_release);
}
int g() {
  return x.load(std::memory_order_acquire);  // sync(a-b): acquire - x; pairs with release in f
}
"""


@pytest.mark.parametrize("rule", RULES)
def test_project_keeps_the_rule(rule):
    assert rule(project_files()) == []


@pytest.mark.parametrize("rule", RULES)
def test_a_tagged_pair_is_fine(rule):
    assert rule({"fabric/x.cc": PAIR}) == []


def test_an_ordered_access_without_a_tag_is_found():
    lines = PAIR.splitlines(keepends=True)
    for i, line in enumerate(lines):
        if "sync(" in line:
            code, _, _ = line.partition("//")
            text = "".join([*lines[:i], code.rstrip() + "\n", *lines[i + 1 :]])
            assert len(sync.untagged({"fabric/x.cc": text})) == 1


def test_a_tag_of_another_statement_does_not_count():
    text = """
  // sync(a): release - x; pairs with b
  x.store(1, r);
  y.store(1, std::memory_order_release);
  // sync(a): acquire - x; pairs with b
"""
    assert len(sync.untagged({"fabric/x.cc": text})) == 1


def test_a_statement_of_several_lines_has_its_tag_above():
    text = """
  // sync(a): acq_rel - publishes x and sees y; pairs with
  // itself
  if (x.compare_exchange_strong(was, is,
                                std::memory_order_acq_rel,
                                std::memory_order_acquire)) {
"""
    for rule in RULES:
        assert rule({"fabric/x.cc": text}) == []


def test_an_order_in_a_variable_has_its_tag_at_the_access():
    text = """
  const auto order = test ? std::memory_order_relaxed
                          : std::memory_order_release;
  // sync(a): release - x; pairs with acquire in b
  x.store(1, order);
"""
    assert sync.untagged({"fabric/x.cc": text}) == []
    assert len(sync.untagged({"fabric/x.cc": text.replace("// sync(a)", "// a")})) == 1


def test_relaxed_accesses_need_no_tag():
    assert sync.untagged({"fabric/x.cc": "x.load(std::memory_order_relaxed);\n"}) == []


def test_a_tag_without_its_other_side_is_found():
    one = PAIR.replace("sync(a-b): acquire", "sync(c): acquire")
    assert len(sync.unpaired({"fabric/x.cc": one})) == 2


def test_sides_may_lie_in_different_files():
    f, g = PAIR.split("int g")
    assert sync.unpaired({"fabric/x.cc": f, "fabric/cuda/x.cuh": "int g" + g}) == []


def test_a_tag_must_say_what_it_pairs_with():
    text = PAIR.replace("; pairs with acquire in g", "")
    assert len(sync.unpaired({"fabric/x.cc": text})) == 1


def test_a_misspelt_tag_is_found():
    text = PAIR.replace("sync(a-b): release", "sync(a-b): publish")
    assert len(sync.malformed({"fabric/x.cc": text})) == 1


def test_a_fence_in_host_code_is_found():
    text = "std::atomic_thread_fence(std::memory_order_relaxed);\n"
    assert len(sync.host_fences({"fabric/x.cc": text})) == 1
    assert sync.host_fences({"fabric/cuda/x.cuh": text}) == []
