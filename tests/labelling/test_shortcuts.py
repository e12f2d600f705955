"""One's own keys: what may be one, no two alike, whatever is sent."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Invalid
from app.labelling.shortcuts import DEFAULTS, WORDS, checked, of, shown

RESERVED = ("Tab", "Enter", "Escape", " ", "\t", "\n", "", "F5", "Control", "Shift", "Meta")


def test_nobody_who_chose_none_has_other_keys_than_the_usual():
    assert of(None) == of({}) == DEFAULTS
    assert checked({}) == {}


def test_only_what_differs_is_kept():
    wanted = {"left": "J", "right": "ArrowRight", "tie": "3", "far": "shift+9", "undo": None}
    assert checked(wanted) == {"left": "j", "right": "ArrowRight", "far": "Shift+9"}
    assert of({"left": "j"})["left"] == "j"
    assert of({"left": "j"})["right"] == "2"


def test_two_keys_may_change_places():
    assert checked({"left": "2", "right": "1"}) == {"left": "2", "right": "1"}


@pytest.mark.parametrize(
    ("wanted", "verb", "other"),
    [({"left": "2"}, "right", "left"), ({"skip": "j", "undo": "J"}, "undo", "skip")],
)
def test_a_key_for_two_things_is_refused_and_both_are_named(wanted, verb, other):
    with pytest.raises(Invalid) as refused:
        checked(wanted)
    (error,) = refused.value.extra["errors"]
    assert error["field"] == verb
    assert str(WORDS[other]) in str(error["message"])


@pytest.mark.parametrize(
    "key", [*filter(None, RESERVED), "ab", "<script>", "Shift+", "Shift+!", "\u200b", "\x00", 7, []]
)
def test_what_is_no_key_to_choose_is_refused_by_name(key):
    with pytest.raises(Invalid) as refused:
        checked({"left": key})
    assert [error["field"] for error in refused.value.extra["errors"]] == ["left"]


def test_what_the_page_does_not_do_has_no_key():
    with pytest.raises(Invalid, match="explode"):
        checked({"explode": "x"})


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(max_size=8) | st.none()))
def test_whatever_is_sent_every_thing_has_a_key_of_its_own_or_nothing_is_stored(wanted):
    try:
        keys = of(checked(wanted))
    except Invalid:
        return
    assert sorted(keys) == sorted(DEFAULTS)
    assert len(set(keys.values())) == len(keys)
    assert not set(keys.values()) & set(RESERVED)
    assert checked(keys) == checked(wanted)


def test_keys_stand_on_buttons_as_they_are_drawn_on_them():
    assert [shown(key) for key in ("ArrowLeft", "Shift+1", "j")] == ["←", "⇧ 1", "j"]
