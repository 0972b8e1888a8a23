"""The report in Markdown."""

import re
from dataclasses import replace

from tests.evaluation.report.toy_judgement import EVIL, TREATMENTS, judgement
from virtassay.evaluation.report.markdown import markdown


def test_markdown_says_the_same_and_nothing_from_the_index_is_markup(tmp_path):
    given = judgement(tmp_path, [*TREATMENTS, ("a | b*c*", None, "[x](y)")])
    given = replace(given, provenance={EVIL: "`ls`\n# head"})
    text = markdown(given)
    assert text.startswith("# PASS: generated against real") and all(s in text for s in given.verdict["sentences"])
    assert "0.70 (0.60 to 0.80), floor 0.20, ceiling 0.90" in text and "\\<b\\>x\\</b\\> 3 µM" in text
    assert not re.search(r"(?<!\\)[<>*`\[]", text) and len(re.findall(r"^#+ ", text, re.M)) == 7
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    columns = [{len(re.findall(r"(?<!\\)\|", line)) for line in table} for table in tables]
    assert len(tables) == 3 and all(len(widths) == 1 for widths in columns)
