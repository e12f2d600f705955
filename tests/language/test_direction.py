"""The style sheets say start and end, so that a page turns with the direction of its language."""

from __future__ import annotations

import re

import pytest

from app.web import STATIC

PHYSICAL = re.compile(
    r"(?<![\w-])(?:(?:margin|padding|border)-(?:left|right)|(?:left|right)\s*:"
    r"|text-align:\s*(?:left|right)|float:\s*(?:left|right))[^;}]*"
)
MEANT = {
    "left: 50%",  # in the middle, from either side
    "text-align: left",  # code, which is written from the left in every language
}


@pytest.mark.parametrize("sheet", sorted(STATIC.rglob("*.css")), ids=lambda path: path.name)
def test_no_style_sheet_speaks_of_left_and_right(sheet) -> None:
    rules = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.S)
    found = [one.group().strip() for one in PHYSICAL.finditer(rules)]
    assert [one for one in found if one not in MEANT] == []


def test_a_physical_side_is_seen() -> None:
    rule = ".x { left: 3px; margin-left: 2px; text-align: right; inset-inline-start: 0 }"
    assert len(PHYSICAL.findall(rule)) == 3
