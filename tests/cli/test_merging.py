"""Keys go into somebody else's file and come out again, and nothing else in it moves."""

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from local_model_gateway.connecting import json_text, merging

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


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        "1",
        '{"a": 1, "a": 2}',
        "{",
        '{"a" 1}',
        "{} {}",
        '{"mcpServers": 3}',
        "{,}",
        "{'a': 1}",
    ],
)
def test_json_that_could_not_be_written_back_is_left_alone(text: str) -> None:
    with pytest.raises(merging.CannotMerge):
        merging.merge(text, "json", KEYS, BLOCK)


def test_json_keys_are_taken_out_of_a_file_that_changed_since() -> None:
    merged = merging.merge('{"a": 1}', "json", KEYS, BLOCK)
    changed = merged.replace('"a": 1', '"a": 2')
    assert json.loads(merging.without(changed, "json", KEYS, '{"a": 1}')) == {"a": 2}


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
        "extensions:  # none yet\nz: 2\n",
        "extensions: {}  # none yet\n",
        "extensions:\n",
        "extensions:\n  # of mine\n  x: |\n    two\n    lines\n\n# about z\nz: 1\n",
    ],
)
def test_yaml_gets_only_the_named_keys_and_keeps_every_other_line(text: str) -> None:
    merged = merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)
    before, after = yaml.safe_load(text) or {}, yaml.safe_load(merged)
    assert after["extensions"]["lmg"]["enabled"] is True
    before["extensions"] = {**(before.get("extensions") or {}), "lmg": after["extensions"]["lmg"]}
    assert after == before
    for line in text.splitlines():
        assert (
            line in merged.splitlines() or "lmg" in line or "enabled: false" in line or "{}" in line
        )
    assert merging.merge(merged, "yaml", YAML_KEYS, YAML_BLOCK) == merged


@pytest.mark.parametrize(
    "text", ["# first\nextensions:\n  x: 1\n", "a: 1  # why\n", "# only\n", "a: 1  # no end"]
)
def test_yaml_keys_come_out_again_line_by_line(text: str) -> None:
    merged = merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)
    assert merging.without(merged, "yaml", YAML_KEYS, text) == text


@pytest.mark.parametrize(
    "text",
    [
        "extensions: {x: 1}\n",
        "extensions: [1]\n",
        "[1]\n",
        "a: [\n",
        "a:\n\t- x\n",
        "a: 1\n---\nb: 1\n",
    ],
)
def test_yaml_without_a_safe_place_is_left_alone(text: str) -> None:
    with pytest.raises(merging.CannotMerge):
        merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)


ODD = [
    "{}",
    '{"a": 1}',
    '{"a": 1,}',
    '// first\n{\n  "a": 1, // why\n  "b": [1, 2,], /* last */\n}\n// end\n',
    '{\n  "a": 1 // why\n}',
    '{\n  "a": 1\n  // nothing more\n}\n',
    '{\n\t"mcpServers": {\n\t\t"x": {"url": "http://y"}, // mine\n\t},\n}\n',
    '{"mcpServers": {"x": {}}, "z": "// no comment"}\n',
    '{\r\n  "a": "\u00e9",\r\n  "mcpServers": {\r\n    "x": 1\r\n  }\r\n}\r\n',
    '\ufeff{\r\n  "a": 1\r\n}\r\n',
    '{ "a":1\n, "b" :2 }',
]


@pytest.mark.parametrize("text", ODD)
def test_json_as_people_write_it_gets_our_lines_and_loses_only_them(text: str) -> None:
    merged = merging.merge(text, "json", KEYS, BLOCK)
    assert '"http://127.0.0.1:8787/mcp"' in merged
    assert merging.merge(merged, "json", KEYS, BLOCK) == merged
    kept = [one.rstrip(",") for one in re.findall(r"//[^\r\n]*|/\*.*?\*/", text)]
    assert all(one in merged for one in kept)
    assert "\r" not in text or "\n" not in merged.replace("\r\n", "")
    assert merged.startswith("\ufeff") is text.startswith("\ufeff")
    assert merging.without(merged, "json", KEYS, text) == text


def test_a_value_that_was_there_before_comes_back() -> None:
    text = '{\n  "mcpServers": {\n    "lmg": {"url": "old"}, // mine\n    "x": 1\n  }\n}\n'
    merged = merging.merge(text, "json", KEYS, BLOCK).replace('"x": 1', '"x": 2')
    back = merging.without(merged, "json", KEYS, text)
    assert "// mine" in back
    assert json.loads(back.replace("// mine", "")) == {
        "mcpServers": {"lmg": {"url": "old"}, "x": 2}
    }
    yaml_text = "extensions:\n  lmg:\n    uri: old\n"
    merged = merging.merge(yaml_text, "yaml", YAML_KEYS, YAML_BLOCK) + "z: 1\n"
    back = merging.without(merged, "yaml", YAML_KEYS, yaml_text)
    assert yaml.safe_load(back) == {"extensions": {"lmg": {"uri": "old"}}, "z": 1}


def test_yaml_on_windows_keeps_its_line_ends() -> None:
    text = "\ufeff# mine\r\na: 1\r\nextensions:\r\n  x: 1\r\n"
    merged = merging.merge(text, "yaml", YAML_KEYS, YAML_BLOCK)
    assert "\n" not in merged.replace("\r\n", "")
    assert merging.without(merged, "yaml", YAML_KEYS, text) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.dictionaries(st.text(max_size=5), inner, max_size=4) | st.lists(inner, max_size=3)
    ),
    max_leaves=10,
)
BLANKS = st.sampled_from(["", " ", "\n", "\t", ' // why, "so"\n', "/* a, } */", "\r\n  "])


@st.composite
def written(draw: st.DrawFn, value: object) -> str:
    """The value as somebody might have typed it."""
    blank, comma = draw(BLANKS), draw(st.sampled_from(["", ","]))
    match value:
        case dict() if value:
            items = [
                f"{blank}{json.dumps(k)}{draw(BLANKS)}:{draw(written(v))}" for k, v in value.items()
            ]
            return f"{draw(BLANKS)}{{{','.join(items)}{draw(BLANKS)}{comma}{draw(BLANKS)}}}{blank}"
        case list() if value:
            return f"[{','.join(draw(written(one)) for one in value)}{comma}]{blank}"
        case _:
            return f"{blank}{json.dumps(value)}"


@given(st.data(), st.dictionaries(st.text(max_size=5) | st.just("mcpServers"), JSON, max_size=4))
def test_whatever_json_it_is_only_our_key_comes_and_goes(
    data: st.DataObject, value: dict[str, object]
) -> None:
    text = data.draw(written(value))
    try:
        merged = merging.merge(text, "json", KEYS, BLOCK)
    except merging.CannotMerge:
        servers = value.get("mcpServers", {})
        assert not isinstance(servers, dict | None)
        return
    after = json_text.parse(merged).value
    assert after["mcpServers"].pop("lmg") == {"url": "http://127.0.0.1:8787/mcp"}
    if not after["mcpServers"] and not value.get("mcpServers"):
        del after["mcpServers"]
        after |= {"mcpServers": value["mcpServers"]} if "mcpServers" in value else {}
    assert after == value
    back = json_text.parse(merging.without(merged, "json", KEYS, text)).value
    assert (back.get("mcpServers") or {}) == (value.get("mcpServers") or {})
    assert {**back, "mcpServers": 0} == {**value, "mcpServers": 0} or "mcpServers" not in value


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
    back = yaml.safe_load(merging.without(merged, "yaml", YAML_KEYS, text)) or {}
    emptied = {"extensions": back.get("extensions") or None}
    assert back | emptied == data | {"extensions": data.get("extensions") or None}
    del after["extensions"]["lmg"]
    before = yaml.safe_load(text) or {}
    if not after["extensions"] and "extensions" not in before:
        del after["extensions"]
    assert after == before
