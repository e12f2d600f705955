"""The artefact store on S3: a real server process that speaks it, and a whole round over it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import boto3
import botocore.exceptions
import httpx
import pytest
from sqlalchemy import select

from app import artifacts
from app.database import transaction
from app.policies.models import Policy
from app.settings import get_settings
from app.stack.redis import free_port
from tests.worker.conftest import (
    Worker,
    label_batch,
    make_person,
    open_round,
    round_of,
    wait_for,
    wait_state,
)

pytestmark = pytest.mark.filterwarnings(
    # botocore's own calls
    "ignore::DeprecationWarning:botocore.*",
    "ignore::ResourceWarning",
)
PATH = "projects/p/rounds/1/train-1"
BUCKET = "policies"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a moto server process."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=log,
        stderr=subprocess.STDOUT,
    )

    def up() -> bool:
        assert process.poll() is None, "moto ended"
        try:
            return httpx.get(f"{address}/moto-api/", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(up, 120)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture
def bucket(server: str, settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket that the settings name; as boto3 sees it."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "ACTIVEDPO_ARTIFACTS": f"s3://{BUCKET}/policies",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    httpx.post(f"{server}/moto-api/reset")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()
    monkeypatch.undo()
    get_settings.cache_clear()


def keys(bucket: Any) -> list[str]:
    """Names of all objects."""
    return [one["Key"] for one in bucket.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def unfinished(bucket: Any) -> list[Any]:
    """Uploads that were begun and neither finished nor given up."""
    found: list[Any] = bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file that goes up in one piece, and one in several."""
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "adapter_model.safetensors").write_bytes(os.urandom(120 * 1024 * 1024))
    (made / "deep" / "b.json").write_text("{}")
    return made


def test_what_was_put_comes_back_whole_and_goes(bucket: Any, folder: Path, tmp_path: Path) -> None:
    files = artifacts.put_folder(folder, PATH)
    names = [f"policies/{PATH}/adapter_model.safetensors", f"policies/{PATH}/deep/b.json"]
    assert keys(bucket) == names
    head = bucket.head_object(Bucket=BUCKET, Key=names[0])
    assert head["ETag"].strip('"').rpartition("-")[2].isdecimal(), "it went up in parts"
    back = artifacts.fetch_folder(PATH, files, tmp_path / "cache")
    for name in files:
        assert (back / name).read_bytes() == (folder / name).read_bytes()
    artifacts.remove_folder(PATH)
    artifacts.remove_folder(PATH)
    assert keys(bucket) == []
    with pytest.raises(FileNotFoundError):
        artifacts.fetch_folder(PATH, files, tmp_path / "another")


def test_a_byte_that_another_changed_is_refused(bucket: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    files = artifacts.put_folder(folder, PATH)
    # by somebody else, under our eyes: nothing of ours may remember how it was
    bucket.put_object(
        Bucket=BUCKET, Key=f"policies/{PATH}/adapter_model.safetensors", Body=b"Weights"
    )
    with pytest.raises(artifacts.DamagedArtifactError, match="adapter_model"):
        artifacts.fetch_folder(PATH, files, tmp_path / "cache")
    assert not (tmp_path / "cache" / PATH).exists()


def test_an_upload_that_is_cut_off_leaves_nothing(
    bucket: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiobotocore.client import AioBaseClient

    real, parts = AioBaseClient._make_api_call, []

    async def cut(self: Any, operation: str, *more: Any) -> Any:
        if operation == "UploadPart":
            parts.append(operation)
            if len(parts) > 1:
                raise botocore.exceptions.EndpointConnectionError(endpoint_url="http://gone")
        return await real(self, operation, *more)

    with monkeypatch.context() as patch:
        patch.setattr(AioBaseClient, "_make_api_call", cut)
        with pytest.raises((OSError, botocore.exceptions.BotoCoreError)):
            artifacts.put_folder(folder, PATH)
    assert len(parts) > 1
    assert keys(bucket) == []
    assert unfinished(bucket) == []
    assert set(artifacts.put_folder(folder, PATH)) == {"adapter_model.safetensors", "deep/b.json"}


def test_a_killed_upload_is_no_object_and_the_next_attempt_has_a_place_of_its_own(
    bucket: Any, folder: Path
) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from aiobotocore.client import AioBaseClient\n"
        "from app import artifacts\n"
        "real, parts = AioBaseClient._make_api_call, []\n"
        "async def cut(self, operation, *more):\n"
        "    found = await real(self, operation, *more)\n"
        "    if operation == 'UploadPart':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return found\n"
        "AioBaseClient._make_api_call = cut\n"
        "artifacts.put_folder(Path(sys.argv[1]), sys.argv[2])\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(folder), PATH], check=False)
    assert died.returncode == -9
    assert keys(bucket) == []
    assert len(unfinished(bucket)) == 1, "which the bucket's lifecycle rule ends"
    again = PATH.replace("train-1", "train-2")
    artifacts.put_folder(folder, again)
    assert {key.split("/")[5] for key in keys(bucket)} == {"train-2"}


def test_a_whole_round_keeps_its_policy_on_s3(
    bucket: Any, project: Callable[..., UUID], start_worker: Callable[..., Worker]
) -> None:
    project_id = project(evals=2, training={"max_steps": 2})
    start_worker()
    round_id = open_round(project_id)
    label_batch(project_id, round_id, make_person())
    wait_state(round_id, "done")
    with transaction() as session:
        policy = session.scalars(select(Policy).where(Policy.round_id == round_id)).one()
    assert keys(bucket) == sorted(f"policies/{policy.path}/{name}" for name in policy.files)
    assert not (get_settings().home / "artifacts" / str(policy.path)).exists()
    # the evaluation brought it back from there, checked
    copy = get_settings().home / "cache" / "policies" / str(policy.path)
    assert sorted(f.relative_to(copy).as_posix() for f in copy.rglob("*") if f.is_file()) == sorted(
        policy.files
    )
    assert round_of(round_id).metrics["kl"] is not None
