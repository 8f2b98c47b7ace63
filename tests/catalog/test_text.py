"""How words are cut, folded and stemmed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog import text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("createPullRequest", ["create", "pull", "request"]),
        ("HTTPServer_list", ["http", "server", "list"]),
        ("get-weather.by_city", ["get", "weather", "by", "city"]),
        ("listEC2Instances", ["list", "ec2", "instances"]),
        ("upload_to_s3", ["upload", "to", "s3"]),
        ("token2022extensions", ["token", "2022", "extensions"]),
        ("café", ["cafe"]),
        ("天气查询", ["天气", "气查", "查询"]),
        ("поиск файлов", ["поиск", "фаилов"]),
    ],
)
def test_a_name_is_cut_where_a_reader_would_cut_it(name: str, words: list[str]) -> None:
    assert list(text.words(name)) == words


@pytest.mark.parametrize(
    "family",
    [
        "create creates created creating creation",
        "list lists listing listed",
        "query queries",
        "branch branches",
        "deploy deployment deployed",
        "search searches searching",
        "generate generation generated",
    ],
)
def test_forms_of_one_word_share_a_stem(family: str) -> None:
    assert len({text.stem(word) for word in family.split()}) == 1


@pytest.mark.parametrize("word", ["news", "status", "process", "access", "string"])
def test_a_word_that_only_looks_like_a_form_stays(word: str) -> None:
    assert text.stem(word) == word


@given(st.text(max_size=60))
def test_any_text_can_be_cut_and_glued(anything: str) -> None:
    assert all(word for word in text.words(anything))
    assert text.glue(text.glue(anything)) == text.glue(anything)
