"""The language of pages: which one a reader is given, and texts that say themselves in it.

``_("...")`` in Python gives a :class:`Spoken`: English wherever it is used as text (logs, problem
documents, the database), and the reader's language where a template draws it. So the REST API
stays English by construction, and an action that raises an error knows nothing of languages.

Catalogues are ``app/locale/<language>/LC_MESSAGES/messages.po``, read when a language is first
asked for; English is what stands in the code. ``make strings`` keeps them.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from babel import Locale
from babel.dates import format_datetime, format_skeleton, format_timedelta
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import NumberPattern
from babel.support import NullTranslations, Translations
from fastapi import Request
from markupsafe import Markup, escape

CATALOGUES = Path(__file__).parent / "locale"
SOURCE = "en"
"""The language of the texts in the code."""
COOKIE = "activedpo_language"
FEW_DAYS = 7

_spoken: ContextVar[str] = ContextVar("language", default=SOURCE)


@lru_cache
def languages() -> dict[str, str]:
    """What there is to choose from: each language's own name for itself, by its code."""
    codes = {SOURCE, *(path.parents[1].name for path in CATALOGUES.glob("*/LC_MESSAGES/*.po"))}
    named = {code: Locale.parse(code).get_display_name(code) or code for code in codes}
    return {code: named[code][0].upper() + named[code][1:] for code in sorted(codes)}


@lru_cache
def catalogue(language: str) -> Catalog:
    """The catalogue of a language; empty for English."""
    path = CATALOGUES / language / "LC_MESSAGES" / "messages.po"
    if language == SOURCE or not path.is_file():
        return Catalog(language)
    with path.open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


@lru_cache
def _translations(language: str) -> NullTranslations:
    if language == SOURCE:
        return NullTranslations()
    compiled = io.BytesIO()
    write_mo(compiled, catalogue(language))
    compiled.seek(0)
    return Translations(compiled)


def current() -> str:
    """The language that is being spoken; English where no page is drawn."""
    return _spoken.get()


def direction(language: str) -> str:
    """``ltr`` or ``rtl``."""
    return str(Locale.parse(language).text_direction)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Draw in this language."""
    before = _spoken.set(language)
    try:
        yield
    finally:
        _spoken.reset(before)


def wanted(request: Request) -> str:
    """The language of an answer: the person's own, else the browser's cookie, else the best of
    what the browser says that it reads, else English."""
    visitor = getattr(request.state, "visitor", None)
    for chosen in (getattr(visitor, "language", None), request.cookies.get(COOKIE)):
        if chosen in languages():
            return str(chosen)
    return _of_browser(request.headers.get("Accept-Language", ""))


def _of_browser(header: str) -> str:
    ranked = []
    for place, part in enumerate(header.split(",")[:50]):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            quality = 0.0
        if quality > 0:
            ranked.append((-quality, place, tag.strip().lower()))
    for _, _, tag in sorted(ranked):
        for code in (tag, tag.split("-")[0]):
            found = next(
                (own for own in languages() if own.lower().replace("_", "-") == code), None
            )
            if found:
                return found
    return SOURCE


class Spoken(str):
    """A text that is English, and says itself in the reader's language on a page."""

    __slots__ = ("_say",)
    _say: Callable[[], str]

    def __new__(cls, say: Callable[[], str]) -> Spoken:
        """``say`` gives the text in the language that is being spoken when it is called."""
        with speaking(SOURCE):
            made = super().__new__(cls, say())
        made._say = say
        return made

    def here(self) -> str:
        """The text in the language that is being spoken."""
        return self._say()

    def __deepcopy__(self, memo: dict[int, Any]) -> Spoken:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)

    def __html__(self) -> Markup:
        """What templates put on a page."""
        return escape(self._say())


def here(value: Any) -> Any:
    """A value as it is put into a text: numbers and :class:`Spoken` in the spoken language."""
    if isinstance(value, Spoken):
        return value.here()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return decimal(value)
    return value


def _filled(text: str, values: dict[str, Any]) -> str:
    return text % {name: here(value) for name, value in values.items()} if values else text


def _(message: str, /, **values: Any) -> Spoken:
    """``message``, with ``%(name)s`` filled in from ``values``."""
    return Spoken(lambda: _filled(_translations(current()).ugettext(message), values))


def pgettext(context: str, message: str, /, **values: Any) -> Spoken:
    """The same for a word that means two things: ``context`` tells them apart."""
    return Spoken(lambda: _filled(_translations(current()).upgettext(context, message), values))


def ngettext(one: str, many: str, num: int, /, **values: Any) -> Spoken:
    """The form that goes with ``num``, which is filled in for ``%(num)s``."""
    values = {"num": num, **values}
    return Spoken(lambda: _filled(_translations(current()).ungettext(one, many, num), values))


def stored(message: str) -> Spoken:
    """A text that was written to the database in English, and stands in ``_()`` elsewhere."""
    return Spoken(lambda: _translations(current()).ugettext(message) if message else "")


def decimal(value: float, digits: int | None = None, *, exactly: bool = True) -> str:
    """A number as the spoken language writes it; as many digits after the point as said."""
    least = digits if exactly else 0
    return _number(Locale.parse(current()).decimal_formats[None], value, least, digits)


def day_of(day: dt.date) -> str:
    """A day as the spoken language writes it in short, without its year."""
    return str(format_skeleton("MMMd", day, locale=current()))


def percentage(value: float, digits: int) -> str:
    """A share in [0, 1] as the spoken language writes a percentage."""
    return _number(Locale.parse(current()).percent_formats[None], value, digits, digits)


def _number(pattern: NumberPattern, value: float, least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        pattern = copy(pattern)  # Babel keeps them for everybody
        pattern.frac_prec = (least, most)
    shown: str = pattern.apply(value, Locale.parse(current()))
    return shown.replace("-", "\N{MINUS SIGN}")


def relative(delta: dt.timedelta) -> str:
    """How long ago (negative) or hence, in one unit: "3 min. ago"."""
    shown: str = format_timedelta(
        delta, "second", threshold=1, add_direction=True, format="short", locale=current()
    )
    return shown


def moment(when: dt.datetime) -> str:
    """Date and time of day, with the zone."""
    utc = when.astimezone(dt.UTC)
    return f"{format_datetime(utc, 'medium', locale=current())} UTC"


@lru_cache
def for_scripts(language: str) -> dict[str, Any]:
    """What the scripts of pages say: ``texts`` by the English one, and for a number's category
    (as ``Intl.PluralRules`` names it) which form it takes. Empty for English."""
    if language == SOURCE:
        return {}
    mine = catalogue(language)
    texts = {
        message.id[0] if message.pluralizable else message.id: message.string
        for message in mine
        if any(place.endswith(".js") for place, _ in message.locations)
    }
    rule, translations = Locale.parse(language).plural_form, _translations(language)
    number_of = getattr(translations, "plural", lambda n: int(n != 1))
    return {"texts": texts, "forms": {rule(n): number_of(n) for n in range(200)}}


def in_templates() -> dict[str, Callable[..., str]]:
    """The functions that Jinja's i18n extension calls; they answer in the spoken language."""
    return {
        "gettext": lambda message: _translations(current()).ugettext(message),
        "ngettext": lambda one, many, n: _translations(current()).ungettext(one, many, n),
        "pgettext": lambda context, message: _translations(current()).upgettext(context, message),
        "npgettext": lambda context, one, many, n: _translations(current()).unpgettext(
            context, one, many, n
        ),
    }
