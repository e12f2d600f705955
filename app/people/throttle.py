"""How often somebody may try to sign in, and a key may call: counted in Redis, or here where
there is none."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from functools import lru_cache

import structlog
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter
from redis.exceptions import RedisError

from app.errors import TooMany
from app.language import _
from app.settings import get_settings

log = structlog.get_logger()

# Counted before the password is looked at, forgotten after a success
NARROW = (parse("8/minute"), parse("40/hour"))
# Of failures alone: an office behind one address signs in as often as it likes
PER_PLACE = parse("100/hour")
PER_PERSON = parse("200/hour")

_memory = MemoryStorage()


def _named(email: str) -> str:
    """An address as a bucket's name: nobody reads addresses in Redis."""
    return hashlib.sha256(email.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@lru_cache
def _shared() -> Storage | None:
    url = get_settings().redis_url
    return RedisStorage(url, socket_timeout=1, socket_connect_timeout=1) if url else None


Bucket = tuple[RateLimitItem, tuple[str, ...]]


def _narrow(email: str, place: str) -> list[Bucket]:
    return [(limit, ("sign-in", _named(email), place)) for limit in NARROW]


def _wide(email: str, place: str) -> list[Bucket]:
    person = ("sign-in", "person", _named(email))
    return [(PER_PLACE, ("sign-in", "place", place)), (PER_PERSON, person)]


def _attempt(storage: Storage, email: str, place: str) -> None:
    limiter = FixedWindowRateLimiter(storage)
    checks = [(limiter.test, bucket) for bucket in _wide(email, place)]
    checks += [(limiter.hit, bucket) for bucket in _narrow(email, place)]
    for passes, (limit, names) in checks:
        if not passes(limit, *names):
            wait = max(1, math.ceil(limiter.get_window_stats(limit, *names)[0] - time.time()))
            raise TooMany(
                _("Too many tries to sign in: wait %(wait)s s.", wait=wait), retry_after=wait
            )


def _test_place(storage: Storage, _name: str, place: str) -> None:
    limiter, bucket = FixedWindowRateLimiter(storage), ("sign-in", "place", place)
    if not limiter.test(PER_PLACE, *bucket):
        wait = max(1, math.ceil(limiter.get_window_stats(PER_PLACE, *bucket)[0] - time.time()))
        raise TooMany(_("Too many tries to sign in: wait %(wait)s s.", wait=wait), retry_after=wait)


def _hit_place(storage: Storage, _name: str, place: str) -> None:
    FixedWindowRateLimiter(storage).hit(PER_PLACE, "sign-in", "place", place)


def _failure(storage: Storage, email: str, place: str) -> None:
    limiter = FixedWindowRateLimiter(storage)
    for limit, names in _wide(email, place):
        limiter.hit(limit, *names)


def _forget(storage: Storage, email: str, place: str) -> None:
    limiter = FixedWindowRateLimiter(storage)
    for limit, names in _narrow(email, place):
        limiter.clear(limit, *names)


def _with_storage(call: Callable[[Storage, str, str], None], email: str, place: str) -> None:
    shared = _shared()
    if shared is not None:
        try:
            call(shared, email, place)
            return
        except RedisError as error:
            log.warning("limit_counted_here", error=type(error).__name__)
    call(_memory, email, place)


def count_attempt(email: str, place: str) -> None:
    """Count an attempt to sign in as ``email`` from the address ``place``.

    Counted before the password is looked at, so attempts side by side cannot slip through.

    Raises:
        TooMany: with ``retry_after`` in seconds.
    """
    _with_storage(_attempt, email, place)


def count_failure(email: str, place: str) -> None:
    """Count an attempt whose password was wrong."""
    _with_storage(_failure, email, place)


def check_place(place: str) -> None:
    """Refuse a place with too many failures, where nobody has said yet who they are.

    Raises:
        TooMany: with ``retry_after`` in seconds.
    """
    _with_storage(_test_place, "", place)


def count_place_failure(place: str) -> None:
    """Count an answer of the identity provider that proved nothing."""
    _with_storage(_hit_place, "", place)


def checked_rate(rate: str) -> str:
    """A rate such as "100/minute", as it came.

    Raises:
        ValueError: it is none.
    """
    try:
        parse(rate)
    except ValueError:
        raise ValueError('must be a rate such as "100/minute"') from None
    return rate


def _hit_call(storage: Storage, key: str, rate: str) -> None:
    limiter, limit = FixedWindowRateLimiter(storage), parse(rate)
    if not limiter.hit(limit, "key", key):
        wait = max(1, math.ceil(limiter.get_window_stats(limit, "key", key)[0] - time.time()))
        raise TooMany(
            _("This key may make %(rate)s calls: wait %(wait)s s.", rate=rate, wait=wait),
            retry_after=wait,
        )


def count_call(key: str, rate: str) -> None:
    """Count a call with an API key that has a rate.

    Raises:
        TooMany: with ``retry_after`` in seconds.
    """
    _with_storage(_hit_call, key, rate)


def forget_attempts(email: str, place: str) -> None:
    """Start anew after a success."""
    _with_storage(_forget, email, place)
