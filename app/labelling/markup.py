"""Texts of models as HTML: Markdown rendered, and then cleaned of all that is not on a list.

Two walls: the parser takes no HTML of the text's own, and what it makes passes nh3's allow-list.
Nothing loads from elsewhere (images stay text), and no heading mixes with the page's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from app.language import pgettext

ROLES = {
    "system": pgettext("role in a chat", "System"),
    "user": pgettext("role in a chat", "User"),
    "assistant": pgettext("role in a chat", "Assistant"),
    "tool": pgettext("role in a chat", "Tool"),
}
"""Who speaks a turn of a conversation, as pages say it."""

LONGEST = 50_000
"""Characters beyond which a text is shown as it is: rendering must never keep a pair waiting."""

_TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "p": {"class"}}


@lru_cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
    parser.enable(["table", "strikethrough"])
    # Four spaces before a line are more often a model's layout than its code
    parser.disable(["image", "code", "html_block", "html_inline"])
    return parser


def rendered(text: str) -> str | None:
    """``text`` as safe HTML; None where it is too long to be rendered."""
    if len(text) > LONGEST:
        return None
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.attrs = {"class": f"heading-{token.tag[1:]}"} if token.nesting == 1 else {}
            token.tag = "p"
    return nh3.clean(
        parser.renderer.render(tokens, parser.options, {}),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={
            "a": {"target": "_blank"},
            # what is wide is read sideways by the arrow keys
            "pre": {"tabindex": "0"},
            "table": {"tabindex": "0"},
        },
    )


def claim_html(prompt: Any, left: str, right: str) -> dict[str, Any]:
    """The texts of a claim rendered; the prompt as a list, one for each message (a text: one)."""
    contents = [prompt] if isinstance(prompt, str) else [m["content"] for m in prompt]
    return {
        "prompt": [rendered(content) for content in contents],
        "left": rendered(left),
        "right": rendered(right),
    }


def drawn(prompt: Any, left: str, right: str) -> dict[str, Any]:
    """The texts for templates: ``prompt`` a list of (role, text, HTML), ``sides`` one of (side,
    text, HTML). Templates take the HTML as it is: it passed the allow-list."""
    html = claim_html(prompt, left, right)
    turns = prompt if isinstance(prompt, list) else [{"role": "", "content": prompt}]
    return {
        "prompt": [
            (turn["role"], turn["content"], _safe(text))
            for turn, text in zip(turns, html["prompt"], strict=True)
        ],
        "sides": [("left", left, _safe(html["left"])), ("right", right, _safe(html["right"]))],
    }


def _safe(html: str | None) -> Markup | None:
    return html and Markup(html)  # type: ignore[return-value]  # noqa: S704
