"""Settings of signing in: what belongs together, and secrets from files."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"OIDC_ISSUER": "https://id.example.com"}, "OIDC_CLIENT_ID"),
        ({"PASSWORD_SIGN_IN": "0"}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "id.example.com", "OIDC_CLIENT_ID": "x"}, "OIDC_ISSUER"),
        ({"OIDC_ISSUER": "https://u:p@id.example.com", "OIDC_CLIENT_ID": "x"}, "OIDC_ISSUER"),
        ({"OIDC_ROLES": '{"bosses": "owner"}'}, "OIDC_ROLES"),
        ({"PUBLIC_URL": "ftp://x"}, "PUBLIC_URL"),
    ],
)
def test_what_does_not_belong_together_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"ACTIVEDPO_{name}", value)
    with pytest.raises(ValidationError, match=f"(?i){named}"):
        Settings()


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "oidc"
    file.write_text("a secret\n")
    monkeypatch.setenv("ACTIVEDPO_OIDC_CLIENT_SECRET_FILE", str(file))
    monkeypatch.setenv("ACTIVEDPO_LOG_LEVEL_FILE", str(file))  # no secret, so no file
    settings = Settings()
    assert settings.oidc_client_secret is not None
    assert settings.oidc_client_secret.get_secret_value() == "a secret"
    assert settings.log_level == "INFO"
    monkeypatch.setenv("ACTIVEDPO_OIDC_CLIENT_SECRET", "said outright")
    assert Settings().oidc_client_secret.get_secret_value() == "said outright"  # type: ignore[union-attr]
    monkeypatch.setenv("ACTIVEDPO_SECRET_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(ValueError, match="ACTIVEDPO_SECRET_KEY_FILE"):
        Settings()


def test_no_error_tells_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVEDPO_ADMIN_PASSWORD", "hush hush")
    monkeypatch.setenv("ACTIVEDPO_API_KEY", "too short")
    monkeypatch.setenv("ACTIVEDPO_PASSWORD_SIGN_IN", "0")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hush" not in str(caught.value)
    assert "too short" not in str(caught.value)
