"""No text of a template, and no error that a page may show, escapes the catalogues."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import nodes

from app.web import STATIC, TEMPLATES, environment

ROOT = Path(__file__).parents[2]
PLACE = re.compile("\ue000(\\d+)\ue001")
SPOKEN = {"_", "gettext", "ngettext", "pgettext", "npgettext"}
SHOWN = {"title", "aria-label", "aria-description", "placeholder", "alt", "label"}
AS_IT_IS = {"code", "kbd", "pre", "samp", "script", "style"}
NAMES = re.compile(
    r"\b(ActiveDPO|REST|API|JSON|CSV|DPO|π₀|A|B|Ctrl|Esc|Enter|Python|Redis|&\w+;)\b"
)
OF_ATTRIBUTES = {"body_class", "main_class", "described"}
"""Blocks and macros that stand inside of a tag."""
PROBLEMS = {
    *("Problem", "Unauthorized", "Forbidden", "NotFound", "Conflict", "Gone", "TooLarge"),
    *("Invalid", "TooMany", "Unavailable", "TicketError"),
}


def letters(text: str) -> bool:
    """Whether there is something in a text to translate."""
    return re.search(r"[^\W\d_]{2,}", NAMES.sub("", text)) is not None


def strings_of(node: nodes.Node) -> Iterator[str]:
    """The texts that stand in an expression, without what is spoken, compared or an attribute."""
    named = node.node.name if isinstance(node, nodes.Call) and hasattr(node.node, "name") else ""
    if named in SPOKEN | {"static"}:
        for word in node.kwargs:
            yield from strings_of(word.value)
        return
    if isinstance(node, nodes.Call):
        for inner in node.args:
            yield from (text for text in strings_of(inner) if reads_like_text(text))
        for word in node.kwargs:
            if word.key != "attrs":
                yield from (text for text in strings_of(word.value) if reads_like_text(text))
        return
    if isinstance(node, nodes.Const):
        if isinstance(node.value, str):
            yield node.value
        return
    if isinstance(node, nodes.CondExpr):
        yield from strings_of(node.expr1)
        if node.expr2 is not None:
            yield from strings_of(node.expr2)
        return
    if isinstance(node, nodes.Filter):
        if node.node is not None:
            yield from strings_of(node.node)
        return
    if isinstance(node, nodes.Compare | nodes.Getitem | nodes.Test):
        return
    if isinstance(node, nodes.Dict):
        for pair in node.items:
            yield from strings_of(pair.value)
        return
    for inner in node.iter_child_nodes():
        yield from strings_of(inner)


def reads_like_text(text: str) -> bool:
    """An argument that is a name or a kind is one word in lower case."""
    return " " in text.strip() or text[:1].isupper()


class Page(HTMLParser):
    """Walks a template's HTML, in which every expression is a mark, and collects bare texts."""

    def __init__(self, expressions: list[list[str]]) -> None:
        super().__init__(convert_charrefs=True)
        self.expressions, self.found, self.within = expressions, [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in AS_IT_IS:
            self.within.append(tag)
        for name, value in attrs:
            if name in SHOWN:
                self.look(value or "")

    def handle_endtag(self, tag: str) -> None:
        if self.within and self.within[-1] == tag:
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if not self.within:
            self.look(data)

    def look(self, text: str) -> None:
        """Keep what is bare, of the text and of the expressions in it."""
        bare = [PLACE.sub(" ", text).strip()]
        bare += [said for n in PLACE.findall(text) for said in self.expressions[int(n)]]
        self.found += [one for one in bare if letters(one)]


def bare_texts(source: str) -> list[str]:
    """The texts of a template that stand in no catalogue."""
    pieces: list[str] = []
    expressions: list[list[str]] = []
    assigned: list[str] = []

    def walk(node: nodes.Node) -> None:
        if isinstance(node, nodes.Output):
            for part in node.nodes:
                if isinstance(part, nodes.TemplateData):
                    pieces.append(part.data)
                else:
                    pieces.append(f"\ue000{len(expressions)}\ue001")
                    expressions.append(list(strings_of(part)))
        elif isinstance(node, nodes.Assign):
            assigned.extend(text for text in strings_of(node.node) if reads_like_text(text))
        elif isinstance(node, nodes.For):
            assigned.extend(text for text in strings_of(node.iter) if reads_like_text(text))
            for inner in (*node.body, *node.else_):
                walk(inner)
        elif isinstance(node, nodes.CallBlock):
            assigned.extend(strings_of(node.call))
            for inner in node.body:
                walk(inner)
        elif isinstance(node, nodes.Block | nodes.Macro) and node.name in OF_ATTRIBUTES:
            return
        elif isinstance(node, nodes.Stmt | nodes.Template):
            for inner in node.iter_child_nodes(exclude=("test", "iter", "target", "name")):
                walk(inner)

    walk(environment().parse(source))
    page = Page(expressions)
    page.feed("".join(pieces))
    page.close()
    return page.found + [text for text in assigned if letters(text)]


@pytest.mark.parametrize(
    "path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_every_text_of_a_template_is_in_the_catalogues(path: Path) -> None:
    assert bare_texts(path.read_text()) == [], 'write {{ _("...") }} or {% trans %}'


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("<p>Hello there</p>", ["Hello there"]),
        ('<p title="Hello">{{ _("Hi you") }}</p>', ["Hello"]),
        ('<a class="big one" href="/x y">{{ name }}</a>', []),
        ('{{ "yes" if x else "no" }}', ["yes", "no"]),
        ('<p class="{{ "good" if x else "bad" }}">{% trans %}Well done{% endtrans %}</p>', []),
        (
            '{{ m.field("email", "E-mail", type="email", attrs={"autocomplete": "a b"}) }}',
            ["E-mail"],
        ),
        ('{{ m.field("email", _("E-mail"), _("Hint.")) }}', []),
        (
            '{% call m.empty("Nothing yet") %}<a href="/">Go on</a>{% endcall %}',
            ["Go on", "Nothing yet"],
        ),
        ('{% set words = {"a": "The first"} %}', ["The first"]),
        ('{% for key, word in (("a", "First"),) %}<p>{{ word }}</p>{% endfor %}', ["First"]),
        ("<code>make demo</code> <kbd>Ctrl</kbd> A · ActiveDPO", []),
        ('{% if state == "The end" %}{{ x }}{% endif %}', []),
    ],
)
def test_it_sees_a_text_that_is_bare(source: str, found: list[str]) -> None:
    assert bare_texts(source) == found


def bare_problems(source: str) -> list[int]:
    """Lines that raise an error with a text that no catalogue has."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            text = isinstance(node.args[0], ast.JoinedStr | ast.Constant)
            if node.func.id in PROBLEMS and text:
                found.append(node.lineno)
    return found


def test_it_sees_an_error_that_is_bare() -> None:
    assert bare_problems('raise Invalid("x: no.")\nraise Gone(_("No."))\nraise Gone(f"{x}")') == [
        1,
        3,
    ]


# what only calls of the API, the command line and the seed can meet
AS_IT_STANDS = {"app/idempotency/actions.py", "app/migrate.py", "app/demo/seed.py"}


def test_every_error_that_a_page_may_show_is_in_the_catalogues() -> None:
    files = [
        path
        for path in (ROOT / "app").rglob("*.py")
        if not path.name.endswith("api.py") and path.relative_to(ROOT).parts[1] != "cli"
    ]
    bare = {
        str(path.relative_to(ROOT)): lines
        for path in files
        if (lines := bare_problems(path.read_text()))
    }
    left = {name: lines for name, lines in bare.items() if name not in AS_IT_STANDS}
    assert left == {}, 'write raise Conflict(_("..."))'


def bare_in_script(source: str) -> list[str]:
    """Literals of a script that read like a sentence and stand in no ``_()``."""
    literal = r"\"(?:[^\"\\\n]|\\.)*\"|`(?:[^`\\]|\\.)*`"
    code = re.sub(r"^\s*(//|/?\*).*$|\s//\s.*$", "", source, flags=re.M)
    code = re.sub(rf"\b_\(\s*(?:{literal})", "", code)
    code = re.sub(rf"\bngettext\(\s*(?:{literal})\s*,\s*(?:{literal})", "", code)
    found = [one[1:-1] for one in re.findall(literal, code)]
    return [one for one in found if re.match(r"(<p>)?[A-Z][a-z]+ [a-z]|[A-Z][a-z]+[.…]$", one)]


@pytest.mark.parametrize(
    "path",
    sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts),
    ids=lambda path: path.name,
)
def test_every_text_of_a_script_is_in_the_catalogues(path: Path) -> None:
    assert bare_in_script(path.read_text()) == [], 'write _("...") of words.js'


def test_it_sees_a_text_of_a_script_that_is_bare() -> None:
    said = 'note(_("It is said.")); ngettext("%(num)s pair", "Many pairs wait", n);'
    assert bare_in_script(said) == []
    assert bare_in_script('note("It is not said."); key === "Escape"; `Round is ${n}`') == [
        "It is not said.",
        "Round is ${n}",
    ]
