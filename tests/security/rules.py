"""Who may call which route: the table that the authorisation matrix is made from.

A route that is not in it fails ``test_every_route_has_a_rule``; add a line that says who may call
it, and a body with which the call would succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Who = Literal[
    "open",
    "signed",
    "session",
    "site",
    "view",
    "label",
    "review",
    "manage",
    "own",
    "holder",
    "mine",
    "keymaker",
    "whole",
    "sender",
]
"""Who may:

=========  ==========================================================================
open       anybody
signed     whoever has a key or a session
session    whoever has a session: no key will do
site       admins of the site
view       members of the project, whatever their role and scope
label      the same
review     owners, admins and reviewers of the project, whatever their scope but an oracle's
manage     owners and admins of the project with an admin-scoped way in; site admins
own        owners of the project with an admin-scoped way in; site admins
holder     the person whose claim or preference it is, and nobody else at all
keymaker   members of the project with an admin-scoped way in; site admins
whole      whoever has a session, or a key that is narrowed in nothing
sender     the manager of the project who sent the file, and nobody else at all
mine       the person whose key it is, and site admins
=========  ==========================================================================
"""


@dataclass(frozen=True)
class Rule:
    """Who may call a route, and how it is called."""

    who: Who
    body: dict[str, Any] = field(default_factory=dict)
    endless: bool = False  # a stream that goes on while the round does


PREFER = {"choice": "tie"}

API: dict[str, Rule] = {
    "GET /healthz": Rule("open"),
    "GET /readyz": Rule("open"),
    "GET /metrics": Rule("open"),
    "GET /api/v1/system": Rule("site"),
    "GET /api/v1/events": Rule("site"),
    "GET /api/v1/events/export": Rule("site"),
    "GET /favicon.ico": Rule("open"),
    "POST /api/v1/sign-in": Rule("open", {"email": "x@example.com", "password": "wrong"}),
    "POST /api/v1/sign-out": Rule("signed"),
    "GET /api/v1/me": Rule("signed"),
    "DELETE /api/v1/me/sessions": Rule("whole"),
    "POST /api/v1/people/{person_id}/password-link": Rule("site"),
    "PUT /api/v1/me/password": Rule("session", {"current": "x", "new": "y"}),
    "GET /api/v1/people": Rule("site"),
    "POST /api/v1/people": Rule("site", {"email": "new@example.com"}),
    "GET /api/v1/people/{person_id}": Rule("site"),
    "PATCH /api/v1/people/{person_id}": Rule("site", {"name": "Another"}),
    "GET /api/v1/me/export": Rule("whole"),
    "GET /api/v1/people/{person_id}/export": Rule("site"),
    "DELETE /api/v1/people/{person_id}": Rule("site"),
    "DELETE /api/v1/people/{person_id}/second-factor": Rule("site"),
    "GET /api/v1/projects/{project_id}/withheld": Rule("manage"),
    "POST /api/v1/projects/{project_id}/withheld/{pair_id}/clear": Rule("manage"),
    "GET /api/v1/me/shortcuts": Rule("signed"),
    "PUT /api/v1/me/shortcuts": Rule("signed", {"left": "j"}),
    "GET /api/v1/keys": Rule("signed"),
    "POST /api/v1/keys": Rule("keymaker", {"project": "{project_id}"}),
    "DELETE /api/v1/keys/{key_id}": Rule("mine"),
    "PATCH /api/v1/keys/{key_id}": Rule("mine", {"name": "another"}),
    "POST /api/v1/keys/{key_id}/rotate": Rule("mine", {"overlap": 60}),
    "GET /api/v1/projects/{project_id}/webhooks": Rule("manage"),
    "POST /api/v1/projects/{project_id}/webhooks": Rule(
        "manage", {"url": "https://example.com/hook"}
    ),
    "GET /api/v1/webhooks/{webhook_id}/deliveries": Rule("manage"),
    "DELETE /api/v1/webhooks/{webhook_id}": Rule("manage"),
    "POST /api/v1/deliveries/{delivery_id}/resend": Rule("manage"),
    "GET /api/v1/projects/{project_id}/members": Rule("manage"),
    "POST /api/v1/projects/{project_id}/members": Rule("manage", {"email": "stranger@example.com"}),
    "DELETE /api/v1/projects/{project_id}/members/{person_id}": Rule("manage"),
    "POST /api/v1/projects/{project_id}/members/{person_id}/owner": Rule("own"),
    "GET /api/v1/projects/{project_id}/invitations": Rule("manage"),
    "POST /api/v1/projects/{project_id}/invitations": Rule("manage", {"role": "reviewer"}),
    "DELETE /api/v1/projects/{project_id}/invitations/{invitation_id}": Rule("manage"),
    "GET /api/v1/groups": Rule("site"),
    "POST /api/v1/groups": Rule("site", {"name": "Another"}),
    "PATCH /api/v1/groups/{group_id}": Rule("site", {"name": "Another"}),
    "DELETE /api/v1/groups/{group_id}": Rule("site"),
    "PUT /api/v1/groups/{group_id}/members/{person_id}": Rule("site"),
    "DELETE /api/v1/groups/{group_id}/members/{person_id}": Rule("site"),
    "GET /api/v1/projects/{project_id}/groups": Rule("manage"),
    "POST /api/v1/projects/{project_id}/groups": Rule("manage", {"name": "{group_name}"}),
    "DELETE /api/v1/projects/{project_id}/groups/{group_id}": Rule("manage"),
    "GET /api/v1/invitations": Rule("site"),
    "POST /api/v1/invitations": Rule("site", {"role": "member"}),
    "DELETE /api/v1/invitations/{invitation_id}": Rule("site"),
    "POST /api/v1/invitations/accept": Rule(
        "open", {"token": "x", "email": "x@example.com", "name": "X", "password": "long enough"}
    ),
    "POST /api/v1/invitations/join": Rule("whole", {"token": "{invitation_token}"}),
    "POST /api/v1/projects": Rule("site", {"name": "new"}),
    "GET /api/v1/projects": Rule("signed"),
    "GET /api/v1/projects/{project_id}": Rule("view"),
    "PATCH /api/v1/projects/{project_id}": Rule("manage", {"name": "another"}),
    "DELETE /api/v1/projects/{project_id}": Rule("own"),
    "GET /api/v1/projects/{project_id}/prompts": Rule("view"),
    "POST /api/v1/projects/{project_id}/prompts": Rule("manage", {"prompts": [{"prompt": "x"}]}),
    "POST /api/v1/projects/{project_id}/pairs": Rule(
        "manage", {"pairs": [{"prompt": "x", "completion_a": "a", "completion_b": "b"}]}
    ),
    "GET /api/v1/projects/{project_id}/export": Rule("manage"),
    "POST /api/v1/projects/{project_id}/claims": Rule("label", {"count": 1}),
    "GET /api/v1/projects/{project_id}/claims": Rule("label"),
    "POST /api/v1/claims/{claim_id}/preference": Rule("holder", PREFER),
    "POST /api/v1/claims/preferences": Rule(
        "signed", {"items": [{"claim": "{claim_id}", **PREFER}]}
    ),
    "POST /api/v1/claims/{claim_id}/release": Rule("holder"),
    "POST /api/v1/claims/{claim_id}/renew": Rule("holder"),
    "PUT /api/v1/preferences/{preference_id}": Rule("holder", PREFER),
    "DELETE /api/v1/preferences/{preference_id}": Rule("holder"),
    "GET /api/v1/projects/{project_id}/preferences": Rule("view"),
    "GET /api/v1/projects/{project_id}/pairs/{pair_id}": Rule("manage"),
    "GET /api/v1/projects/{project_id}/disagreements": Rule("review"),
    "POST /api/v1/projects/{project_id}/disagreements/{pair_id}": Rule("review", {"choice": "tie"}),
    "GET /api/v1/projects/{project_id}/events": Rule("manage"),
    "GET /api/v1/projects/{project_id}/events/export": Rule("manage"),
    "GET /api/v1/projects/{project_id}/quality": Rule("manage"),
    "GET /api/v1/projects/{project_id}/own-figures": Rule("label"),
    "PUT /api/v1/projects/{project_id}/set-asides/{person_id}": Rule("manage", {"reason": "x"}),
    "DELETE /api/v1/projects/{project_id}/set-asides/{person_id}": Rule("manage"),
    "GET /api/v1/projects/{project_id}/practice": Rule("label"),
    "POST /api/v1/projects/{project_id}/practice/{practice_id}": Rule("label", PREFER),
    "GET /api/v1/projects/{project_id}/practice-pairs": Rule("manage"),
    "PUT /api/v1/projects/{project_id}/practice-pairs": Rule("manage", {"pairs": []}),
    "GET /api/v1/projects/{project_id}/practice-results": Rule("manage"),
    "DELETE /api/v1/projects/{project_id}/practice-results/{person_id}": Rule("manage"),
    "GET /api/v1/projects/{project_id}/gold": Rule("manage"),
    "POST /api/v1/projects/{project_id}/gold": Rule("manage", {"pair": "{pair_id}"}),
    "GET /api/v1/projects/{project_id}/gold/answers": Rule("manage"),
    "DELETE /api/v1/projects/{project_id}/gold/{pair_id}": Rule("manage"),
    "POST /api/v1/projects/{project_id}/rounds": Rule("manage"),
    "GET /api/v1/projects/{project_id}/rounds": Rule("view"),
    "GET /api/v1/projects/{project_id}/forecast": Rule("view"),
    "GET /api/v1/rounds/{round_id}": Rule("view"),
    "GET /api/v1/rounds/{round_id}/events": Rule("view"),
    "POST /api/v1/rounds/{round_id}/cancel": Rule("manage"),
    "POST /api/v1/rounds/{round_id}/retry": Rule("manage"),
    "POST /api/v1/rounds/{round_id}/train": Rule("manage"),
    "GET /api/v1/projects/{project_id}/policies": Rule("view"),
    "PUT /api/v1/projects/{project_id}/policy": Rule("manage", {"policy": "{policy_id}"}),
    "GET /api/v1/policies/{policy_id}": Rule("view"),
    "GET /api/v1/policies/{policy_id}/download": Rule("manage"),
    "PUT /api/v1/policies/{policy_id}/pin": Rule("manage"),
    "DELETE /api/v1/policies/{policy_id}/pin": Rule("manage"),
    "GET /api/v1/projects/{project_id}/evaluations": Rule("manage"),
    "POST /api/v1/projects/{project_id}/evaluations": Rule(
        "manage",
        {
            "a": {"outputs": "{outputs_id}"},
            "b": {"outputs": "{other_outputs_id}"},
            "prompts": "train",
        },
    ),
    "GET /api/v1/evaluations/{evaluation_id}": Rule("manage"),
    "GET /api/v1/evaluations/{evaluation_id}/export": Rule("manage"),
    "POST /api/v1/evaluations/{evaluation_id}/cancel": Rule("manage"),
    "POST /api/v1/evaluations/{evaluation_id}/close": Rule("manage"),
    "POST /api/v1/evaluations/{evaluation_id}/retry": Rule("manage"),
    "POST /api/v1/projects/{project_id}/trials": Rule(
        "manage", {"prompt": "x", "a": "{policy_id}", "b": "{policy_id}"}
    ),
    "GET /api/v1/trials/{trial_id}": Rule("manage"),
    "POST /api/v1/trials/{trial_id}/cancel": Rule("manage"),
    "POST /api/v1/trials/{trial_id}/keep": Rule("manage"),
    "GET /api/v1/projects/{project_id}/outputs": Rule("manage"),
    "POST /api/v1/projects/{project_id}/outputs": Rule(
        "manage", {"outputs": [{"prompt": "x", "completion": "y"}]}
    ),
    "DELETE /api/v1/outputs/{outputs_id}": Rule("manage"),
    "PUT /api/v1/projects/{project_id}/oracle": Rule("manage", {"kind": "sentiment"}),
    "GET /api/v1/projects/{project_id}/oracle": Rule("view"),
    "GET /api/v1/projects/{project_id}/oracle/figures": Rule("view"),
    "DELETE /api/v1/projects/{project_id}/oracle": Rule("manage"),
}

PAGES: dict[str, Rule] = {
    "GET /": Rule("open"),
    "GET /sign-in": Rule("open"),
    "POST /language": Rule("open", {"language": "de"}),
    "POST /account/language": Rule("signed", {"language": "de"}),
    "POST /sign-in": Rule("open", {"email": "x@example.com", "password": "wrong"}),
    "POST /sign-out": Rule("signed"),
    "GET /people": Rule("site"),
    "POST /people": Rule("site", {"email": "new@example.com", "role": "member"}),
    "POST /people/{person_id}/{verb}": Rule("site"),
    "GET /groups": Rule("site"),
    "POST /groups": Rule("site", {"name": "Another"}),
    "POST /groups/{group_id}/members": Rule("site", {"email": "stranger@example.com"}),
    "POST /groups/{group_id}/members/{person_id}/remove": Rule("site"),
    "POST /groups/{group_id}/delete": Rule("site"),
    "POST /projects/{project_id}/groups": Rule(
        "manage", {"name": "{group_name}", "role": "reviewer"}
    ),
    "POST /projects/{project_id}/groups/{group_id}/remove": Rule("manage"),
    "GET /invitation": Rule("open"),
    "POST /invitation": Rule("open", {"name": "X", "email": "x@example.com", "password": "x"}),
    "POST /invitation/join": Rule("signed"),
    "POST /people/invitations": Rule("site", {"role": "member", "days": "7", "uses": "1"}),
    "POST /people/invitations/{invitation_id}/revoke": Rule("site"),
    "GET /sign-in/oidc": Rule("open"),
    "GET /sign-in/oidc/callback": Rule("open"),
    "POST /sign-in/code": Rule("open", {"ticket": "none", "code": "123456"}),
    "GET /account": Rule("signed"),
    "GET /password": Rule("open"),
    "POST /password": Rule("open", {"password": "a password long enough"}),
    "POST /account/password": Rule("signed", {"current": "wrong", "new": "another long password"}),
    "POST /account/sessions/end": Rule("signed"),
    "POST /people/{person_id}/password-link": Rule("site"),
    "POST /account/second-factor": Rule("signed", {"password": "wrong"}),
    "POST /account/second-factor/confirm": Rule("signed", {"code": "123456"}),
    "POST /account/second-factor/codes": Rule("signed", {"code": "123456"}),
    "POST /account/second-factor/off": Rule("signed", {"code": "123456"}),
    "POST /people/{person_id}/second-factor/reset": Rule("site"),
    "GET /account/shortcuts": Rule("signed"),
    "POST /account/shortcuts": Rule("signed", {"left": "j"}),
    "GET /account/data": Rule("signed"),
    "GET /people/{person_id}/data": Rule("site"),
    "GET /people/{person_id}/delete": Rule("site"),
    "POST /people/{person_id}/delete": Rule("site", {"email": "annotator@example.com"}),
    "GET /projects/{project_id}/withheld": Rule("manage"),
    "POST /projects/{project_id}/withheld/{pair_id}/clear": Rule("manage"),
    "GET /keys": Rule("signed"),
    "POST /keys": Rule("signed", {"name": "mine", "scope": "annotator"}),
    "POST /keys/{key_id}/revoke": Rule("mine"),
    "GET /projects": Rule("signed"),
    "GET /projects/new": Rule("site"),
    "POST /projects/new": Rule("site", {"name": "new"}),
    "GET /projects/{project_id}": Rule("view"),
    "GET /projects/{project_id}/prompts": Rule("view"),
    "GET /projects/{project_id}/import": Rule("manage"),
    "POST /projects/{project_id}/import/{what}": Rule("manage", {"lines": "x", "split": "train"}),
    "GET /projects/{project_id}/import/kept/{kept_id}": Rule("sender"),
    "POST /projects/{project_id}/import/kept/{kept_id}": Rule("sender"),
    "GET /projects/{project_id}/import/refused/{kept_id}": Rule("sender"),
    "GET /projects/{project_id}/people": Rule("manage"),
    "POST /projects/{project_id}/people": Rule(
        "manage", {"email": "stranger@example.com", "role": "annotator"}
    ),
    "POST /projects/{project_id}/people/{person_id}/remove": Rule("manage"),
    "POST /projects/{project_id}/people/{person_id}/owner": Rule("own"),
    "POST /projects/{project_id}/invitations": Rule(
        "manage", {"role": "annotator", "days": "7", "uses": "1"}
    ),
    "POST /projects/{project_id}/invitations/{invitation_id}/revoke": Rule("manage"),
    "GET /projects/{project_id}/log": Rule("manage"),
    "GET /projects/{project_id}/quality": Rule("manage"),
    "GET /projects/{project_id}/own-figures": Rule("label"),
    "POST /projects/{project_id}/quality/{person_id}/set-aside": Rule("manage", {"reason": "x"}),
    "POST /projects/{project_id}/quality/{person_id}/take-back": Rule("manage"),
    "GET /projects/{project_id}/practice": Rule("label"),
    "POST /projects/{project_id}/practice/{practice_id}": Rule("label", PREFER),
    "GET /projects/{project_id}/practice/pairs": Rule("manage"),
    "POST /projects/{project_id}/practice-pairs": Rule("manage", {"prompt": "x"}),
    "POST /projects/{project_id}/practice-pairs/{practice_id}/remove": Rule("manage"),
    "POST /projects/{project_id}/practice-results/{person_id}/reset": Rule("manage"),
    "GET /projects/{project_id}/gold": Rule("manage"),
    "POST /projects/{project_id}/gold": Rule("manage", {"pair": "{pair_id}"}),
    "POST /projects/{project_id}/gold/{pair_id}/retire": Rule("manage"),
    "GET /projects/{project_id}/settings": Rule("manage"),
    "POST /projects/{project_id}/settings": Rule("manage", {"name": "another"}),
    "POST /projects/{project_id}/archive": Rule("manage"),
    "POST /projects/{project_id}/unarchive": Rule("manage"),
    "GET /projects/{project_id}/delete": Rule("own"),
    "POST /projects/{project_id}/delete": Rule("own", {"name": "no such name"}),
    "GET /projects/{project_id}/oracle": Rule("manage"),
    "POST /projects/{project_id}/oracle": Rule("manage", {"kind": "sentiment"}),
    "POST /projects/{project_id}/oracle/detach": Rule("manage"),
    "GET /projects/{project_id}/policies": Rule("view"),
    "GET /policies/{policy_id}": Rule("view"),
    "POST /policies/{policy_id}/current": Rule("manage"),
    "POST /policies/{policy_id}/pin": Rule("manage"),
    "POST /policies/{policy_id}/unpin": Rule("manage"),
    "GET /projects/{project_id}/pairs/{pair_id}": Rule("manage"),
    "GET /projects/{project_id}/disagreements": Rule("review"),
    "POST /projects/{project_id}/disagreements/{pair_id}": Rule("review", {"choice": "tie"}),
    "GET /projects/{project_id}/evaluations": Rule("manage"),
    "POST /projects/{project_id}/evaluations": Rule("manage", {"prompts": "train"}),
    "POST /projects/{project_id}/outputs": Rule("manage", {"name": "another"}),
    "POST /projects/{project_id}/outputs/{outputs_id}/remove": Rule("manage"),
    "GET /projects/{project_id}/playground": Rule("manage"),
    "POST /projects/{project_id}/playground": Rule("manage", {"prompt": "x"}),
    "GET /trials/{trial_id}/now": Rule("manage"),
    "POST /trials/{trial_id}/cancel": Rule("manage"),
    "POST /trials/{trial_id}/keep": Rule("manage"),
    "GET /evaluations/{evaluation_id}": Rule("manage"),
    "GET /evaluations/{evaluation_id}/now": Rule("manage"),
    "POST /evaluations/{evaluation_id}/{verb}": Rule("manage"),
    "GET /projects/{project_id}/label": Rule("label"),
    "POST /projects/{project_id}/label/{claim_id}": Rule("holder", PREFER),
    "GET /projects/{project_id}/label/rest": Rule("label"),
    "GET /projects/{project_id}/label/progress": Rule("label"),
    "GET /projects/{project_id}/rounds": Rule("view"),
    "POST /projects/{project_id}/rounds": Rule("manage"),
    "GET /rounds/{round_id}": Rule("view"),
    "POST /rounds/{round_id}/{verb}": Rule("manage"),
    "GET /rounds/{round_id}/events": Rule("view", endless=True),
    "GET /system": Rule("site"),
    "GET /admin/system": Rule("site"),
    "GET /admin/log": Rule("site"),
    "GET /demo/progress": Rule("signed"),
}

RULES = API | PAGES
