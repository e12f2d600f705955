"""Talking to the identity provider: its metadata and keys, kept for a while, and its tokens.

Its address is the operator's choice, so it may be private; but no redirect is followed, no body of
its answers is ever shown, and what it sends is limited in length and time.
"""

from __future__ import annotations

import ssl
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus, urlsplit

import certifi
import httpx
import orjson
import structlog

from app.errors import Unavailable
from app.settings import get_settings

log = structlog.get_logger()

KEPT_SECONDS = 600.0
"""How long metadata and keys are believed; a key nobody knows is asked for at once."""
FAILED_SECONDS = 5.0
"""How long a provider that did not answer is left alone: its hanging must not take every thread."""
STEP_SECONDS, WHOLE_SECONDS = 5.0, 10.0
LARGEST_BYTES = 1 << 20
DISCOVERY = "/.well-known/openid-configuration"

# Signed by a key that the provider alone has: never "none", never a shared secret
SIGNATURES = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)


class ProviderError(Unavailable):
    """The identity provider is out of reach, or says what makes no sense."""

    def __init__(self) -> None:
        super().__init__(
            "The identity provider did not answer as it should. Try again in a moment; if that "
            "does not help, whoever runs this server finds the cause in its log.",
            retry_after=int(FAILED_SECONDS),
        )


@dataclass(frozen=True)
class Metadata:
    """What discovery told: where to go, and how tokens are signed."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    signatures: tuple[str, ...]
    post_secret: bool


def failed(why: str, **more: Any) -> ProviderError:
    """The error to raise, with the cause in the log: words of ours, never the provider's."""
    log.warning("identity_provider", why=why, **more)
    return ProviderError()


@lru_cache
def _client() -> httpx.Client:
    tls = ssl.create_default_context()
    tls.load_verify_locations(certifi.where())  # a small container may have none of its own
    return httpx.Client(
        verify=tls,
        limits=httpx.Limits(max_keepalive_connections=0),  # people sign in seldom
        follow_redirects=False,
        trust_env=False,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
    )


def call(method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of an answer; an empty object where the answer is none.

    Raises:
        ProviderError: out of reach, too slow, too long, or an error of its own (5xx).
    """
    deadline, body = time.monotonic() + WHOLE_SECONDS, bytearray()
    try:
        with _client().stream(method, url, timeout=STEP_SECONDS, **more) as answer:
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > LARGEST_BYTES or time.monotonic() > deadline:
                    raise failed("the answer is too long or too slow")
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise failed("out of reach", error=type(error).__name__) from None
    if status >= 500 or 300 <= status < 400:
        raise failed("it answered by an error or a redirect", status=status)
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    return status, found if isinstance(found, dict) else {}


def fetched(url: str, **more: Any) -> dict[str, Any]:
    """The JSON object at an address.

    Raises:
        ProviderError: there is none.
    """
    status, found = call("GET", url, **more)
    if status != 200 or not found:
        raise failed("it has no JSON object where one belongs", status=status)
    return found


class Provider:
    """The provider behind an issuer's address, with what it said last."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._lock = threading.Lock()
        self._said: Metadata | None = None
        self._keys: dict[str, Any] = {}
        self._read_at = self._failed_at = float("-inf")

    def metadata(self) -> Metadata:
        """What discovery says, or said a while ago.

        Raises:
            ProviderError: it says nothing, or what cannot be.
        """
        return self._current(fresh=False)[0]

    def keys(self, *, fresh: bool = False) -> Any:
        """The provider's public keys (JWKS); ``fresh`` asks for them anew.

        Raises:
            ProviderError: as of :meth:`metadata`.
        """
        return self._current(fresh=fresh)[1]

    def _current(self, *, fresh: bool) -> tuple[Metadata, dict[str, Any]]:
        # while one asks, the others wait no longer than a moment: they hold a thread each
        if not self._lock.acquire(timeout=1):
            raise ProviderError
        try:
            if time.monotonic() - self._failed_at < FAILED_SECONDS:
                raise ProviderError
            try:
                return self._read(fresh=fresh)
            except ProviderError:
                self._failed_at = time.monotonic()
                raise
        finally:
            self._lock.release()

    def _read(self, *, fresh: bool) -> tuple[Metadata, dict[str, Any]]:
        if self._said is None or time.monotonic() - self._read_at > KEPT_SECONDS:
            said = understood(self.issuer, fetched(self.issuer.rstrip("/") + DISCOVERY))
            self._keys = fetched(said.jwks_uri)
            self._said, self._read_at = said, time.monotonic()
        elif fresh:
            self._keys = fetched(self._said.jwks_uri)
        return self._said, self._keys


def understood(issuer: str, said: dict[str, Any]) -> Metadata:
    """Discovery's answer, checked.

    Raises:
        ProviderError: it is of another issuer, or an address in it is missing or weaker.
    """
    if said.get("issuer") != issuer:
        raise failed("its discovery names another issuer than ACTIVEDPO_OIDC_ISSUER")
    schemes = ("https",) if issuer.startswith("https:") else ("https", "http")
    found: dict[str, str] = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        address = said.get(name)
        if isinstance(address, str) and urlsplit(address).scheme in schemes:
            found[name] = address
        elif name != "userinfo_endpoint":
            raise failed("its discovery has no usable address", missing=name)
    offered = _names(said, "id_token_signing_alg_values_supported", "RS256")
    ways = _names(said, "token_endpoint_auth_methods_supported", "client_secret_basic")
    return Metadata(
        found["authorization_endpoint"],
        found["token_endpoint"],
        found["jwks_uri"],
        found.get("userinfo_endpoint"),
        tuple(name for name in SIGNATURES if name in offered),
        "client_secret_basic" not in ways and "client_secret_post" in ways,
    )


def _names(said: dict[str, Any], name: str, default: str) -> list[Any]:
    value = said.get(name)
    return value if isinstance(value, list) else [default]


@lru_cache(maxsize=4)
def provider(issuer: str) -> Provider:
    """The provider of an issuer, one a process."""
    return Provider(issuer)


def exchange(said: Metadata, body: str) -> tuple[int, dict[str, Any]]:
    """Ask the token endpoint, as the client that the settings name; status and answer.

    Raises:
        ProviderError: it does not answer.
    """
    from authlib.oauth2 import ClientAuth

    settings = get_settings()
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else ""
    way = "none" if not secret else "client_secret_post" if said.post_secret else None
    name = settings.oidc_client_id or ""
    # RFC 6749, 2.3.1: in the header both are form-encoded
    known = (quote_plus(name), quote_plus(secret)) if way is None else (name, secret)
    headers = {"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
    auth = ClientAuth(*known, auth_method=way)
    url, headers, body = auth.prepare("POST", said.token_endpoint, headers, body)
    return call("POST", url, headers=headers, content=body.encode())
