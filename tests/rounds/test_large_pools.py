"""Pools with more pairs than a statement may have parameters."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select, text

from app.database import transaction
from app.models import Pair
from tests.rounds.conftest import Hand

MORE_THAN_PARAMETERS = 70_000

_PAIRS = text(
    """
    INSERT INTO pairs (id, project_id, prompt_id, content_hash, completion_a, completion_b,
                       finished_a, finished_b, state, slots, audit)
    SELECT gen_random_uuid(), :project, (SELECT id FROM prompts LIMIT 1), n::text, 'a', 'b', true,
           true, 'pool', 1, false
    FROM generate_series(1, :count) AS n
    """
)


def test_every_open_pair_may_be_the_pool_however_many_there_are(hand: Callable[..., Hand]) -> None:
    """The default of an imported project; a parameter a pair ends at 65,535."""
    project = hand(1, source="imported", acquisition="certainty", batch_size=4)
    with transaction() as session:
        session.execute(_PAIRS, {"project": project.id, "count": MORE_THAN_PARAMETERS})
    round = project.open()
    assert round.state == "generating"
    with transaction() as session:
        taken = select(func.count()).select_from(Pair).where(Pair.round_id == round.id)
        assert session.scalar(taken) == MORE_THAN_PARAMETERS
    assert sum(run.total for run in project.runs("generate")) == MORE_THAN_PARAMETERS
