"""Keys go into somebody else's file and come out again, and nothing else in it moves."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from local_model_gateway import merging

BLOCK = '{"mcpServers": {"lmg": {"url": "http://127.0.0.1:8787/mcp"}}, "other": 1}'
KEYS = (("mcpServers", "lmg"),)
YAML_BLOCK = "extensions:\n  lmg:\n    enabled: true\n    uri: http://127.0.0.1:8787/mcp\n"
YAML_KEYS = (("extensions", "lmg"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"a": 1}',
        '{\n    "mcpServers": {\n        "x": {"url": "y"}\n    },\n    "z": "é"\n}\n',
        '{\n\t"mcpServers": {}\n}',
    ],
)
def test_json_gets_only_the_named_keys(text: str) -> None:
    merged = merging.merge(text, "json", KEYS, BLOCK)
    before, after = json.loads(text or "{}"), json.loads(merged)
    assert after["mcpServers"].pop("lmg") == {"url": "http://127.0.0.1:8787/mcp"}
    assert "other" not in after
    before.setdefault("mcpServers", {})
    assert after == before
    assert merging.merge(merged, "json", KEYS, BLOCK) == merged


def test_json_keeps_its_indentation_its_letters_and_its_last_line() -> None:
    merged = merging.merge('{\n\t"a": "é"\n}', "json", KEYS, BLOCK)
    assert '\n\t"a": "é"' in merged
    assert not merged.endswith("\n")


@pytest.mark.parametrize("text", ["// c\n{}", "{/* c */}", "[1]", '{"a": 1, "a": 2}', "{"])
def test_json_that_could_not_be_written_back_is_left_alone(text: str) -> None:
    with pytest.raises(merging.CannotMerge):
        merging.merge(text, "json", KEYS, BLOCK)


def test_json_keys_are_taken_out_of_a_file_that_changed_since() -> None:
    merged = merging.merge('{"a": 1}', "json", KEYS, BLOCK)
    changed = merged.replace('"a": 1', '"a": 2')
    assert json.loads(merging.without(changed, "json", KEYS)) == {"a": 2, "mcpServers": {}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# a comment\n",
        "a: 1  # why\n",
        "a: 1",
        "# first\nextensions:\n  # of mine\n  x:\n    enabled: false\n\n# last\nz: [1, 2]\n",
        "extensions:\n    x: 1\nz: 2\n",
        "z: 2\nextensions:\n  lmg:\n    enabled: false\n  x: 1\n",
        "z: 2\nextensions:\n  lmg: {enabled: false}\nx: 1\n",
    ],
)
def test_yaml_gets_only_the_named_keys_and_keeps_every_other_line(text: str) -> None:
    merged = merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)
    before, after = yaml.safe_load(text) or {}, yaml.safe_load(merged)
    assert after["extensions"]["lmg"]["enabled"] is True
    before.setdefault("extensions", {})["lmg"] = after["extensions"]["lmg"]
    assert after == before
    for line in text.splitlines():
        assert line in merged.splitlines() or "lmg" in line or "enabled: false" in line
    assert merging.merge(merged, "yaml", YAML_KEYS, YAML_BLOCK) == merged


@pytest.mark.parametrize("text", ["# first\nextensions:\n  x: 1\n", "a: 1  # why\n", "# only\n"])
def test_yaml_keys_come_out_again_line_by_line(text: str) -> None:
    merged = merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)
    assert merging.without(merged, "yaml", YAML_KEYS) == text


@pytest.mark.parametrize("text", ["extensions: {x: 1}\n", "extensions: [1]\n", "[1]\n", "a: [\n"])
def test_yaml_without_a_safe_place_is_left_alone(text: str) -> None:
    with pytest.raises(merging.CannotMerge):
        merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)


WORDS = st.text("abcdefg-é", min_size=1, max_size=6)
DATA = st.recursive(
    st.booleans() | st.integers() | WORDS,
    lambda inner: (
        st.dictionaries(WORDS | st.just("extensions"), inner, max_size=4)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(WORDS | st.just("extensions"), DATA, max_size=5), st.integers(1, 6))
def test_whatever_the_file_it_is_merged_exactly_or_left_alone(
    data: dict[str, object], indent: int
) -> None:
    text = yaml.safe_dump(data, indent=indent, allow_unicode=True, sort_keys=False)
    try:
        merged = merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)
    except merging.CannotMerge:
        return
    after = yaml.safe_load(merged)
    assert after["extensions"]["lmg"]["enabled"] is True
    del after["extensions"]["lmg"]
    before = yaml.safe_load(text) or {}
    if not after["extensions"] and "extensions" not in before:
        del after["extensions"]
    assert after == before
