"""Signing in through an identity provider: OpenID Connect Core 1.0, authorization code with PKCE.

State, nonce and verifier travel in a sealed cookie of the browser that began, so a callback works
there alone, for ten minutes.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from app.errors import Unauthorized
from app.people.oidc_provider import Provider, call, exchange, failed, provider
from app.sealed import UnreadableSecretError, seal, unseal
from app.settings import get_settings

log = structlog.get_logger()

BEGUN_SECONDS = 600
LEEWAY_SECONDS = 60
LONGEST_SUBJECT = 255  # OpenID Connect Core, section 2
KNOWN_ERRORS = {
    "access_denied": "The identity provider did not let you through.",
    "login_required": "The identity provider wants you to sign in there first.",
    "interaction_required": "The identity provider wants to ask you something first.",
    "consent_required": "The identity provider wants your consent first.",
    "temporarily_unavailable": "The identity provider is busy. Try again in a moment.",
}


class NotProvenError(Unauthorized):
    """What came back does not prove who somebody is; the cause is in the log."""


@dataclass(frozen=True)
class Claims:
    """What the provider says of somebody.

    Attributes:
        email: only where the provider says that it is verified.
        groups: None where the token has no such claim.
    """

    issuer: str
    subject: str
    email: str | None
    name: str
    groups: frozenset[str] | None


def configured() -> bool:
    """Whether this site has an identity provider."""
    return get_settings().oidc_issuer is not None


def _provider() -> Provider:
    return provider(get_settings().oidc_issuer or "")


def begin(redirect_uri: str, onward: str) -> tuple[str, str]:
    """Where to send the browser, and the text of its cookie.

    Raises:
        ProviderError: the provider is out of reach.
    """
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    settings, said = get_settings(), _provider().metadata()
    begun = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
    address = prepare_grant_uri(
        said.authorization_endpoint,
        client_id=settings.oidc_client_id,
        response_type="code",
        redirect_uri=redirect_uri,
        scope=settings.oidc_scope,
        state=begun["state"],
        nonce=begun["nonce"],
        code_challenge=create_s256_code_challenge(begun["verifier"]),
        code_challenge_method="S256",
    )
    return str(address), seal(orjson.dumps({**begun, "oidc": onward}).decode())


def finish(cookie: str, redirect_uri: str, answer: dict[str, str]) -> tuple[Claims, str]:
    """Who came back, and where they wanted to go.

    Args:
        cookie: the text that :func:`begin` gave.
        answer: the parameters with which the provider sent the browser back.

    Raises:
        NotProvenError: not begun in this browser, refused there, or a token that proves nothing.
        ProviderError: the provider is out of reach.
    """
    begun = _begun(cookie, answer.get("state", ""))
    issuer = answer.get("iss", get_settings().oidc_issuer)  # RFC 9207
    if "error" in answer or issuer != get_settings().oidc_issuer:
        log.warning("identity_provider", why="it refused", error=_known(answer))
        raise NotProvenError(
            KNOWN_ERRORS.get(answer.get("error", ""), "The identity provider refused.")
        )
    token = _token(answer.get("code", ""), redirect_uri, begun["verifier"])
    claims = _checked(token, begun["nonce"])
    return _who(claims, token), begun["oidc"]


def _known(answer: dict[str, str]) -> str:
    return error if (error := answer.get("error", "")) in KNOWN_ERRORS else "another"


def _begun(cookie: str, state: str) -> dict[str, str]:
    try:
        begun: dict[str, str] = orjson.loads(unseal(cookie, BEGUN_SECONDS))
        expected = begun["state"]
    except (UnreadableSecretError, orjson.JSONDecodeError, KeyError, TypeError):
        expected = ""
    if not expected or not hmac.compare_digest(expected.encode(), _bytes(state)):
        raise NotProvenError("This was not begun in this browser, or took too long: begin again.")
    return begun


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _token(code: str, redirect_uri: str, verifier: str) -> dict[str, Any]:
    from authlib.oauth2.rfc6749.parameters import prepare_token_request

    body = prepare_token_request(
        "authorization_code", code=code, redirect_uri=redirect_uri, code_verifier=verifier
    )
    status, token = exchange(_provider().metadata(), body)
    if status != 200 or not isinstance(token.get("id_token"), str):
        raise _unproven("it gave no token for the code", status=status)
    return token


def _unproven(why: str, **more: Any) -> NotProvenError:
    log.warning("identity_provider", why=why, **more)
    return NotProvenError(
        "The identity provider's answer does not prove who you are: begin again. If that does not "
        "help, whoever runs this server finds the cause in its log."
    )


def _checked(token: dict[str, Any], nonce: str) -> dict[str, Any]:
    """The claims of an ID token: signature, issuer, audience, times and nonce are right.

    OpenID Connect Core 1.0, section 3.1.3.7.
    """
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import JoseError

    settings = get_settings()
    try:
        read = _verified(token["id_token"])
        claims = CodeIDToken(
            read.claims,
            read.header,
            {
                "iss": {"essential": True, "value": settings.oidc_issuer or ""},
                "aud": {"essential": True, "value": settings.oidc_client_id or ""},
                "nonce": {"essential": True, "value": nonce},
            },
            {
                "nonce": nonce,
                "client_id": settings.oidc_client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(leeway=LEEWAY_SECONDS)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        claim = getattr(error, "claim", None)
        raise _unproven("its token is not valid", error=type(error).__name__, claim=claim) from None
    return dict(claims)


def _verified(text: str) -> Any:
    """The token, if a key of the provider signed it; a key that is not known is asked for."""
    from joserfc import jwt
    from joserfc.errors import BadSignatureError, InvalidKeyIdError
    from joserfc.jwk import KeySet
    from joserfc.jws import JWSRegistry

    source = _provider()
    ways = JWSRegistry(algorithms=list(source.metadata().signatures), strict_check_header=False)
    try:
        return jwt.decode(text, KeySet.import_key_set(source.keys()), registry=ways)
    except (InvalidKeyIdError, BadSignatureError):
        fresh = KeySet.import_key_set(source.keys(fresh=True))
        return jwt.decode(text, fresh, registry=ways)


def _who(claims: dict[str, Any], token: dict[str, Any]) -> Claims:
    settings = get_settings()
    subject = claims.get("sub")
    if (
        not isinstance(subject, str)
        or not subject.isprintable()
        or not 0 < len(subject) <= LONGEST_SUBJECT
    ):
        raise _unproven("its token has no usable subject")
    wanted = {"email"} | ({settings.oidc_group_claim} if settings.oidc_roles else set())
    if any(_at(claims, name) is None for name in wanted):
        claims = {**_userinfo(token, subject), **claims}
    email = claims.get("email") if claims.get("email_verified") is True else None
    name = claims.get("name")
    return Claims(
        settings.oidc_issuer or "",
        subject,
        email if isinstance(email, str) else None,
        "".join(c for c in name if c.isprintable())[:200] if isinstance(name, str) else "",
        _groups(_at(claims, settings.oidc_group_claim)),
    )


def _userinfo(token: dict[str, Any], subject: str) -> dict[str, Any]:
    """Claims that the provider keeps out of its tokens (section 5.3); {} where it has none."""
    address, access = _provider().metadata().userinfo_endpoint, token.get("access_token")
    if address is None or not isinstance(access, str) or not access.isascii():
        return {}
    status, said = call("GET", address, headers={"Authorization": f"Bearer {access}"})
    if status != 200:
        log.warning("identity_provider", why="it told nothing more", status=status)
        return {}
    if said.get("sub") != subject:
        raise failed("it tells of another person than its token does")
    return said


def _at(claims: dict[str, Any], name: str) -> Any:
    """A claim by its name, or by its path: ``realm_access.roles``."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _groups(value: Any) -> frozenset[str] | None:
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, list):
        return frozenset(item for item in value if isinstance(item, str))
    return None
