"""The words file, and how its lines are read."""

from catalog import lexicon, text


def test_the_four_forms_of_line_are_read() -> None:
    words = lexicon.parse(
        ["# nothing", "big large", "pr, prs > pull request", "get rid of > delete", "!kill: delete"]
    )
    assert words.synonyms["big"] == (text.stem("large"),)
    assert words.readings["pr"] == (("pull", text.stem("request")),)
    assert words.phrases["get", "rid", "of"] == ("delet",)  # codespell:ignore
    assert words.actions["delet"] == {"kill"}  # codespell:ignore
    assert words.longest_phrase == 3


def test_a_synonym_works_both_ways_and_a_reading_one_way() -> None:
    words = lexicon.parse(["big large", "k8s > kubernetes"])
    assert "big" in words.synonyms[text.stem("large")]
    assert "kubernet" not in words.readings


def test_the_words_that_come_with_the_package_are_read() -> None:
    words = lexicon.load()
    assert len(words.synonyms) > 300
    assert len(words.readings) > 300
    assert len(words.phrases) > 300
