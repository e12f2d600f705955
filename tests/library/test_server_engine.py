"""A server that samples: what it gives is taken as it is, and what goes wrong is said."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import activedpo as ad
from activedpo.errors import ModelMismatch, ModelNotFound, TokenizerMismatch
from activedpo.loading import Policy
from activedpo.server import Address, ServerAway, ServerRefuses
from activedpo.server_engine import ServerEngine
from tests.completions import CompletionServer
from tests.library.conftest import as_messages, random_preferences

Serve = Callable[..., CompletionServer]
PROMPTS = ["abc de", "fgh", "the sea is", "b", "a"]


@pytest.fixture
def serve(model_folder: Callable[..., str]) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(CompletionServer(model_folder(), **how))


def engine_of(server: CompletionServer, **more: Any) -> ServerEngine:
    address = {"timeout": 30.0, "first_pause": 0.001} | more.pop("address", {})
    return ServerEngine(Address(server.url, **address), more.pop("model", server.model), **more)


def pairs_of(policy: Policy, engine: ServerEngine, **more: Any) -> list[ad.Pair]:
    given: dict[str, Any] = {"max_new_tokens": 12, "seed": 3} | more
    return ad.generate_pairs(policy, PROMPTS, engine=engine, **given)


def off(policy: Policy, pairs: list[ad.Pair]) -> float:
    """Largest difference of the server's log-probs from ours."""
    scores = ad.score_pairs(policy, pairs)
    theirs = [[pair.logp_a, pair.logp_b] for pair in pairs]
    ours = np.stack([scores.logp_a, scores.logp_b], axis=1)
    return float(np.abs(np.array(theirs, dtype=np.float64) - ours).max())


@pytest.mark.parametrize("gives", ["ids", "named"])
def test_the_server_s_ids_are_kept_and_its_log_probs_are_the_scorer_s(
    gives: str, serve: Serve, policy: Policy
) -> None:
    server = serve(gives=gives)
    engine = engine_of(server)
    seen: list[tuple[int, int]] = []
    pairs = pairs_of(policy, engine, progress=lambda *at: seen.append(at))
    assert seen[-1] == (5, 5)
    assert off(policy, pairs) < 1e-4
    assert (engine.told.samples, engine.told.retokenised) == (10, 0)
    assert len({pair.tokens_a for pair in pairs}) > 3
    assert any(pair.tokens_a != pair.tokens_b for pair in pairs)
    for pair in pairs:
        assert pair.tokens_a is not None
        assert len(pair.tokens_a) + pair.finished_a <= 12
        assert pair.finished_a or len(pair.tokens_a) == 12
    again = pairs_of(policy, engine_of(server))
    assert [p.tokens_a for p in again] == [p.tokens_a for p in pairs]  # by the seed


def test_chat_prompts_go_as_the_tokens_of_their_template(serve: Serve, policy: Policy) -> None:
    server = serve()
    messages = as_messages("hello")
    (pair,) = ad.generate_pairs(policy, [messages], max_new_tokens=4, engine=engine_of(server))
    (sent,) = [body["prompt"] for path, body in server.asked if path == "/completions"]
    assert tuple(sent) == pair.prompt_tokens


def test_texts_are_tokenised_anew_counted_and_have_no_log_prob(
    serve: Serve, policy: Policy
) -> None:
    engine = engine_of(serve(gives="text"))
    pairs = pairs_of(policy, engine)
    assert (engine.told.samples, engine.told.retokenised) == (10, 10)
    for pair in pairs:
        assert (pair.logp_a, pair.logp_b) == (None, None)
        assert pair.tokens_a is not None
        assert len(pair.tokens_a) <= 12
    assert np.isfinite(ad.score_pairs(policy, pairs).margin).all()


def test_where_it_is_not_the_policy_s_distribution_there_is_nothing_to_compare(
    serve: Serve, policy: Policy
) -> None:
    pairs = pairs_of(policy, engine_of(serve()), temperature=0.7, top_p=0.9, top_k=5)
    assert {pair.logp_a for pair in pairs} == {None}


def test_a_server_that_gives_one_at_a_time_is_asked_again(serve: Serve, policy: Policy) -> None:
    server = serve(single=True)
    pairs = pairs_of(policy, engine_of(server))
    assert server.paths().count("/completions") == 10
    assert any(pair.tokens_a != pair.tokens_b for pair in pairs)


def test_a_server_that_knows_openai_s_fields_alone_is_asked_plainly(
    serve: Serve, policy: Policy
) -> None:
    pairs = pairs_of(policy, engine_of(serve(strict=True, gives="named")))
    assert off(policy, pairs) < 1e-4


def test_a_busy_server_is_waited_for(serve: Serve, policy: Policy) -> None:
    server = serve(busy=7)
    assert off(policy, pairs_of(policy, engine_of(server))) < 1e-4
    assert server.busy == 0


def test_a_server_that_stays_busy_is_given_up(serve: Serve, policy: Policy) -> None:
    server = serve(busy=10_000, retry_after=None)
    with pytest.raises(ServerAway, match="429, 12 times over"):
        pairs_of(policy, engine_of(server))


def test_a_server_that_goes_in_the_middle_is_said_to_be_away(serve: Serve, policy: Policy) -> None:
    server = serve()
    engine = engine_of(server, address={"concurrency": 1})
    done: list[int] = []

    def leave(count: int, _: int) -> None:
        done.append(count)
        if count == 2:
            threading.Thread(target=server.stop).start()
            server._thread.join()

    with pytest.raises(ServerAway, match="cannot be reached"):
        pairs_of(policy, engine, progress=leave)
    assert 2 in done


def test_a_slow_server_is_given_up_by_the_time_of_a_request(serve: Serve, policy: Policy) -> None:
    server = serve(slow=threading.Event())
    with pytest.raises(ServerAway, match=r"no answer of the server in 0\.1 s, 6 times over"):
        pairs_of(policy, engine_of(server, address={"timeout": 0.1}))


def test_an_unknown_model_names_those_there_are(serve: Serve, policy: Policy) -> None:
    with pytest.raises(ModelNotFound, match=r"no model 'other'; there: tiny"):
        pairs_of(policy, engine_of(serve(), model="other"))


def test_a_key_that_is_refused_is_not_tried_twice(serve: Serve, policy: Policy) -> None:
    server = serve(key="right")
    with pytest.raises(ServerRefuses, match="API key"):
        pairs_of(policy, engine_of(server, address={"api_key": "wrong"}))
    assert server.paths() == ["/models"]
    assert pairs_of(policy, engine_of(server, address={"api_key": "right"}))


def test_other_tokens_than_were_sent_are_another_model(serve: Serve, policy: Policy) -> None:
    def other(choice: dict[str, Any]) -> None:
        choice["prompt_token_ids"] = [1, *choice["prompt_token_ids"]]

    with pytest.raises(ModelMismatch, match="as other tokens than were sent"):
        pairs_of(policy, engine_of(serve(spoil=other)))


def test_ids_beyond_the_embedding_are_refused(serve: Serve, policy: Policy) -> None:
    def beyond(choice: dict[str, Any]) -> None:
        choice["token_ids"] = [policy.vocabulary, *choice["token_ids"][1:]]

    with pytest.raises(TokenizerMismatch, match="beyond the embedding"):
        pairs_of(policy, engine_of(serve(spoil=beyond)))


def test_what_is_no_completion_is_refused(serve: Serve, policy: Policy) -> None:
    server = serve()
    server.reply = lambda path, body: (200, {"choices": []} if body else {"data": 3})  # type: ignore[method-assign]
    with pytest.raises(ServerRefuses, match="no completion"):
        pairs_of(policy, engine_of(server))


def test_a_private_address_is_refused_where_only_public_ones_are_allowed(
    serve: Serve, policy: Policy
) -> None:
    with pytest.raises(ServerRefuses, match="not public"):
        pairs_of(policy, engine_of(serve(), address={"public_only": True}))


def test_adapters_are_swapped_and_the_last_one_let_go(
    serve: Serve, policy: Policy, tmp_path: Path
) -> None:
    server = serve()
    made = []
    for number, rate in enumerate((1e-2, 5e-2)):
        out = tmp_path / str(number)
        ad.train_dpo(policy, random_preferences(6), lora=4, learning_rate=rate, out=out)
        made.append(ad.load(policy.name, adapter=out))
        engine = engine_of(server, adapter=(f"mine-{number}", str(out)), others="mine-")
        assert off(made[-1], pairs_of(made[-1], engine)) < 1e-4
        pairs_of(made[-1], engine)
    assert sorted(server.policies) == ["mine-1", "tiny"]
    assert server.paths().count("/load_lora_adapter") == 2
    # and the same samples are not the base's
    assert off(policy, pairs_of(made[1], engine)) > 1e-3


def test_a_server_without_swapping_says_how_to_switch_it_on(serve: Serve, policy: Policy) -> None:
    server = serve()
    real = server.reply
    server.reply = lambda path, body: (404, {}) if "lora" in path else real(path, body)  # type: ignore[method-assign]
    with pytest.raises(ServerRefuses, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        pairs_of(policy, engine_of(server, adapter=("mine", "/nowhere")))
