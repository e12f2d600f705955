"""Sending webhooks: many side by side, each with a short patience, none redirected."""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from dataclasses import dataclass, field

import httpx
import orjson
import structlog

from activedpo.oracles import network
from app.database import transaction
from app.oracles import webhooks
from app.sealed import UnreadableSecretError, unseal
from app.settings import get_settings

log = structlog.get_logger()
AT_A_TIME = 20
PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Letter:
    """One try of one delivery."""

    id: uuid.UUID
    attempt: int
    url: str
    body: bytes
    sealed: str = field(repr=False)


def deliver_due() -> int:
    """Send everything whose time has come; how many tries that were."""
    sent = 0
    while letters := _taken():
        for letter, (status, error) in zip(letters, asyncio.run(_all(letters)), strict=True):
            with transaction() as session:
                webhooks.settle(session, letter.id, letter.attempt, status, error)
            if error is not None:
                log.info("webhook_failed", delivery=str(letter.id), attempt=letter.attempt)
        sent += len(letters)
    return sent


def _taken() -> list[Letter]:
    with transaction() as session:
        return [
            Letter(d.id, d.attempts, hook.url, orjson.dumps(d.payload), hook.secret)
            for d, hook in webhooks.take_due(session, AT_A_TIME)
        ]


async def _all(letters: list[Letter]) -> list[tuple[int | None, str | None]]:
    public_only = not get_settings().allow_private_addresses
    client = network.client(
        public_only=public_only, timeout=PATIENCE_SECONDS, connections=AT_A_TIME
    )
    async with client:
        return await asyncio.gather(*(_send(client, letter) for letter in letters))


async def _send(client: httpx.AsyncClient, letter: Letter) -> tuple[int | None, str | None]:
    """(status, what went wrong): nothing of what the other side wrote is kept."""
    try:
        headers = _headers(letter)
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            client.stream("POST", letter.url, content=letter.body, headers=headers) as response,
        ):
            if response.is_success:
                return response.status_code, None
            return response.status_code, f"it answered {response.status_code}"
    except UnreadableSecretError as error:
        return None, str(error)
    except TimeoutError:
        return None, f"no answer within {PATIENCE_SECONDS:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if "not public" in str(error):
            return None, "its name leads to an address that is not public"
        if (fault := _certificate_fault(error)) is not None:
            return None, f"its TLS certificate is not valid ({fault}); nothing was sent"
        return None, f"it cannot be reached ({type(error).__name__})"


def _certificate_fault(error: BaseException | None) -> str | None:
    """What OpenSSL says of the other side's certificate, where that is what went wrong."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)
        error = error.__cause__ or error.__context__
    return None


def _headers(letter: Letter) -> dict[str, str]:
    message_id, now = f"msg_{letter.id.hex}", int(time.time())
    secret = unseal(letter.sealed)
    return {
        "Content-Type": "application/json",
        "User-Agent": "ActiveDPO",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": webhooks.signature(secret, message_id, now, letter.body),
    }
