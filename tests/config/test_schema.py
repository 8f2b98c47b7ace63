"""The generated page and schema match the models, and the schema accepts what the reader accepts."""

import json

import jsonschema
import pytest

from local_model_gateway import config, config_schema


def test_the_generated_files_are_up_to_date() -> None:
    assert config_schema.main(["--check"]) == 0


def test_a_stale_page_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config_schema, "_INTRODUCTION", "# Something else")
    assert config_schema.main(["--check"]) == 1
    assert "--write" in capsys.readouterr().err


def test_every_setting_is_on_the_page_with_words() -> None:
    page = config_schema.page()
    for section in (config.Server, config.Queue, config.Scheduling, config.Pool, config.Logging):
        for name, field in section.model_fields.items():
            assert f"| `{name}` |" in page
            assert field.description, f"{section.__name__}.{name} has no words"


def test_the_schema_is_one_and_refuses_unknown_keys() -> None:
    schema = json.loads(json.dumps(config_schema.schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"version": 1, "runtimes": {"a": {"engine": "embedded"}}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"runtime": {}}, schema)
