"""An identity provider in a process of its own: ``python -m tests.people.provider PORT``.

The provider is the package ``oidc-provider-mock`` as it is; around it stands what a test may break,
set by ``PUT /faults``: claims written over, another signing key or algorithm, errors, redirects,
and answers that never come. It checks the verifier (PKCE), which the package does not.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import flask
import oidc_provider_mock
import uvicorn
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from joserfc.jws import JWSRegistry

faults: dict[str, Any] = {}
challenges: dict[str, str] = {}
"""By code: what the one who redeems it must know the verifier of."""
calls: dict[str, int] = {}
stranger = RSAKey.generate_key(2048, {"kid": "a stranger's"})
rotated: list[RSAKey] = []


def _signed(claims: dict[str, Any], own: dict[str, Any]) -> str:
    kind = faults.get("sign")
    if kind == "none":
        registry = JWSRegistry(algorithms=["none"])
        return jwt.encode({"alg": "none"}, claims, OctKey.import_key("x" * 32), registry=registry)
    if kind == "shared":  # signed by HMAC with the client's secret
        key = OctKey.import_key(os.environ["CLIENT_SECRET"] * 2)
        return jwt.encode({"alg": "HS256"}, claims, key, algorithms=["HS256"])
    key = stranger if kind == "stranger" else rotated[-1] if rotated else RSAKey.import_key(own)
    header = {"alg": "RS256", "kid": key.kid or key.thumbprint()}
    return jwt.encode(header, claims, key)


def _before() -> Any:
    path = flask.request.path
    calls[path] = calls.get(path, 0) + 1
    if path == faults.get("hang"):
        time.sleep(60)
    if path == faults.get("fail"):
        return "the provider's insides: root:hunter2", 500
    if path == faults.get("redirect"):
        return flask.redirect("/elsewhere")
    if path == "/oauth2/token":
        code, verifier = flask.request.form.get("code", ""), flask.request.form["code_verifier"]
        if create_s256_code_challenge(verifier) != challenges.pop(code, None):
            return {"error": "invalid_grant"}, 400
        told = flask.request.authorization
        if "secret" in faults and (told is None or told.password != faults["secret"]):
            return {"error": "invalid_client"}, 401
    return None


def _after(answer: flask.Response) -> flask.Response:
    from urllib.parse import parse_qs, urlsplit

    path, storage = flask.request.path, flask.g.oidc_provider_mock_storage
    if path == "/oauth2/authorize" and answer.status_code == 302:
        code = parse_qs(urlsplit(answer.headers["Location"]).query).get("code", [""])[0]
        challenges[code] = flask.request.args["code_challenge"]
    if path == "/.well-known/openid-configuration" and answer.status_code == 200:
        answer.set_data(flask.json.dumps({**answer.get_json(), **faults.get("metadata", {})}))
    if path == "/jwks" and answer.status_code == 200 and rotated:
        answer.set_data(flask.json.dumps({"keys": [rotated[-1].as_dict(private=False)]}))
    if path == "/oauth2/token" and answer.status_code == 200:
        own = storage.jwk.as_dict(is_private=True)
        token = answer.get_json()
        claims = jwt.decode(token["id_token"], RSAKey.import_key(own)).claims
        claims.pop("at_hash", None)
        for name in faults.get("hidden", ()):
            claims.pop(name, None)
        claims.update(faults.get("claims", {}))
        token["id_token"] = _signed(claims, own)
        answer.set_data(flask.json.dumps(token))
    return answer


def _set_faults() -> Any:
    faults.clear()
    faults.update(flask.request.get_json())
    if faults.pop("rotate", False):
        rotated.append(RSAKey.generate_key(2048, {"kid": f"key {len(rotated)}"}))
    return "", 204


def main(port: int) -> None:
    """Serve until ended."""
    app = oidc_provider_mock.app(require_nonce=True)
    app.debug = False
    app.before_request(_before)
    app.after_request(_after)
    app.add_url_rule("/faults", view_func=_set_faults, methods=["PUT"])
    app.add_url_rule("/calls", view_func=lambda: calls)
    # one process, several threads: an answer that hangs must not keep the next test waiting
    uvicorn.run(app, interface="wsgi", host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main(int(sys.argv[1]))
