"""Brings the catalogues of ``app/locale`` up to what the code says: ``make strings``.

``messages.pot`` is every text that stands in ``_()``, ``ngettext()``, ``pgettext()`` or
``{% trans %}``; each language's ``messages.po`` gets the new ones, empty, and loses what is said
no more. ``deploy/strings.py LANGUAGE`` begins a catalogue. ``[tool.babel]`` in ``pyproject.toml``
says which files are read.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "app" / "locale"
HEAD = "# Texts of ActiveDPO's pages; `make strings` keeps this file, docs/translating.md says how."
TEMPLATE = LOCALE / "messages.pot"
EXTRACT = [
    "pybabel",
    "-q",
    "extract",
    "-F",
    "pyproject.toml",
    "--add-location=file",
    "-k",
    "pgettext:1c,2",
]


def extracted() -> Catalog:
    """Every text of templates, Python and scripts, as the code says it now."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with tempfile.NamedTemporaryFile(suffix=".pot") as file:
            CommandLineInterface().run([*EXTRACT, "-o", file.name, "."])
            return read_po(file)
    finally:
        os.chdir(before)


def read(path: Path, language: str | None = None) -> Catalog:
    """A catalogue as it is stored; an empty one where there is none."""
    if not path.is_file():
        return Catalog(language, project="ActiveDPO", fuzzy=False)
    with path.open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def write(catalog: Catalog, path: Path) -> None:
    """Store it: files without line numbers, so that a moved line is no change."""
    catalog.header_comment = HEAD
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        write_po(
            file,
            catalog,
            width=96,
            sort_by_file=True,
            ignore_obsolete=True,
            omit_header=False,
            include_lineno=False,
        )


def path_of(language: str) -> Path:
    """Where the catalogue of a language is."""
    return LOCALE / language / "LC_MESSAGES" / "messages.po"


def update(languages: list[str]) -> None:
    """Write the template, and bring the catalogues of ``languages`` up to it."""
    template = extracted()
    template.creation_date = read(TEMPLATE).creation_date
    template.project, template.version, template.fuzzy = "ActiveDPO", "", False
    write(template, TEMPLATE)
    for language in languages:
        catalog = read(path_of(language), language)
        catalog.update(template, no_fuzzy_matching=True)
        write(catalog, path_of(language))
        left = sum(1 for one in catalog if one.id and not all(_forms(one.string)))
        print(f"{language}: {len(catalog)} texts, {left} to translate")  # noqa: T201


def _forms(said: str | tuple[str, ...]) -> tuple[str, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def main(arguments: list[str]) -> None:
    """``make strings``, or begin the catalogue of a language."""
    for code in arguments:
        try:
            Locale.parse(code)
        except (UnknownLocaleError, ValueError):
            raise SystemExit(
                f"{code} is no language that Babel knows, such as fr or pt_BR"
            ) from None
    there = {path.parents[1].name for path in LOCALE.glob("*/LC_MESSAGES/messages.po")}
    update(sorted(there | set(arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
