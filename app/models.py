"""Every table, imported once: what Alembic compares and the sessions need."""

from app.evaluations.models import Evaluation, Output, Outputs
from app.idempotency.models import KeptAnswer
from app.imports.models import KeptFile
from app.labelling.models import Claim, GoldPair, Preference, PreferenceVersion, Withheld
from app.labelling.practice_models import PracticeAnswer, PracticePair, PracticeResult
from app.oracles.models import Delivery, Oracle, Verdict, Webhook
from app.people.models import (
    ApiKey,
    Group,
    GroupMember,
    GroupRole,
    Identity,
    Invitation,
    InvitationUse,
    Membership,
    PasswordLink,
    Person,
    RecoveryCode,
    SecondFactor,
    SignIn,
)
from app.playground.models import Trial
from app.policies.models import Policy
from app.projects.models import Pair, Project, Prompt, Snapshot
from app.quality.models import SetAside
from app.rounds.models import Event, Round, Run, TrainingLabel
from app.system.models import Worker

__all__ = [
    "ApiKey",
    "Claim",
    "Delivery",
    "Evaluation",
    "Event",
    "GoldPair",
    "Group",
    "GroupMember",
    "GroupRole",
    "Identity",
    "Invitation",
    "InvitationUse",
    "KeptAnswer",
    "KeptFile",
    "Membership",
    "Oracle",
    "Output",
    "Outputs",
    "Pair",
    "PasswordLink",
    "Person",
    "Policy",
    "PracticeAnswer",
    "PracticePair",
    "PracticeResult",
    "Preference",
    "PreferenceVersion",
    "Project",
    "Prompt",
    "RecoveryCode",
    "Round",
    "Run",
    "SecondFactor",
    "SetAside",
    "SignIn",
    "Snapshot",
    "TrainingLabel",
    "Trial",
    "Verdict",
    "Webhook",
    "Withheld",
    "Worker",
]
