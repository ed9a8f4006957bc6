"""Requests made from what a server says of itself: its API's schema, its page's events, its routes. Right ones, and
wrong in every way that JSON and HTTP allow; each by its number."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from crossviz.web.doors import OPEN
from fuzz import captions
from fuzz.client import Answer, Client
from fuzz.photo_seeds import photo_seeds

__all__ = ["Request", "make_requests", "send_request"]

_CAPTION = "a woman in an orange suit and a dog"
_ENDLESS = ("heartbeat", "queue/data", "upload_progress", "startup-events", "playlist", "stream")
_CLOSED = dict.fromkeys(
    (
        *("/openapi.json", "/docs", "/login", "/monitoring", "/monitoring/{key}", "/gradio_api/deep_link"),
        *("/gradio_api/component_server", "/gradio_api/process_recording", "/gradio_api/proxy={url}", "/svelte/{path}"),
        *("/gradio_api/stream/{event_id}", "/gradio_api/vibe-edit", "/gradio_api/dev/reload", "/custom_component/{id}"),
    ),
    "GET",
)
"""Some of Gradio's routes that the server does not open."""
_SLOW = {"generate": 0.05, "trust": 0.2, "compare": 0.2}
"""How many of the requests to these are sent; each takes seconds."""
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**40, -(10**400), 0.5, 1e308, float("nan"), float("inf")),
    *("", " ", "a", "\0", "\ud800", "x" * 5000, "../../etc/passwd", "/etc/passwd", "http://127.0.0.1:1/x", "__class__"),
    *([], [[]], [None], [0] * 300, {}, {"path": None}, {"path": "/etc/passwd"}, {"path": [], "meta": 1}),
    *({"__type__": "update"}, {"__type__": "update", "value": 1}, {"a": {"b": [{"c": None}]}}),
    *({"path": "x", "url": "http://127.0.0.1:1/", "meta": {"_type": "gradio.FileData"}}, "\u202e" * 50, "${1}"),
)
_BODIES = (
    *(
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"\xff\xfe",
        b"{}",
        b'{"data": {}}',
        b'{"data": null}',
        b'{"data": "a"}',
    ),
    *(b'{"data": [' + b"[" * 5000 + b"]" * 5000 + b"]}", b'{"data": [NaN]}', b'{"data": []}', b'{"data": [1e999]}'),
    *(b'{"data": [' + b"1," * 2000 + b"1]}", b'{"data": [], "data": []}', b'{"data": ["\\ud800"]}', b"a=b&c=d"),
)


@dataclass(frozen=True)
class Request:
    """One request; `call` is an endpoint of the API with its data, or None for any other."""

    label: str
    call: tuple[str, list[Any]] | None = None
    method: str = "POST"
    path: str = ""
    body: bytes | None = None
    kind: str = "application/json"
    endless: bool = False


@dataclass(frozen=True)
class _Known:
    """What the server says of itself, and what a right request needs."""

    endpoints: Mapping[str, list[dict[str, Any]]]
    routes: list[tuple[str, str]]
    events: list[dict[str, Any]]
    values: Mapping[str, list[Any]]


def make_requests(client: Client) -> Callable[[int], Request]:
    """Ask the server what it takes; gives what makes the request of a number."""
    info = json.loads(client.send("GET", "/gradio_api/info").body)
    config = json.loads(client.send("GET", "/config").body)
    models = [model["name"] for model in client.call("models", []).result[0]["models"] if model["available"]]
    methods = [method["name"] for method in client.call("methods", [""]).result[0]["methods"]]
    photo = {"path": client.upload(photo_seeds()["png rgb"], "a.png"), "meta": {"_type": "gradio.FileData"}}
    texts, selects = [_CAPTION, "a cat", "an orange suit, a woman"], ["suit", "an orange suit", "dog", None]
    values = {
        "photo": [photo],
        "caption": texts,
        "text": selects,
        "other_text": [None, None, "suit"],
        "other_caption": [None, *texts],
        "span": [None, [0, 1], [11, 17]],
        "word": [None, 0, 1, 3],
        "layer": [None, 0, 1, "block 1"],
        "head": [None, 0, 1],
        "token": [None, 1, 2],
        "patch": [None, [0, 0], [3, 4]],
        "model": ["", "", *models],
        "other_model": [None, *models],
        "method": ["", "", *methods],
        "other_method": [None, *methods],
        "models": [models[:2], models],
        "format": [".png", ".svg", ".pdf", ".html", ".gif", ".npz", ".json", ".csv"],
        "words": [None, ["suit"], ["suit", "dog"]],
        "checks": [None, ["calibration"], ["deletion"], ["localisation"]],
        "box": [None, [0, 0, 20, 20.5]],
        "picture": [False, True],
        "width": [None, 64, 200],
        "seed": [0, 1],
        "guidance": [None, 2.0],
        "temperature": [None, 1.0],
    }
    endpoints = {name.strip("/"): entry["parameters"] for name, entry in info["named_endpoints"].items()}
    known = [(way, path) for path, ways in {**OPEN, **_CLOSED}.items() for way in (*ways.split(), "POST", "PUT")]
    events = [event for event in config["dependencies"] if event["api_visibility"] == "private"]
    return lambda number: _make(number, _Known(endpoints, known, events, values))


def send_request(client: Client, request: Request) -> Answer:
    """Send it and read the answer."""
    if request.call is not None:
        return client.call(*request.call)
    headers = {"Content-Type": request.kind}
    if request.endless:
        return client.begin(request.method, request.path, request.body, headers)
    return client.send(request.method, request.path, request.body, headers)


def _make(number: int, known: _Known) -> Request:
    rng = random.Random(f"request {number}")
    share = rng.random()
    if share < 0.55:
        return _of_schema(rng, known)
    if share < 0.65:
        name = rng.choice([*known.endpoints])
        return Request(f"call {name}: a body that is none", path=f"/gradio_api/call/{name}", body=rng.choice(_BODIES))
    if share < 0.8:
        return _page_event(rng, known)
    return _route(rng, known)


def _of_schema(rng: random.Random, known: _Known) -> Request:
    """An endpoint with values that are right, of the right type, or of none; now and then one too few or too many."""
    names = [*known.endpoints]
    weights = [_SLOW.get(name, 1.0) for name in names]
    (name,) = rng.choices(names, weights)
    odd = rng.choice((0.0, 0.1, 0.1, 0.5))
    data = [_value(rng, part, known, odd) for part in known.endpoints[name]]
    if rng.random() < 0.05 and data:
        data = rng.choice((data[:-1], [*data, None], data[::-1], data * 3))
    return Request(f"call {name}: odd values {odd:.0%}", (name, data))


def _value(rng: random.Random, part: Mapping[str, Any], known: _Known, odd: float) -> Any:
    name = part["parameter_name"]
    if rng.random() >= odd and name in known.values:
        if part["parameter_has_default"] and rng.random() < 0.5:
            return part["parameter_default"]
        return rng.choice(known.values[name])
    return rng.choice(_ODD) if rng.random() < 0.4 else _of_type(rng, part["type"])


def _of_type(rng: random.Random, schema: Mapping[str, Any]) -> Any:
    """A value that a JSON schema allows."""
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return _of_type(rng, rng.choice(schema[several]))
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "string":
            return captions.make(rng.randrange(10_000))[0][:6000]
        case "integer":
            return rng.choice((0, 1, -1, 3, 7, 999, -(2**31), 2**53, 10**30, rng.randrange(100)))
        case "number":
            return rng.choice((0, 0.0, -0.0, 1.5, -1e300, 1e-320, 1e300, rng.random() * 10))
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case "array":
            return [_of_type(rng, schema.get("items", {})) for _ in range(rng.choice((0, 1, 2, 2, 4, 5, 200)))]
        case "object":
            return {
                key: _of_type(rng, inner) for key, inner in schema.get("properties", {}).items() if rng.random() < 0.9
            }
        case _:
            return rng.choice(_ODD)


def _page_event(rng: random.Random, known: _Known) -> Request:
    """An event of the page, which only the page is meant to trigger, with anything as its input."""
    event = rng.choice(known.events)
    body: dict[str, Any] = {
        "fn_index": event["id"] if rng.random() < 0.8 else rng.choice((*_ODD, 99999, -1)),
        "data": [rng.choice(_ODD) for _ in event["inputs"]] if rng.random() < 0.9 else rng.choice(_ODD),
        "event_data": rng.choice((*_ODD, {"id": "0" * 32, "path": "/etc/passwd", "format": ".npz", "index": 10**9})),
        "session_hash": rng.choice(("fuzz", "fuzz", *_ODD)),
        "trigger_id": rng.choice((None, None, *_ODD)),
    }
    for key in rng.sample([*body], rng.choice((0, 0, 1))):
        del body[key]
    if rng.random() < 0.2:
        body[rng.choice(("event_id", "batched", "simple_format", "oauth_token", "request", "x"))] = rng.choice(_ODD)
    where = rng.choice(
        ("/gradio_api/queue/join", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/v2/explain")
    )
    targets = ",".join(str(target[1]) for target in event["targets"])
    return Request(
        f"{where.rpartition('/')[2]}: event {event['id']} ({targets})", path=where, body=json.dumps(body).encode()
    )


def _route(rng: random.Random, known: _Known) -> Request:
    """Any of the server's addresses, with anything in its place, its question or its body."""
    way, path = rng.choice(known.routes)
    odd = [value for value in _ODD if isinstance(value, str)] + [
        "fuzz",
        "0",
        "-1",
        "explain",
        "%00",
        "%2e%2e%2f",
        "a/b",
    ]
    whole = path
    while "{" in whole:
        start, end = whole.index("{"), whole.index("}")
        whole = whole[:start] + quote(rng.choice(odd)[:300], safe="%", errors="replace") + whole[end + 1 :]
    if rng.random() < 0.5:
        names = ("session_hash", "upload_id", "event_id", "__theme", "view", "deep_link", "fn_index", "x[]")
        whole += f"?{rng.choice(names)}={quote(str(rng.choice(_ODD))[:300], errors='replace')}"
    body, kind = None, "application/json"
    if way in ("POST", "PUT"):
        names = ("data", "session_hash", "event_id", "fn_index", "component_id", "fn_name", "type", "files")
        made = json.dumps({name: rng.choice(_ODD) for name in rng.sample(names, 4)}).encode()
        body = made if rng.random() < 0.6 else rng.choice(_BODIES)
        kind = rng.choice(
            (
                "application/json",
                "application/json",
                "text/plain",
                "multipart/form-data; boundary=x",
                "multipart/form-data",
                "",
            )
        )
    endless = any(part in path for part in _ENDLESS)
    return Request(f"{way} {path}", method=way, path=whole, body=body, kind=kind, endless=endless)
