"""A round's training: DPO on the labels that were fixed for it, resumable, published once."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

import activedpo as ad
from activedpo.errors import ActiveDPOError, CheckpointMismatch, Interrupted, NothingToTrain
from app import artifacts, faults
from app.policies.models import Policy
from app.projects.models import Project
from app.rounds import stages
from app.rounds.gate import pseudo_labelled
from app.rounds.models import Round, Run
from app.rounds.training_set import TrainingPair, training_set
from app.settings import get_settings
from worker import models, ranks
from worker.generate import fit, library_pair
from worker.loaded import Models
from worker.report import Report
from worker.trackers import Curves
from worker.work import Labelled, LeftOut, TrainOutcome, TrainWork, Wire

WORK, OUTCOME = Wire(TrainWork), Wire(TrainOutcome)
MOST_STEPS_KEPT = 500
CHECKPOINTS = 5
"""Checkpoints of a training whose project does not say how often."""

# what a project's training settings say to the library, by the library's own names
PASSED_ON = (
    "trainer",
    "lora",
    "learning_rate",
    "epochs",
    "max_steps",
    "batch_size",
    "loss",
    "label_smoothing",
    "checkpoint_every",
    "max_grad_norm",
    "schedule",
    "lora_alpha",
    "lora_dropout",
    "length_normalised",
    "gradient_checkpointing",
    "strategy",
)


def scratch_of(run: Run) -> Path:
    """Folder of a training's attempts on this machine."""
    return get_settings().home / "scratch" / f"train-{run.id}"


def path_of(run: Run, number: int, attempt: int) -> str:
    """An attempt's folder in the artefact store: no two attempts write to the same place."""
    return f"projects/{run.project_id}/rounds/{number}/train-{attempt}"


def load(session: Session, run: Run) -> TrainWork:
    """What the training needs, read in one short transaction."""
    round = session.get_one(Round, run.round_id)
    project = session.get_one(Project, run.project_id)
    policy = session.get(Policy, round.policy_in_id) if round.policy_in_id else None
    mine = scratch_of(run) / str(run.attempt)
    return TrainWork(
        setting=models.setting_of(project, round, policy),
        labelled=[_labelled(item, round) for item in _trained_on(session, round, project)],
        training=project.training,
        out=str(mine / "out"),
        checkpoints=str(mine / "checkpoints"),
        resume_from=_existing(run.checkpoint_uri),
        left=run.output.get("checkpoint"),
        path=path_of(run, round.number, run.attempt),
    )


def compute(data: bytes, held: Models, report: Report) -> bytes:
    """In the child: the guess on what is new, then DPO from π_0 or from the last policy."""
    work = WORK.unpack(data)
    report("loading", 0, 0)
    with _together(data, work, report):
        return OUTCOME.pack(_trained(work, held, report))


def take_part(data: bytes, held: Models) -> None:
    """In another process that trains with the child: the same steps, and nothing told of them."""
    work = _with_checkpoint(WORK.unpack(data))
    labelled, _ = _fitting(work, held)
    _resumed(labelled, work, held, None)


def _together(data: bytes, work: TrainWork, report: Report) -> AbstractContextManager[None]:
    count = int(work.training.get("processes", 1))
    return ranks.Ranks(count, data, report) if count > 1 else nullcontext()


def _trained(work: TrainWork, held: Models, report: Report) -> TrainOutcome:
    work = _with_checkpoint(work)
    labelled, left_out = _fitting(work, held)
    if not labelled:
        raise NothingToTrain(_nothing_left(left_out))
    guesses = accuracy_before(_with_margins(labelled, work, held, report))
    result = _resumed(labelled, work, held, report)
    left_out += [LeftOut(str(dropped.id), dropped.reason) for dropped in result.dropped]
    metrics = guesses | _figures(result.metrics, len(labelled) - len(result.dropped), left_out)
    metrics["pseudo_labels"] = sum(item.pseudo for item in labelled)
    kind = "adapter" if int(work.training.get("lora", 16)) else "full"
    return TrainOutcome(kind, metrics)


def keep(work: TrainWork, outcome: TrainOutcome) -> TrainOutcome:
    """Put the trained folder into the artefact store, before anything refers to it."""
    files = artifacts.put_folder(Path(work.out), work.path)
    return dataclasses.replace(outcome, files=files)


def leave(work: TrainWork, checkpoint: str) -> dict[str, Any] | None:
    """Put the checkpoint of a training that is stopped where another host finds it.

    It lies where the attempt's policy would, and is swept as such once the training is over.

    Returns:
        `{"path", "files"}`; None where there is one machine, which has it already.
    """
    if get_settings().artifacts is None:
        return None
    return {"path": work.path, "files": artifacts.put_folder(Path(checkpoint), work.path)}


def _with_checkpoint(work: TrainWork) -> TrainWork:
    """With the checkpoint that another host left, where this one has none of its own."""
    if work.resume_from is not None or work.left is None:
        return work
    place = Path(work.checkpoints).parent / "left"
    try:
        found = artifacts.fetch_folder(work.left["path"], work.left["files"], place)
    except (artifacts.DamagedArtifactError, OSError):
        return work  # the labels are the truth: it begins anew
    return dataclasses.replace(work, resume_from=str(found))


def store(session: Session, run: Run, work: TrainWork, outcome: TrainOutcome) -> None:
    """Publish the policy: the caller holds the run under its fencing number."""
    round = session.get_one(Round, run.round_id)
    project = session.get_one(Project, run.project_id)
    policy = Policy(
        project_id=run.project_id,
        number=round.number,
        kind=outcome.kind,
        base_model=project.base_model,
        parent_id=round.policy_in_id,
        round_id=round.id,
        path=work.path,
        files=outcome.files,
        size_bytes=sum(int(file["size"]) for file in outcome.files.values()),
        labels=sum(not item.pseudo for item in work.labelled),
        metrics=outcome.metrics,
    )
    stages.trained(session, run, policy)


def clear_scratch(run: Run) -> None:
    """Free this machine's disk of a training that is over."""
    shutil.rmtree(scratch_of(run), ignore_errors=True)


def accuracy_before(labelled: Sequence[Labelled]) -> dict[str, Any]:
    """How often the policy guessed a label right before it trained on it.

    The guess is the sign of the implicit rewards' margin; a margin of 0, as π_0 has, guesses
    nothing. The audit share is drawn at random from the pool, so its figure is unbiased; the
    chosen share is what the acquisition thought hard.
    """
    guessed = [item for item in labelled if item.new and item.margin and item.p != 0.5]
    groups = {
        "accuracy_before": guessed,
        "accuracy_before_audit": [item for item in guessed if item.audit],
        "accuracy_before_chosen": [item for item in guessed if not item.audit],
    }
    right = {name: [_guessed_right(item) for item in items] for name, items in groups.items()}
    figures: dict[str, Any] = {
        name: float(np.mean(hits)) if hits else None for name, hits in right.items()
    }
    return figures | {
        "guessed": len(guessed),
        "guessed_audit": len(right["accuracy_before_audit"]),
        "new_labels": sum(item.new for item in labelled),
    }


def _guessed_right(item: Labelled) -> bool:
    return ((item.margin or 0.0) > 0) == (item.p > 0.5)


def _labelled(item: TrainingPair, round: Round) -> Labelled:
    row = item.pair
    known = row.scored_by is not None and row.scored_by == round.policy_in_id
    both = row.ref_logp_a is not None and row.ref_logp_b is not None
    return Labelled(
        pair=library_pair(row, item.prompt_content),
        p=item.p,
        weight=item.weight,
        new=item.new,
        audit=item.audit,
        margin=row.margin if known else None,
        ref_logps=(row.ref_logp_a, row.ref_logp_b) if both else None,  # type: ignore[arg-type]
        pseudo=item.pseudo,
    )


def _trained_on(session: Session, round: Round, project: Project) -> list[TrainingPair]:
    return training_set(session, round) + pseudo_labelled(session, round, project)


def _existing(folder: str | None) -> str | None:
    return folder if folder is not None and Path(folder).is_dir() else None


def _fitting(work: TrainWork, held: Models) -> tuple[list[Labelled], list[LeftOut]]:
    policy = held.policy(work.setting.base)
    limit = work.training.get("max_length")
    pairs, left_out = fit(policy, [item.pair for item in work.labelled], work.setting, limit)
    asked = {pair.id: pair for pair in pairs}
    labelled = [
        dataclasses.replace(item, pair=asked[item.pair.id])
        for item in work.labelled
        if item.pair.id in asked
    ]
    return labelled, left_out


def _with_margins(
    labelled: Sequence[Labelled], work: TrainWork, held: Models, report: Report
) -> list[Labelled]:
    missing = [item for item in labelled if item.new and item.margin is None]
    if not missing or work.setting.policy.kind == "base":
        return list(labelled)
    policy, reference = held.of(work.setting)
    scores = ad.score_pairs(
        policy,
        [item.pair for item in missing],
        reference,
        work.setting.beta,
        progress=report.of("scoring"),
    )
    margins = {item.pair.id: float(m) for item, m in zip(missing, scores.margin, strict=True)}
    return [
        dataclasses.replace(item, margin=margins.get(item.pair.id, item.margin))
        for item in labelled
    ]


def _resumed(
    labelled: Sequence[Labelled], work: TrainWork, held: Models, report: Report | None
) -> ad.TrainResult:
    try:
        return _train(labelled, work, held, report)
    except CheckpointMismatch:  # the project's settings were changed before a retry
        anew = dataclasses.replace(work, resume_from=None)
        return _train(labelled, anew, held, report)


def _train(
    labelled: Sequence[Labelled], work: TrainWork, held: Models, report: Report | None
) -> ad.TrainResult:
    policy, reference = _start(work, held)
    stored = [item.ref_logps for item in labelled]
    # of several processes the one that reports draws as well
    curves = Curves(work.path, work.training) if report is not None else None
    try:
        return ad.train_dpo(
            policy,
            [ad.Preference(item.pair, item.p, item.weight) for item in labelled],
            reference,
            beta=work.setting.beta,
            out=work.out,
            seed=work.setting.seed + int(work.training.get("seed", 0)),
            ref_logps=None if None in stored else np.array(stored, dtype=np.float64),
            checkpoint_dir=work.checkpoints,
            resume_from=work.resume_from,
            progress=_progress(report, Path(work.checkpoints), curves),
            base_name=work.setting.base.name,
            stop=report.halt.is_set if report is not None else _never,
            **_settings(work.training, len(labelled)),
        )
    except Interrupted as stopped:
        if report is not None:
            faults.point("train.stopped")
            report("training", stopped.step, stopped.total, work.checkpoints)
        raise
    finally:
        if curves is not None:
            curves.finish()


def _never() -> bool:
    """Whoever trains along is told by the one that reports."""
    return False


def _settings(training: dict[str, Any], pairs: int) -> dict[str, Any]:
    """The project's training settings as the library's keywords, checkpoints included."""
    given = {key: training[key] for key in PASSED_ON if training.get(key) is not None}
    given["warmup_ratio"] = training.get("warmup", 0.0)
    if training.get("max_grad_norm", 1.0) is None:
        given["max_grad_norm"] = math.inf
    batch, epochs = int(training.get("batch_size", 16)), int(training.get("epochs", 3))
    steps = int(training.get("max_steps") or epochs * -(-pairs // batch))
    given.setdefault("checkpoint_every", max(1, steps // CHECKPOINTS))
    return given


def _start(work: TrainWork, held: Models) -> tuple[ad.Policy, ad.Policy | None]:
    """π_0 for ``reset``; for ``continue`` the last policy, with π_0 as the reference still."""
    last = work.setting.policy
    if work.training.get("reset", "reset") == "reset" or last.kind == "base":
        return held.policy(work.setting.base), None
    wanted = "adapter" if int(work.training.get("lora", 16)) else "full"
    if last.kind != wanted:
        raise ActiveDPOError(
            f"training continues from the last policy, which is of kind {last.kind!r}, but the "
            f"project now trains {wanted!r}: set the training's lora back, or reset to 'reset'"
        )
    return held.of(work.setting)


def _progress(
    report: Report | None, checkpoints: Path, curves: Curves | None
) -> Callable[[int, int, dict[str, Any]], None] | None:
    if report is None or curves is None:
        return None

    def tell(step: int, total: int, figures: dict[str, Any]) -> None:
        curves(step, figures)
        written = any(checkpoints.glob("[!.]*"))
        report("training", step, total, str(checkpoints) if written else None)

    return tell


def _figures(metrics: dict[str, Any], trained: int, left_out: Sequence[LeftOut]) -> dict[str, Any]:
    steps = metrics.get("steps", [])
    every = -(-len(steps) // MOST_STEPS_KEPT) or 1
    named = {"left_out_named": [dataclasses.asdict(o) for o in left_out[:20]]} if left_out else {}
    return {
        "steps": steps[::-every][::-1],  # the last step is always among them
        "trained_pairs": trained,
        "not_trained": len(left_out),
        **{f"train_{key}": metrics.get(key) for key in ("loss", "accuracy", "margin", "seconds")},
        "trainer": metrics.get("trainer"),
        "stopped": metrics.get("stopped"),
        **named,
    }


def _nothing_left(left_out: Sequence[LeftOut]) -> str:
    reason = f" The first: {left_out[0].reason}." if left_out else ""
    return f"none of the round's {len(left_out)} labelled pairs can be trained on.{reason}"
