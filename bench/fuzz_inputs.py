"""Bad inputs, each made from a seed and its number alone, so that any of them can be made again."""

from __future__ import annotations

import io
import json
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pyarrow as pa
import pyarrow.parquet as pq

from tests.security.rules import API, PAGES, RULES

TEXTS = (
    *("", " ", "\x00", "a\x00b", "\ud800", "\u202e", "\ufeff", "' OR 1=1 --", "%s%n", "{{7*7}}"),
    *(
        "<script>alert(1)</script>",
        "../../etc/passwd",
        "=cmd()",
        "\r\nX: y",
        "x" * 5_000,
        "💥" * 40,
    ),
    *("nan", "-0", "1e999", "0x10", "true", "null", "[]", "2026-13-45", "http://[::1", "a@b", "٣"),
    *("٣/minute", "file:///etc/passwd", "\\", '"', "'", "\t", "9" * 400, "İ", "ß", "ﬀ", "e\u0301"),
)
NUMBERS = (
    *(0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**40, 0.1, -0.0, 1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf")),
)
QUERY = ("limit", "cursor", "split", "format", "kind", "person", "since", "until", "state", "round",
         "merged", "next", "page", "project", "q", "sort", "stage", "done")  # fmt: skip
HEADERS = ("Authorization", "Idempotency-Key", "If-None-Match", "Accept", "Content-Type", "Cookie",
           "X-CSRF-Token", "Range", "Content-Length", "Host", "Origin")  # fmt: skip
COLUMNS = ("prompt", "completion_a", "completion_b", "external_id", "chosen", "rejected", "split",
           "messages", "preference", "winner", "instruction", "output_1", "meta")  # fmt: skip
ENDLESS = {name for name, rule in RULES.items() if rule.endless}
TYPES = {
    "jsonl": "application/jsonl",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass
class Input:
    """A request: who sends it is a name of the cast of ``tests/security``."""

    kind: str
    method: str
    path: str
    who: str
    by_cookie: bool = False
    body: bytes = b""
    headers: dict[str, bytes] = field(default_factory=dict)
    form: dict[str, str] | None = None


def text(draw: random.Random) -> str:
    """A text that somebody did not think of."""
    if draw.random() < 0.6:
        return draw.choice(TEXTS)
    return "".join(
        chr(draw.choice((draw.randrange(0x80), draw.randrange(0x110000)))) for _ in "12345"
    )


def value(draw: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and some that are none."""
    kind = draw.random()
    if depth < 4 and kind < 0.12:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if depth < 4 and kind < 0.24:
        return {text(draw): value(draw, depth + 1) for _ in range(draw.randrange(4))}
    if kind < 0.4:
        return draw.choice(NUMBERS)
    if kind < 0.5:
        return draw.choice((None, True, False))
    return str(uuid.UUID(int=draw.getrandbits(128))) if kind < 0.55 else text(draw)


def dumped(thing: Any) -> bytes:
    """JSON with lone surrogates and all."""
    return json.dumps(thing, ensure_ascii=True).encode()


def broken(draw: random.Random, raw: bytes) -> bytes:
    """Bytes with some changed, cut off, doubled or put in."""
    found = bytearray(raw)
    for _ in range(draw.choice((0, 1, 1, 2, 8))):
        at = draw.randrange(len(found) + 1)
        change = draw.randrange(5)
        if change == 0 and found:
            found[at % len(found)] = draw.randrange(256)
        elif change == 1:
            del found[at:]
        elif change == 2:
            found[at:at] = draw.randbytes(draw.randrange(1, 9))
        elif change == 3:
            found[at:at] = found[max(0, at - 20) : at]
        else:
            found[at:at] = draw.choice(
                (b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"\n", b"{" * 99)
            )
    return bytes(found)


def _changed(draw: random.Random, body: dict[str, Any]) -> Any:
    """A body that would be taken, with some of it replaced."""
    made: dict[str, Any] = dict(body)
    for _ in range(draw.randrange(1, 4)):
        name = draw.choice([*made, text(draw), "name", "settings", "training", "generation"])
        made[name] = value(draw)
    return made if draw.random() < 0.9 else value(draw)


def _path(draw: random.Random, path: str, ids: dict[str, str]) -> str:
    for name, known in ids.items():
        odd = draw.random() < 0.1
        filled = quote(text(draw).encode("utf-8", "surrogatepass"), safe="") if odd else known
        path = path.replace(f"{{{name}}}", filled or "-")
    verb = draw.choice(("deactivate", "activate", "cancel", "retry", "train", "prompts", "pairs"))
    return path.replace("{what}", verb).replace("{verb}", verb)


def _headers(draw: random.Random) -> dict[str, bytes]:
    names = draw.sample(HEADERS, draw.choice((0, 0, 0, 1, 2)))
    plain = {name: text(draw).encode("utf-8", "surrogatepass") for name in names}
    # what no server would hand on is no input of ours
    return {name: raw.translate(None, b"\r\n\x00") for name, raw in plain.items()}


def _query(draw: random.Random) -> str:
    names = draw.sample(QUERY, draw.choice((0, 1, 1, 2)))
    pairs = {name: str(value(draw)).encode("utf-8", "surrogatepass") for name in names}
    return "?" + urlencode(pairs) if pairs else ""


def call(draw: random.Random, ids: dict[str, str]) -> Input:
    """A call that changes something, with a body that is nearly right."""
    name = draw.choice([name for name in API if not name.startswith("GET")])
    method, path = name.split()
    body = dumped(_changed(draw, API[name].body))
    headers = {"Content-Type": b"application/json", **_headers(draw)}
    who = draw.choice(("admin", "owner", "owner", "annotator", "oracle", "stranger"))
    body = broken(draw, body) if draw.random() < 0.15 else body
    return Input("call", method, _path(draw, path, ids), who, body=body, headers=headers)


def read(draw: random.Random, ids: dict[str, str]) -> Input:
    """A question with odd parameters, ids and headers."""
    name = draw.choice([n for n in (*API, *PAGES) if n.startswith("GET") and n not in ENDLESS])
    path = _path(draw, name.split()[1], ids) + _query(draw)
    who, page = draw.choice(("admin", "owner", "annotator")), name in PAGES
    return Input("read", "GET", path, who, by_cookie=page, headers=_headers(draw))


def form(draw: random.Random, ids: dict[str, str]) -> Input:
    """A form of a page."""
    name = draw.choice([name for name in PAGES if name.startswith("POST")])
    fields = {k: str(v) for k, v in PAGES[name].body.items()}
    for _ in range(draw.randrange(1, 4)):
        chosen = draw.choice([*fields, "name", "batch_size", "training.beta", "email", "code"])
        fields[chosen] = str(value(draw)).encode("utf-8", "replace").decode()
    who = draw.choice(("admin", "owner", "annotator"))
    path = _path(draw, name.split()[1], ids)
    return Input("form", "POST", path, who, by_cookie=True, form=fields)


def _rows(draw: random.Random) -> list[dict[str, Any]]:
    right = {"prompt": "Why?", "completion_a": "a", "completion_b": "b"}
    rows = []
    for n in range(draw.randrange(1, 5)):
        row: dict[str, Any] = {**right, "external_id": str(n)}
        for _ in range(draw.randrange(3)):
            row[draw.choice(COLUMNS)] = value(draw)
        rows.append(row)
    return rows


def _jsonl(draw: random.Random) -> bytes:
    lines = [dumped(row if draw.random() < 0.9 else value(draw)) for row in _rows(draw)]
    return draw.choice((b"\n", b"\r\n", b"\n\n", b"\r")).join(lines)


def _csv(draw: random.Random) -> bytes:
    rows = _rows(draw)
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    mark = draw.choice((",", ",", ",", ";", "\t"))
    lines = [mark.join(names)]
    for row in rows:
        cells = [str(row.get(name, "")) for name in names]
        quoted = ['"' + c.replace('"', '""') + '"' if draw.random() < 0.7 else c for c in cells]
        lines.append(mark.join(quoted))
    way = draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    errors = "surrogatepass" if way.startswith("utf") else "replace"
    return "\n".join(lines).encode(way, errors)


def _column(draw: random.Random, rows: int) -> pa.Array:
    makers: tuple[Callable[[], Any], ...] = (
        lambda: pa.array(["a"] * rows),
        lambda: pa.array([None] * rows, pa.string()),
        lambda: pa.array([b"\xff\x00"] * rows),
        lambda: pa.array(["a"] * rows).dictionary_encode(),
        lambda: pa.array([["a", None]] * rows),
        lambda: pa.array([{"role": "user", "content": "x"}] * rows),
        lambda: pa.array([[{"role": "user", "content": None}]] * rows),
        lambda: pa.array([float("nan")] * rows),
        lambda: pa.array([2**63 - 1] * rows),
        lambda: pa.array([-(2**62)] * rows, pa.timestamp("ns")),
        lambda: pa.array([draw.randrange(2**40)] * rows, pa.date64()),
        lambda: pa.array(["12.5"] * rows).cast(pa.decimal128(10, 2)),
        lambda: pa.nulls(rows),
        lambda: pa.array([{}] * rows, pa.struct([])),
        lambda: pa.array([[("k", "v")]] * rows, pa.map_(pa.string(), pa.string())),
    )
    return draw.choice(makers)()


def _parquet(draw: random.Random) -> bytes:
    rows = draw.randrange(4)
    names = draw.sample(COLUMNS[:3], 3) + draw.sample(COLUMNS, draw.randrange(3))
    names = list(dict.fromkeys(names))[draw.randrange(2) :]
    plain = draw.random() < 0.5
    arrays = [pa.array(["a"] * rows) if plain else _column(draw, rows) for _ in names]
    try:
        table = pa.Table.from_arrays(arrays, names=names)
        written = io.BytesIO()
        pq.write_table(table, written, compression=draw.choice(("none", "snappy", "zstd", "gzip")))
    except pa.ArrowException:  # what cannot be written cannot be sent
        return b"PAR1" + draw.randbytes(60) + b"PAR1"
    return written.getvalue()


def file(draw: random.Random, ids: dict[str, str]) -> Input:
    """A file for an importer, whole or damaged, as the body or as a part of a form."""
    # A Parquet file is read by a process of its own, 0.2 s each: fewer of them
    kind = draw.choices(("jsonl", "csv", "parquet"), (4, 4, 1))[0]
    maker = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[kind]
    raw = broken(draw, maker(draw)) if draw.random() < 0.7 else maker(draw)
    what, path = draw.choice(("prompts", "pairs", "pairs")), "/api/v1/projects/{project_id}/"
    url = path.replace("{project_id}", ids["project_id"]) + what
    if draw.random() < 0.5:
        return Input(
            kind, "POST", url, "owner", body=raw, headers={"Content-Type": TYPES[kind].encode()}
        )
    edge = b"the-edge-of-a-part"
    name = quote(text(draw).encode("utf-8", "surrogatepass")) if draw.random() < 0.1 else "x"
    head = f'Content-Disposition: form-data; name="file"; filename="{name}.{kind}"\r\n\r\n'.encode()
    body = b"--" + edge + b"\r\n" + head + raw + b"\r\n--" + edge + b"--\r\n"
    form_type = b"multipart/form-data; boundary=" + edge
    return Input(kind, "POST", url, "owner", body=body, headers={"Content-Type": form_type})


KINDS = ((file, 0.5), (call, 0.25), (read, 0.15), (form, 0.1))


def made(seed: int, number: int, ids: dict[str, str]) -> Input:
    """Input ``number`` of a seed, for a world with these ids."""
    draw = random.Random(f"{seed}/{number}")
    chosen = draw.choices([kind for kind, _ in KINDS], [share for _, share in KINDS])[0]
    return chosen(draw, ids)
