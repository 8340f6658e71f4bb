"""Every variable is documented, and nothing reads one that is not in the table."""

from __future__ import annotations

import pytest

from lint import config_page
from lint.source import project_files

ROW = """WEFT_CONFIG(seed, "WEFT_SEED", integer, 0, at_least(0), internal,
            "Seed of the "
            "thing.")
"""


def test_the_page_is_current():
    files = project_files()
    assert files[config_page.PAGE] == config_page.page(files[config_page.TABLE]), "run `make docs`"


def test_rows_are_finished():
    assert config_page.unfinished_rows(project_files()) == []


def test_only_the_table_names_variables():
    assert config_page.stray_variables(project_files()) == []


def test_the_build_variables_are_those_of_the_parser():
    assert config_page.build_names(project_files()) == set(config_page.BUILD)


def test_a_row_is_read():
    (row,) = config_page.rows(ROW)
    assert row == config_page.Row(
        "seed", "WEFT_SEED", "integer", "0", "at_least(0)", "internal", "Seed of the thing."
    )
    assert "| `WEFT_SEED` | `0` | an integer of at least 0 | Seed of the thing. |" in (
        config_page.page(ROW)
    )


def test_a_changed_row_makes_the_page_differ():
    assert config_page.page(ROW) != config_page.page(ROW.replace("thing", "other"))


def test_a_row_that_cannot_be_read_is_an_error():
    with pytest.raises(ValueError, match="cannot be read"):
        config_page.rows(ROW.replace("internal,", "internal"))


def test_a_row_without_a_meaning_is_found():
    files = {config_page.TABLE: ROW.replace("Seed of the ", "").replace("thing.", "")}
    assert len(config_page.unfinished_rows(files)) == 1


def test_too_many_user_variables_are_found():
    row = ROW.replace("internal", "user")
    assert config_page.unfinished_rows({config_page.TABLE: row * 12}) == []
    assert len(config_page.unfinished_rows({config_page.TABLE: row * 13})) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("fabric/x.cc", 'const char* s = std::getenv("HOME");'),
        ("python/weft/x.py", 'os.environ.get("WEFT_OTHER")'),
        ("python/weft/x.py", "os.environ['WEFT_OTHER']"),
    ],
)
def test_a_stray_variable_is_found(path, text):
    assert len(config_page.stray_variables({config_page.TABLE: ROW, path: text})) == 1
