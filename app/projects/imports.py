"""Prompts and pairs from outside: each row checked, stored a thousand at a time, counted."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.labelling.models import ANSWERS
from app.language import _
from app.people.models import Person
from app.projects import bulk, content, shapes
from app.projects.ahead import ahead
from app.projects.bulk import NewPair, NewPrompt
from app.projects.mapping import AS_IT_IS, TEXTS, Named
from app.projects.models import Project
from app.projects.row import Columns, Rejected, Row
from app.projects.shapes import Shape
from app.quality import gold as gold_pairs
from app.rounds.events import record

PROMPT_COLUMNS = Columns(["prompt"], ["split", "external_id"])
PAIR_COLUMNS = shapes.OWN.columns
BATCH_ROWS = 5_000
BATCH_CHARACTERS = 8_000_000
MOST_REJECTED = 10_000
MOST_IDS = 100_000
NAMED_ROWS = 100
MOST_NAMES = 200
FIRST_ROWS = 10
_LONGEST_ID = 1_000


@dataclass
class Outcome:
    """What came of an import.

    ``columns``: the names in the first rows; ``first``: these rows as they are stored;
    ``refused``: is handed every line that cannot be taken, with what stood there; ``ids``, where
    they are asked for: of every row that is stored now, new or not, beside its line in ``lines``.
    """

    added: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    rejected_total: int = 0
    ignored: set[str] = field(default_factory=set)
    shape: Shape = shapes.OWN
    labels: int | None = None
    gold: int | None = None
    columns: list[str] = field(default_factory=list)
    first: list[NewPrompt | NewPair] = field(default_factory=list)
    refused: Callable[[Rejected], None] | None = None
    ids: list[uuid.UUID] | None = None
    lines: list[int] = field(default_factory=list)
    _named: int = 0

    def reject(self, one: Rejected) -> None:
        """Count a line that cannot be taken, hand it on, and keep the first ten thousand."""
        self.rejected_total += 1
        if self.refused is not None:
            self.refused(one)
        if len(self.rejected) < MOST_REJECTED:
            self.rejected.append(replace(one, original=None))  # which may be long

    def name(self, columns: Iterable[str], ignored: set[str]) -> None:
        """Note what columns a row has and which of them say nothing to us, so many of each."""
        if len(self.ignored) < MOST_NAMES:
            self.ignored |= ignored
        if self._named < NAMED_ROWS:
            self._named += 1
            new = (name for name in columns if name not in self.columns)
            self.columns += islice(new, MOST_NAMES - len(self.columns))

    def view(self) -> dict[str, Any]:
        """As JSON; what was ignored or not listed, a shape that is not ours, and how many labels
        came along, are said only where there is something to say."""
        view: dict[str, Any] = {
            "added": self.added,
            "duplicates": self.duplicates,
            "rejected": [one.view() for one in self.rejected],
        }
        if self.rejected_total > len(self.rejected):
            view["rejected_total"] = self.rejected_total
        if self.ignored:
            # a name may be no valid Unicode, which no answer can hold
            view["ignored_fields"] = sorted(
                n.encode(errors="replace").decode() for n in self.ignored
            )
        if self.shape.name != "own":
            view["shape"] = self.shape.name
        if self.labels is not None:
            view["labels"] = self.labels
        if self.gold is not None:
            view["gold"] = self.gold
        if self.ids is not None:
            both = zip(self.lines, self.ids, strict=False)
            view["ids"] = [{"line": line, "id": str(id)} for line, id in both]
        return view

    def keep_ids(
        self, session: Session, project: Project, batch: Sequence[NewPrompt | NewPair]
    ) -> None:
        """Look up the ids of a batch that was just stored, if they are asked for.

        Raises:
            Invalid: they are more than an answer should hold.
        """
        if self.ids is None:
            return
        if len(self.ids) + len(batch) > MOST_IDS:
            raise Invalid(
                _(
                    "ids: are told of up to %(most_ids)s rows; nothing was stored. Send fewer, or "
                    "give rows an external_id and find them by that.",
                    most_ids=MOST_IDS,
                ),
                field="ids",
            )
        self.ids += bulk.ids_of(session, project.id, batch)


New = TypeVar("New", NewPrompt, NewPair)


def new_prompt(fields: dict[str, Any], split: str = "train") -> NewPrompt:
    """Check the fields of a prompt; ``split`` is for where none is given.

    Raises:
        ValueError: naming the field.
    """
    given = fields.get("split", split)
    if given not in ("train", "eval"):
        raise ValueError("split: must be train or eval")
    return NewPrompt(_field(fields, "prompt", content.prompt), given, _external_id(fields))


def new_pair(fields: dict[str, Any]) -> NewPair:
    """Check the fields of a pair.

    Raises:
        ValueError: naming the field.
    """
    return NewPair(
        _field(fields, "prompt", content.prompt),
        _field(fields, "completion_a", content.completion),
        _field(fields, "completion_b", content.completion),
        _external_id(fields),
    )


def _field(fields: dict[str, Any], name: str, check: Callable[[Any], Any]) -> Any:
    if name not in fields:
        raise ValueError(f"{name}: is missing")
    try:
        return check(fields[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _external_id(fields: dict[str, Any]) -> str | None:
    given = fields.get("external_id")
    if given is None:
        return None
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    given = _field({"external_id": given}, "external_id", content.text)
    if len(given) > _LONGEST_ID:
        raise ValueError(f"external_id: is longer than {_LONGEST_ID:,} characters")
    return str(given)


def _checked(
    rows: Iterable[Row | Rejected],
    columns: Columns,
    make: Callable[[dict[str, Any]], New],
    outcome: Outcome,
) -> Iterator[New]:
    known = {*columns.required, *columns.optional}
    for row in rows:
        if isinstance(row, Rejected):
            outcome.reject(row)
            continue
        original = row.fields if row.original is None else row.original
        outcome.name(original, row.fields.keys() - known)
        try:
            new = make(row.fields)
        except ValueError as error:
            outcome.reject(Rejected(row.line, str(error), original))
            continue
        if len(outcome.first) < FIRST_ROWS:
            outcome.first.append(new)
        if outcome.ids is not None:
            outcome.lines.append(row.line)
        yield new


def _batches(news: Iterable[New]) -> Iterator[list[New]]:
    batch: list[New] = []
    size = 0
    for new in news:
        batch.append(new)
        size += new.size
        if len(batch) >= BATCH_ROWS or size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def import_prompts(
    session: Session,
    project: Project,
    rows: Iterable[Row | Rejected],
    split: str = "train",
    *,
    by: uuid.UUID | None = None,
    ids: bool = False,
    refused: Callable[[Rejected], None] | None = None,
    stored: Callable[[], None] | None = None,
) -> Outcome:
    """Store the prompts that are new; all of it in the caller's transaction.

    Args:
        ids: tell the ids of all rows that are stored now.
        refused: is handed every line that cannot be taken.
        stored: is called behind every few thousand rows. A caller that commits there keeps what
            came so far whatever happens: the same file again adds only the rest.

    Raises:
        Invalid: the file as a whole cannot be read; nothing is stored then.
    """
    outcome = Outcome(refused=refused, ids=[] if ids else None)
    news = _checked(rows, PROMPT_COLUMNS, lambda fields: new_prompt(fields, split), outcome)
    with ahead(_batches(news)) as batches:
        for batch in batches:
            _one_at_a_time(session, project)
            added = bulk.store_prompts(session, project.id, batch)
            outcome.added += added
            outcome.duplicates += len(batch) - added
            outcome.keep_ids(session, project, batch)
            if stored is not None:
                stored()
    _tell(session, project, "prompts.imported", outcome, by)
    return outcome


def import_pairs(
    session: Session,
    project: Project,
    rows: Iterable[Row | Rejected],
    *,
    labels: bool = False,
    gold: bool = False,
    file: str = "",
    shape: str | None = None,
    mapping: Named = AS_IT_IS,
    by: uuid.UUID | None = None,
    ids: bool = False,
    refused: Callable[[Rejected], None] | None = None,
    stored: Callable[[], None] | None = None,
) -> Outcome:
    """Store the pairs that are new, and their prompts where those are new too.

    Two equal completions are stored and never shown to anyone. A row with ``gold`` true becomes a
    gold pair, by its ``answer`` or by what its shape says is better.

    Args:
        gold: take every row for a gold pair.
        rows: in any shape of :mod:`app.projects.shapes`.
        labels: also store what the rows say is better, as preferences marked as recorded.
        file: names the annotator of these labels.
        shape: the name of the shape, where it is not to be recognised.
        mapping: what the rows were read by; a shape that has its fields is preferred.
        ids, refused, stored: as of :func:`import_prompts`.

    Raises:
        Invalid: the file as a whole cannot be read; nothing is stored then.
    """
    texts = mapping.columns.keys() & TEXTS
    found, rows = shapes.recognised(rows, name=shape, fields=texts, labels=labels)
    outcome = Outcome(
        shape=found, labels=0 if labels else None, refused=refused, ids=[] if ids else None
    )
    news = _checked(rows, found.columns, _maker(found, gold), outcome)
    with ahead(_batches(news)) as batches:
        for batch in batches:
            _one_at_a_time(session, project)
            _store(session, project, batch, outcome, file, by)
            outcome.keep_ids(session, project, batch)
            if stored is not None:
                stored()
    _tell(session, project, "pairs.imported", outcome, by)
    return outcome


def _store(
    session: Session,
    project: Project,
    whole: list[NewPair],
    outcome: Outcome,
    file: str,
    by: uuid.UUID | None,
) -> None:
    """Store a batch of pairs, gold ones and labels among them, and count them."""
    batch = [new for new in whole if new.gold is None]
    known = [new for new in whole if new.gold is not None]
    if known:
        outcome.gold = (outcome.gold or 0) + gold_pairs.add(session, project, known, by)
    added = bulk.store_pairs(session, project.id, batch)
    outcome.added += added
    outcome.duplicates += len(batch) - added
    if outcome.labels is not None and any(new.label for new in batch):
        annotator = _recorded_annotator(session, project, file)
        outcome.labels += bulk.store_labels(session, project.id, annotator, batch)


def _maker(shape: Shape, gold: bool) -> Callable[[dict[str, Any]], NewPair]:
    def make(fields: dict[str, Any]) -> NewPair:
        told = shape.read(fields)
        new = replace(new_pair(told.fields), label=told.label)
        return _known(new, fields, shape) if gold or _true(fields.get("gold")) else new

    return make


def _true(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else value
    if word in (None, False, "", "false", "no", "0") or word == 0:
        return False
    if word in (True, "true", "yes", "1"):
        return True
    raise ValueError("gold: must be true or false")


def _known(new: NewPair, fields: dict[str, Any], shape: Shape) -> NewPair:
    """The same as a gold pair: the answer stands in its row, or is what its shape says."""
    answer = fields.get("answer") if shape.name == "own" else new.label and new.label.said
    if answer not in ANSWERS:
        raise ValueError(f"answer: a gold pair needs one, of {', '.join(ANSWERS)}")
    if new.completion_a == new.completion_b:
        raise ValueError("completion_a, completion_b: are the same, which no answer tells apart")
    why = fields.get("explanation") or None
    if why is not None and len(content.text(why)) > gold_pairs.LONGEST_EXPLANATION:
        longest = gold_pairs.LONGEST_EXPLANATION
        raise ValueError(f"explanation: is longer than {longest:,} characters")
    return replace(new, label=None, gold=answer, explanation=why)


def _recorded_annotator(session: Session, project: Project, file: str) -> uuid.UUID:
    """Who a file's labels are said to come from: nobody who could sign in or claim."""
    stem = re.sub(r"[^a-z0-9._-]+", "-", file.lower()).strip("-.")[:80] or "import"
    email = f"recorded+{stem}+{project.id}@activedpo.invalid"
    person = session.scalar(select(Person).where(Person.email == email))
    if person is None:
        person = Person(email=email, name=f"Recorded in {file or 'an import'}", active=False)
        session.add(person)
        session.flush()
    return person.id


def _one_at_a_time(session: Session, project: Project) -> None:
    # Two imports of the same rows in another order would wait for each other for ever
    key = int.from_bytes(project.id.bytes[8:], "big", signed=True)
    session.execute(select(func.pg_advisory_xact_lock(key)))


def _tell(
    session: Session, project: Project, kind: str, outcome: Outcome, by: uuid.UUID | None
) -> None:
    told: dict[str, Any] = {} if outcome.labels is None else {"labels": outcome.labels}
    record(
        session,
        kind,
        project_id=project.id,
        person_id=by,
        added=outcome.added,
        duplicates=outcome.duplicates,
        rejected=outcome.rejected_total,
        **told,
    )
