"""The catalogues: whole, right, and of what the code says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog, Message

from app import language

ROOT = Path(__file__).parents[2]


def _strings() -> Any:
    spec = importlib.util.spec_from_file_location("strings", ROOT / "deploy" / "strings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


strings = _strings()
OTHERS = sorted(set(language.languages()) - {language.SOURCE})
Key = tuple[str | None, str | tuple[str, ...]]


def keys(catalog: Catalog) -> set[Key]:
    """What is in a catalogue, without its head."""
    return {
        (one.context, tuple(one.id) if one.pluralizable else one.id) for one in catalog if one.id
    }


def forms(message: Message, which: str) -> list[str]:
    """The English or the translated texts of an entry."""
    said = getattr(message, which)
    return list(said) if message.pluralizable else [said]


def filled_in(text: str) -> set[str]:
    """What is put into a text: ``%(name)s``, ``%%`` and tags of HTML."""
    return set(re.findall(r"%\(\w+\)s|%%|</?[a-z]+[^>]*>", text))


def test_every_text_of_the_code_is_in_the_template_and_none_besides() -> None:
    said, stored = keys(strings.extracted()), keys(strings.read(strings.TEMPLATE))
    assert len(said) > 90
    assert sorted(map(str, said - stored)) == [], "run `make strings`"
    assert sorted(map(str, stored - said)) == [], "run `make strings`"


@pytest.mark.parametrize("code", OTHERS)
def test_a_catalogue_is_complete_and_nothing_in_it_is_a_guess(code: str) -> None:
    catalog = language.catalogue(code)
    assert keys(catalog) == keys(strings.read(strings.TEMPLATE)), "run `make strings`"
    unsaid = [one.id for one in catalog if one.id and not all(forms(one, "string"))]
    assert unsaid == [], "to translate: see docs/translating.md"
    assert [one.id for one in catalog if one.id and one.fuzzy] == []


@pytest.mark.parametrize("code", OTHERS)
def test_a_translation_fills_in_what_the_english_fills_in(code: str) -> None:
    catalog = language.catalogue(code)
    for message in catalog:
        if not message.id:
            continue
        wanted = set().union(*map(filled_in, forms(message, "id")))
        said = forms(message, "string")
        assert len(said) == (catalog.num_plurals if message.pluralizable else 1), message.id
        for form in said:
            there = filled_in(form)
            # "one answer" may name its number or not
            assert wanted - there <= ({"%(num)s", "%(n)s"} if message.pluralizable else set()), form
            assert there <= wanted, form
            assert form[:1].isspace() == forms(message, "id")[0][:1].isspace(), form
            assert form[-1:].isspace() == forms(message, "id")[0][-1:].isspace(), form


@pytest.mark.parametrize("code", OTHERS)
def test_no_catalogue_brings_markup_that_the_english_has_not(code: str) -> None:
    # the texts of templates are put on pages as they are
    for message in language.catalogue(code):
        for form in forms(message, "string") if message.id else ():
            assert form.count("<") in {one.count("<") for one in forms(message, "id")}, form
            # within an attribute a straight quote would end it
            assert form.count('"') in {one.count('"') for one in forms(message, "id")}, form


def test_scripts_are_given_their_own_texts_and_no_others() -> None:
    for code in OTHERS:
        given = language.for_scripts(code)
        assert given["texts"]["Copied"]
        assert "Sign out" not in given["texts"]
    assert language.for_scripts(language.SOURCE) == {}


def test_a_form_for_scripts_is_the_one_that_gettext_takes() -> None:
    assert language.for_scripts("de")["forms"] == {"one": 0, "other": 1}
