"""Nothing that cannot be seen gets into a prompt."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import clean


@given(st.text())
def test_what_is_left_can_be_seen(anything: str) -> None:
    left = clean.text(anything)
    kinds = {unicodedata.category(one) for one in left if one not in "\n\t"}
    assert not kinds & {"Cc", "Cf", "Co", "Cs", "Cn"}


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), max_size=100))
def test_plain_words_stay_as_they_are(plain: str) -> None:
    assert clean.text(plain) == plain


def test_a_text_without_end_is_cut() -> None:
    assert len(clean.text("x" * 10_000)) == clean.DESCRIPTION_LIMIT


@pytest.mark.parametrize("name", ["get\u200bthing", "get\u202ething", "", "  "])
def test_a_name_that_could_pass_for_another_is_known(name: str) -> None:
    assert clean.hidden_in_name(name)


def test_descriptions_inside_a_schema_are_cleaned_and_its_rules_stay() -> None:
    schema = {
        "properties": {"a": {"description": "x\u200by", "enum": ["p\u200bq"], "maxLength": 3}}
    }
    cleaned = clean.schema(schema)
    assert cleaned == {
        "properties": {"a": {"description": "xy", "enum": ["p\u200bq"], "maxLength": 3}}
    }


def test_a_huge_schema_keeps_its_rules_and_loses_its_prose() -> None:
    schema = {"properties": {"description": {"type": "string", "description": "long"}}}
    assert clean.without_prose(schema) == {"properties": {"description": {"type": "string"}}}
