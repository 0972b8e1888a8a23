"""Templates of any package, and JSON."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest

from virtassay.report.pages import STYLESHEET, as_json, page


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of somebody else with two templates."""
    folder = tmp_path / "mylab_pages"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "own.j2").write_text('{% include "report/report.css" %}\n{{ text }} {{ x|number }}')
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder.name
    sys.modules.pop(folder.name, None)


def test_a_template_of_any_package_takes_the_shared_style_and_escapes_text(package: str):
    text = page(package, "own.j2", {"text": "<b>", "x": -0.5})
    assert text.startswith(STYLESHEET.read_text(encoding="utf-8").rstrip()) and text.endswith("&lt;b&gt; −0.50")


def test_a_name_that_the_content_lacks_is_an_error(package: str):
    with pytest.raises(jinja2.UndefinedError, match="text"):
        page(package, "own.j2", {"x": 1})


def test_json_holds_no_nan():
    assert as_json({"µ": 1}) == '{\n "µ": 1\n}'
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))
