"""The environment, read once."""

from __future__ import annotations

import runpy
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_names_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PORT", "ACTIVEDPO_PORT", "ACTIVEDPO_HOME", "ACTIVEDPO_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert Settings().port == 8000
    assert Settings().home == tmp_path / ".activedpo"
    assert Settings().artifacts_url == (tmp_path / ".activedpo" / "artifacts").as_uri()
    monkeypatch.setenv("PORT", "8100")
    monkeypatch.setenv("ACTIVEDPO_HOME", "elsewhere")
    monkeypatch.setenv("ACTIVEDPO_ARTIFACTS", "memory://policies")
    assert Settings().port == 8100
    assert Settings().home == tmp_path / "elsewhere"
    assert Settings().artifacts_url == "memory://policies"
    monkeypatch.setenv("ACTIVEDPO_PORT", "8200")
    assert Settings().port == 8200


def test_a_dotenv_file_is_honoured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTIVEDPO_LOG_LEVEL", raising=False)
    (tmp_path / ".env").write_text("ACTIVEDPO_LOG_LEVEL=DEBUG\n")
    assert Settings().log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value"), [("ACTIVEDPO_API_KEY", "short"), ("ACTIVEDPO_PORT", "70000")]
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("ACTIVEDPO_")):
        Settings()


@pytest.mark.parametrize("password", ["demo", "Password", "12345678", "boss", "boss@example.com"])
def test_beyond_loopback_no_password_is_one_that_everybody_tries_first(
    monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("ACTIVEDPO_ADMIN_EMAIL", "boss@example.com")
    monkeypatch.setenv("ACTIVEDPO_ADMIN_PASSWORD", password)
    for host in ("127.0.0.1", "localhost", "::1"):
        monkeypatch.setenv("ACTIVEDPO_HOST", host)
        Settings()
    for host in ("0.0.0.0", "::", "192.0.2.7", "web.example.com"):
        monkeypatch.setenv("ACTIVEDPO_HOST", host)
        with pytest.raises(ValidationError, match="ADMIN_PASSWORD is one that everybody tries"):
            Settings()
        monkeypatch.setenv("ACTIVEDPO_ADMIN_PASSWORD", "nobody would think of this")
        Settings()
        monkeypatch.setenv("ACTIVEDPO_ADMIN_PASSWORD", password)


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVEDPO_API_KEY", "a-key-of-twenty-characters")
    monkeypatch.setenv("ACTIVEDPO_ADMIN_PASSWORD", "hush hush")
    assert "twenty" not in repr(Settings())
    assert "hush" not in repr(Settings())


def test_the_signing_key_is_made_once_for_its_owner_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ACTIVEDPO_SECRET_KEY", raising=False)
    settings = Settings(home=tmp_path / "home")
    key = settings.signing_key()
    assert len(key) >= 32
    assert settings.signing_key() == key
    assert stat.S_IMODE((tmp_path / "home" / "secret_key").stat().st_mode) == 0o600


def test_the_page_of_settings_is_that_of_the_class() -> None:
    made = runpy.run_path(str(Path(__file__).parents[2] / "deploy" / "settings_page.py"))
    assert made["PAGE"].read_text() == made["page"](), "run `make settings-page`"


def test_addresses_with_passwords_may_come_from_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(f"ACTIVEDPO_{name}", raising=False)
        monkeypatch.setenv(f"ACTIVEDPO_{name}_FILE", str(tmp_path / name))
        (tmp_path / name).write_text(f"{name.lower()}://hidden\n")
    assert Settings().database_url == "database_url://hidden"
    assert Settings().redis_url == "redis_url://hidden"
    monkeypatch.setenv("ACTIVEDPO_REDIS_URL", "redis://counts-before-it")
    assert Settings().redis_url == "redis://counts-before-it"


@pytest.mark.parametrize(
    ("given", "kept"), [("/labels/", "/labels"), ("/a/b", "/a/b"), ("", ""), ("/", "")]
)
def test_a_prefix_is_a_path_without_a_slash_at_its_end(given: str, kept: str) -> None:
    assert Settings(root_path=given).root_path == kept


@pytest.mark.parametrize("given", ["labels", "/a b", "//x", "https://x/y", '/a"b'])
def test_what_is_no_path_is_no_prefix(given: str) -> None:
    with pytest.raises(ValidationError, match="a path such as"):
        Settings(root_path=given)
