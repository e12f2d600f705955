"""Every page in a language that says every text in brackets: what stands outside is no text."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from bs4 import BeautifulSoup, NavigableString, Tag

from app import language
from tests.pages.conftest import SECRET_NAME, Browser, Cast
from tests.security.rules import RULES

SHOWN = ("title", "aria-label", "placeholder", "alt")
SAID = re.compile(r"⟦[^⟦⟧]*⟧")
DATA = re.compile(
    r"Replies <b>of the harbour</b> & co|\b(Admin|Owner|Annotator|Stranger)\b(?!:)|tiny"
    r"|\S+@\S+|[0-9a-f]{8}-[0-9a-f-]{27}|adpo_\S*|\b[AB]\d\b|Why is the sea salty\?"
    r"|<img src=x onerror=alert\(1\)>|<script>alert\('prompt'\)</script>|somewhere"
    r"|ActiveDPO|REST|API|JSON|CSV|DPO|LoRA|π₀|UTC|Python|Postgres|Redis|from source"
    r"|English|Deutsch|trl|jsonl|csv|parquet|gpu|default|kB|MB|GB|TB|\bh\b|min\b"
)


class _Brackets:
    """Translations that put every text in brackets; what was put in already stays once."""

    def ugettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def upgettext(self, _context: str, message: str) -> str:
        return f"⟦{message}⟧"

    def ungettext(self, one: str, many: str, num: int) -> str:
        return f"⟦{one if num == 1 else many}⟧"

    def unpgettext(self, _context: str, one: str, many: str, num: int) -> str:
        return self.ungettext(one, many, num)


@pytest.fixture
def in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    """German, but for its texts."""
    real = language._translations
    monkeypatch.setattr(
        language, "_translations", lambda code: _Brackets() if code == "de" else real(code)
    )


def outside(html: str) -> list[str]:
    """What a page shows that is said by no catalogue, without data, code and English by intent."""
    page = BeautifulSoup(html, "html.parser")
    found = []
    for text in _texts(page):
        while SAID.search(text):
            text = SAID.sub(" ", text)
        rest = DATA.sub(" ", text)
        if re.search(r"[^\W\d_]{2,}", rest):
            found.append(" ".join(text.split()))
    return found


def _texts(page: BeautifulSoup) -> Iterator[str]:
    for node in page.find_all(string=True):
        if type(node) is NavigableString and not _is_data(node.parent):
            yield str(node)
    for tag in page.find_all(True):
        if not _is_data(tag) and tag.name != "time":
            yield from (str(tag[name]) for name in SHOWN if tag.has_attr(name))


def _is_data(tag: Tag | None) -> bool:
    while tag is not None:
        if tag.name in ("code", "kbd", "pre", "script", "style", "time", "textarea", "bdi"):
            return True
        if tag.get("lang") == "en" or tag.get("dir") == "auto" or "mono" in tag.get("class", []):
            return True
        tag = tag.parent
    return False


def test_no_page_says_what_no_catalogue_has(
    cast: Cast, done_round: uuid.UUID, policy_id: uuid.UUID, in_brackets: None
) -> None:
    ids = {
        "project_id": cast.project_id,
        "round_id": done_round,
        "policy_id": policy_id,
        "person_id": cast.people["annotator"],
    }
    cast.admin.headers["Accept-Language"] = "de"
    bare: dict[str, list[str]] = {}
    seen = 0
    for route in _pages():
        if not {*re.findall(r"{(\w+)}", route)} <= {*ids}:
            continue  # axe's test has every id, and looks at the language of each page
        answer = _got(cast.admin, route.format(**ids))
        if answer is None:
            continue
        seen += 1
        if left := outside(answer):
            bare[route] = left
    assert bare == {}
    assert seen > 25


def _pages() -> list[str]:
    found = [name[4:] for name, rule in RULES.items() if name[:4] == "GET " and not rule.endless]
    return sorted(path for path in found if not path.startswith("/api/"))


def _got(browser: Browser, path: str) -> str | None:
    answer: Any = browser.get(path)
    kind = answer.headers.get("Content-Type", "")
    return answer.text if answer.status_code == 200 and kind.startswith("text/html") else None


def test_a_text_outside_is_seen() -> None:
    assert outside("<p>⟦Said ⟦within⟧⟧ and not</p>") == ["and not"]
    assert outside(f"<p title='bare'>⟦x⟧ {SECRET_NAME}</p>".replace("<b>", "").replace("</b>", ""))
    assert outside("<code>make demo</code><p lang=en>a reason</p><p>1.234 kB</p>") == []
