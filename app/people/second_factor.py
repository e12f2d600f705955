"""The second step of signing in: time-based codes (RFC 6238) of an authenticator app, or a
recovery code. Each code works once. Callers commit.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
import uuid

import pyotp
import segno
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.language import _
from app.people import passwords, throttle
from app.people.access import now, second_step_wanted
from app.people.models import Person, RecoveryCode, SecondFactor, SignIn
from app.rounds.events import record
from app.sealed import UnreadableSecretError, seal, unseal

ISSUER = "ActiveDPO"
STEP_SECONDS = 30
DRIFT_STEPS = 1
"""How many steps the clock of a phone may be off, either way."""
RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"


def is_on(session: Session, person_id: uuid.UUID) -> bool:
    """Whether this person signs in with a code as well."""
    found = session.get(SecondFactor, person_id)
    return found is not None and found.confirmed_at is not None


def codes_left(session: Session, person_id: uuid.UUID) -> int:
    """How many recovery codes have not been used."""
    query = select(func.count()).where(
        RecoveryCode.person_id == person_id, RecoveryCode.used_at.is_(None)
    )
    return session.scalar(query) or 0


def begin(session: Session, person: Person) -> str:
    """Make a secret for an authenticator app; it counts only once :func:`confirm` saw a code.

    Returns:
        The secret in base 32. Beginning again makes another one.

    Raises:
        Conflict: a second step is in use already.
    """
    found = _row(session, person.id)
    if found is not None and found.confirmed_at is not None:
        raise Conflict(_("A second step is in use already: take it out first."))
    if found is None:
        found = SecondFactor(person_id=person.id, secret="")
        session.add(found)
    secret = pyotp.random_base32()
    found.secret, found.last_step = seal(secret), 0
    session.flush()
    return secret


def pending_secret(session: Session, person_id: uuid.UUID) -> str:
    """The secret that waits to be confirmed.

    Raises:
        Conflict: none does.
    """
    found = session.get(SecondFactor, person_id)
    if found is None or found.confirmed_at is not None:
        raise Conflict(_("No second step is being set up: begin again."))
    return unseal(found.secret)


def address(person: Person, secret: str) -> str:
    """What an authenticator app reads: an ``otpauth`` address."""
    return pyotp.TOTP(secret).provisioning_uri(name=person.email, issuer_name=ISSUER)


def picture(text: str) -> str:
    """A QR code as inline SVG, black on white in either theme, with a title for screen readers."""
    code = segno.make(text, error="m", micro=False)
    return str(
        code.svg_inline(scale=5, dark="#000", light="#fff", title="For an authenticator app")
    )


def confirm(
    session: Session, person: Person, code: str, place: str, keep: uuid.UUID | None = None
) -> list[str]:
    """Turn the second step on, once the app shows the right code; other sessions end.

    Returns:
        The recovery codes, which are shown this once.

    Raises:
        Conflict: none is being set up.
        Invalid: the code is wrong.
        TooMany: too many attempts.
    """
    pending_secret(session, person.id)
    _counted(session, person, code, place, recovery=False)
    found = _row(session, person.id)
    if found is not None:
        found.confirmed_at = now()
    others = delete(SignIn).where(SignIn.person_id == person.id)
    session.execute(others if keep is None else others.where(SignIn.id != keep))
    record(session, "second_factor.on", person_id=person.id, person=str(person.id))
    return _new_codes(session, person.id)


def check(session: Session, person: Person, code: str, place: str) -> None:
    """Use a code of the app, or a recovery code, up.

    Raises:
        Invalid: it is wrong, or was used before.
        TooMany: too many attempts, counted together with those of the password.
    """
    _counted(session, person, code, place, recovery=True)


def renew_codes(session: Session, person: Person, code: str, place: str) -> list[str]:
    """New recovery codes in place of the old ones.

    Raises:
        Conflict: there is no second step.
        Invalid, TooMany: as of :func:`check`.
    """
    _must_be_on(session, person)
    check(session, person, code, place)
    return _new_codes(session, person.id)


def turn_off(session: Session, person: Person, code: str, place: str) -> None:
    """Sign in with the password alone from now on.

    Raises:
        Conflict: there is no second step, or this site asks the person for one.
        Invalid, TooMany: as of :func:`check`.
    """
    _must_be_on(session, person)
    if second_step_wanted(person):
        raise Conflict(_("This site asks you for a second step: it cannot be turned off."))
    check(session, person, code, place)
    reset(session, person, person.id)


def reset(session: Session, person: Person, by: uuid.UUID | None) -> None:
    """Take a person's second step out, as an admin does for who lost the phone and the codes.

    Where there is none nothing happens.
    """
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person.id))
    gone = session.execute(
        delete(SecondFactor)
        .where(SecondFactor.person_id == person.id)
        .returning(SecondFactor.person_id)
    ).all()
    if gone:
        record(session, "second_factor.off", person_id=by, person=str(person.id))
    session.flush()


def _must_be_on(session: Session, person: Person) -> None:
    if not is_on(session, person.id):
        raise Conflict(_("There is no second step to change: set one up first."))


def _row(session: Session, person_id: uuid.UUID) -> SecondFactor | None:
    return session.get(SecondFactor, person_id, with_for_update=True, populate_existing=True)


def _counted(session: Session, person: Person, code: str, place: str, *, recovery: bool) -> None:
    throttle.count_attempt(person.email, place)
    plain = re.sub(r"[\s-]", "", code).lower()
    found = _row(session, person.id)  # locked: of two at once with the same code, one gets in
    right = found is not None and _of_app(found, plain)
    if not right and recovery:
        right = _of_list(session, person.id, plain)
    if not right:
        throttle.count_failure(person.email, place)
        raise Invalid(_("code: this code is wrong, or was used before."), field="code")
    throttle.forget_attempts(person.email, place)
    session.flush()


def _of_app(found: SecondFactor, code: str) -> bool:
    if not re.fullmatch(r"[0-9]{6}", code):
        return False
    try:
        app = pyotp.TOTP(unseal(found.secret), interval=STEP_SECONDS)
    except UnreadableSecretError:  # the site's secret key is another one: recovery codes still work
        return False
    this = int(time.time()) // STEP_SECONDS
    for step in range(this - DRIFT_STEPS, this + DRIFT_STEPS + 1):
        same = hmac.compare_digest(app.generate_otp(step).encode(), code.encode())
        if same and step > found.last_step:
            found.last_step = step  # it and all before it are used up
            return True
    return False


def _of_list(session: Session, person_id: uuid.UUID, code: str) -> bool:
    if not re.fullmatch(rf"[{_ALPHABET}]{{12}}", code):
        return False
    unused = select(RecoveryCode).where(
        RecoveryCode.person_id == person_id, RecoveryCode.used_at.is_(None)
    )
    for row in session.scalars(unused.with_for_update()):
        if passwords.matches(row.code_hash, code):
            row.used_at = now()
            return True
    return False


def _new_codes(session: Session, person_id: uuid.UUID) -> list[str]:
    session.execute(delete(RecoveryCode).where(RecoveryCode.person_id == person_id))
    made = ["".join(secrets.choice(_ALPHABET) for _ in range(12)) for _ in range(RECOVERY_CODES)]
    session.add_all(
        RecoveryCode(person_id=person_id, code_hash=passwords.hashed(code)) for code in made
    )
    session.flush()
    return [f"{code[:4]}-{code[4:8]}-{code[8:]}" for code in made]
