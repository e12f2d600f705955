"""Markdown of models on the page: rendered, and harmless whatever it says."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt

from app.labelling import markup

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](https://evil.example/pixel.png)",
    "<svg/onload=alert(1)>",
    '[x](https://a.example "&quot; onclick=&quot;alert(1)")',
    "<https://a.example/<b onmouseover=alert(1)>>",
    "<style>body{display:none}</style>",
    "<form action=https://evil.example><input name=password></form>",
    "| a |\n|:-:|\n| <iframe src=//evil.example> |",
)


def harmless(html: str | None) -> None:
    """Nothing in it runs, loads, or says what it should not."""
    page = BeautifulSoup(html or "", "html.parser")
    allowed = {"p", "br", "a", "table", "thead", "tbody", "tr", "th", "td", "em", "code"}
    assert {tag.name for tag in page.find_all(True)} <= allowed
    for tag in page.find_all(True):
        assert set(tag.attrs) <= {"href", "title", "rel", "target", "class", "tabindex"}
        assert not tag.get("href", "https:").lower().startswith(("javascript", "data"))


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and `code`", "<p><strong>bold</strong> and <code>code</code></p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
        ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>"),
        ("# Title", '<p class="heading-1">Title</p>'),
        ("    four spaces", "<p>four spaces</p>"),
        ("| a |\n|---|\n| 1 |", '<table tabindex="0">'),
        ("```\nwide\n```", '<pre tabindex="0">'),
        ("", ""),
    ],
)
def test_markdown_is_rendered(text: str, html: str) -> None:
    rendered = markup.rendered(text)
    assert rendered is not None
    assert rendered.strip().startswith(html)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_text_runs_or_loads(text: str) -> None:
    harmless(markup.rendered(text))


@pytest.mark.parametrize("text", HOSTILE)
def test_the_allow_list_alone_lets_nothing_through(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the parser ever take a text's own HTML, images and links of any kind."""
    credulous = MarkdownIt("commonmark", {"html": True}).enable("table")
    credulous.validateLink = lambda url: True  # type: ignore[method-assign]
    assert BeautifulSoup(credulous.render(HOSTILE[0]), "html.parser").script is not None
    monkeypatch.setattr(markup, "_parser", lambda: credulous)
    harmless(markup.rendered(text))


def test_a_link_tells_its_target_nothing_and_opens_beside() -> None:
    link = BeautifulSoup(markup.rendered("[x](https://a.example)") or "", "html.parser").a
    assert link is not None
    assert link["rel"] == ["noopener", "noreferrer", "nofollow"]
    assert link["target"] == "_blank"


def test_a_very_long_text_is_left_as_it_is() -> None:
    assert markup.rendered("x" * (markup.LONGEST + 1)) is None


def test_deep_nesting_is_no_bomb() -> None:
    assert markup.rendered(">" * 20_000) is not None
    assert markup.rendered("*a " * 10_000) is not None
    assert markup.rendered("[" * 20_000) is not None


def test_a_conversation_is_rendered_turn_by_turn() -> None:
    prompt = [{"role": "user", "content": "*Hi*"}, {"role": "assistant", "content": "Yes?"}]
    html = markup.claim_html(prompt, "a", "b")
    assert html["prompt"] == ["<p><em>Hi</em></p>\n", "<p>Yes?</p>\n"]
    assert markup.claim_html("Hi", "a", "b")["prompt"] == ["<p>Hi</p>\n"]
