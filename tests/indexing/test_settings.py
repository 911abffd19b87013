"""Precedence and refusals: arguments over environment over file over defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indexing.errors import SettingsError
from indexing.settings import Settings, load_settings

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings from this machine: an empty folder, no variables."""
    import os

    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("WINNOW_"):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.retrieval.rrf_k == 60
    assert settings.serving.host == "127.0.0.1"
    assert settings.home.is_absolute()


def test_the_file_beats_defaults(tmp_path: Path) -> None:
    (tmp_path / "winnow.toml").write_text("[retrieval]\ntop_k = 70\n", encoding="utf-8")
    assert load_settings().retrieval.top_k == 70


def test_the_environment_beats_the_file_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "winnow.toml").write_text("[retrieval]\ntop_k = 70\ntop_n = 7\n", encoding="utf-8")
    monkeypatch.setenv("WINNOW_RETRIEVAL__TOP_K", "80")
    settings = load_settings()
    assert (settings.retrieval.top_k, settings.retrieval.top_n) == (80, 7)


def test_arguments_beat_the_environment_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_RETRIEVAL__TOP_K", "80")
    monkeypatch.setenv("WINNOW_RETRIEVAL__TOP_N", "8")
    settings = load_settings(retrieval={"top_k": 90})
    assert (settings.retrieval.top_k, settings.retrieval.top_n) == (90, 8)


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_settings()


def test_malformed_toml_is_said(tmp_path: Path) -> None:
    (tmp_path / "winnow.toml").write_text("[retrieval\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="TOML"):
        load_settings()


@pytest.mark.parametrize(
    "body", ["[retrieval]\ntop_q = 1\n", "[retreival]\ntop_k = 1\n", "[retrieval]\ntop_k = 0\n"]
)
def test_unknown_keys_and_bad_values_are_refused(tmp_path: Path, body: str) -> None:
    (tmp_path / "winnow.toml").write_text(body, encoding="utf-8")
    with pytest.raises(SettingsError):
        load_settings()


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_RETREIVAL__TOP_K", "80")
    with pytest.raises(SettingsError, match="WINNOW_RETREIVAL__TOP_K"):
        load_settings()


def test_secrets_are_masked() -> None:
    settings = load_settings(collection={"api_key": "hush-hush"})
    assert "hush-hush" not in repr(settings)
    assert "hush-hush" not in settings.model_dump_json()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().home = Path("elsewhere")  # type: ignore[misc]


def test_the_readme_s_example_is_valid(tmp_path: Path) -> None:
    (body,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", README.read_text(encoding="utf-8"))
    (tmp_path / "winnow.toml").write_text(body, encoding="utf-8")
    assert load_settings().collection.home == "server"


def test_every_setting_has_a_default() -> None:
    assert Settings.model_validate({}) is not None
