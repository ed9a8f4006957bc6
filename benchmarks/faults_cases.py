"""What may go wrong while a server runs, done to a real one."""

import contextlib
import io
import json
import os
import secrets
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

import crossviz
from benchmarks.faults_client import Client, Row, ended, files_below, photo, wait_for
from benchmarks.load import Server, serving
from crossviz.errors import MethodError
from crossviz.explainer import Explainer
from crossviz.geometry import PatchGrid
from crossviz.paths import assets_dir
from crossviz.web.engine import MOST_BYTES, check_room

__all__ = ["disk_full", "huge_grid", "killed", "leaves", "others_data", "queue_full", "slow_uploads", "stopped"]

CAPTION = "a dog and a cat"


def picture(seed: int, side: int = 300) -> bytes:
    """A JPEG that differs from every other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side // 10, side // 10, 3), np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(jpeg, "JPEG", quality=90)
    return jpeg.getvalue()


def _queue_size(port: int) -> int:
    client = Client(port)
    size = json.loads(client.send("GET", "queue/status")[1])["queue_size"]
    client.close()
    return size


def _together(calls: list[Callable[[], object]]) -> list[object]:
    found: list[object] = [None] * len(calls)

    def run(index: int) -> None:
        found[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def queue_full(server: Server, first: int) -> Row:
    """More questions at once than the line of `server` has places; it has 4, and 1 is answered at a time."""
    clients = [Client(server.port) for _ in range(16)]
    paths = [client.upload(picture(first + number))[1] for number, client in enumerate(clients)]
    for _ in range(3):  # the estimate is of answers before
        clients[0].ask("explain", photo(paths[0]), CAPTION, "", "")
    answers = _together(
        [lambda c=c, p=p: c.ask("explain", photo(p), CAPTION, "", "") for c, p in zip(clients, paths, strict=True)]
    )
    refused = [answer for answer in answers if answer.status == 503]
    polite = all("questions are waiting. Try again in" in answer.error for answer in refused)
    told = all((answer.retry_after or "").isdigit() for answer in refused)
    answered = sum(answer.data is not None for answer in answers)
    return Row(
        "queue full",
        "16 questions at once to a server with one place and a line of 4",
        "some are answered; the others get 503, a sentence with the time to wait, and Retry-After",
        f"{answered} answered, {len(refused)} refused: {refused[0].error[:90] if refused else '-'} "
        f"(Retry-After: {refused[0].retry_after if refused else '-'})",
        bool(refused) and polite and told and answered + len(refused) == len(answers),
    )


def leaves(server: Server, first: int) -> Row:
    """Clients that hang up while they wait."""
    clients = [Client(server.port) for _ in range(5)]
    paths = [client.upload(picture(first + number, 2000))[1] for number, client in enumerate(clients)]
    for client, path in zip(clients, paths, strict=True):
        status, event, _ = client.begin("explain", photo(path), CAPTION, "crossviz-mini", "occlusion")
        assert status == 200, event
        client.line.request("GET", f"/gradio_api/call/explain/{event}")
    full = _queue_size(server.port)
    for client in clients:
        client.close()
    left = time.monotonic()
    emptied = wait_for(lambda: _queue_size(server.port) == 0, 30)
    seconds = time.monotonic() - left
    return Row(
        "clients leave",
        "5 clients ask for seconds of computing, and hang up",
        "their places in the line are free at once",
        f"{full} waited; the line was empty {seconds:.1f} s after they left",
        emptied and full >= 3,
    )


def slow_uploads(server: Server, first: int) -> Row:
    """Uploads that come byte by byte, and how long others wait meanwhile."""
    slow, stop = [], threading.Event()
    head = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=e\r\n"
        b'Content-Length: 100000\r\n\r\n--e\r\nContent-Disposition: form-data; name="files"; filename="p.jpg"\r\n\r\n'
    )
    client, times = Client(server.port), {"alone": [], "beside": []}
    _, path = client.upload(picture(first))

    def drip() -> None:
        while not stop.wait(0.2):
            for line in slow:
                with contextlib.suppress(OSError):  # the server hung up on it, as it may
                    line.sendall(b"x")

    dripping = threading.Thread(target=drip)
    dripping.start()
    for number in range(4):
        for kind in times:
            if kind == "beside":
                for _ in range(30):
                    slow.append(socket.create_connection(("127.0.0.1", server.port)))
                    slow[-1].sendall(head)
            for question in range(8):
                began = time.perf_counter()
                client.ask("explain", photo(path), f"{CAPTION} {number} {question}", "", "")
                times[kind].append(time.perf_counter() - began)
            while slow:
                slow.pop().close()
    stop.set()
    dripping.join()
    ratio = statistics.median(times["beside"]) / statistics.median(times["alone"])
    return Row(
        "slow uploads",
        "30 uploads that come byte by byte, and one client that asks, in turns without them",
        "the others wait no longer: less than twice as long",
        f"median {ratio:.2f} times as long",
        ratio < 2,
    )


def disk_full(env: dict[str, str], home: Path) -> Row:
    """A server whose files may not be larger than 1 MB, which the system says as it says that a disk is full."""
    with serving(env, limit_kb=1000) as server:
        client = Client(server.port)
        _, path = client.upload(picture(1))
        before = files_below(home)
        rng = np.random.default_rng(0)
        noise = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (900, 900, 3), np.uint8)).save(noise, "PNG")
        status, said = client.upload(noise.getvalue(), "large.png")
        saved = client.ask(
            "heatmap", photo(path), CAPTION, None, None, 1, None, None, "", "", True, 4096
        )  # its picture is too large for the disk
        clean = files_below(home) == before
        going_on = client.ask("explain", photo(path), CAPTION, "", "").data is not None
        sentence = "has no room for this file just now"
        return Row(
            "disk full",
            "an upload and a saved picture that don't fit",
            "507 and a sentence for the upload, the sentence for the picture; nothing half-written stays, questions go "
            "on",
            f"upload: {status}, picture: {saved.error[:50]!r}; {'nothing' if clean else 'something'} stays; questions "
            f"{'go on' if going_on else 'stop'}",
            status == 507 and sentence in said and sentence in saved.error and clean and going_on,
        )


def huge_grid() -> Row:
    """A model whose grid is planted, asked in this process."""
    explainer = Explainer("crossviz-mini")
    model, own = explainer._model, explainer._model.grid
    seen = []
    try:
        for side in (24, 512):
            model.grid = PatchGrid(side, side, 0)
            try:
                check_room(explainer, CAPTION, "legrad")
                seen.append(f"{side} x {side}: {explainer.needed_bytes(CAPTION, 'legrad') / 2**30:.1f} GiB, computed")
            except MethodError as error:
                seen.append(f"{side} x {side}: {str(error)[:150]!r} ...")
    finally:
        model.grid = own
    return Row(
        "huge grid",
        "a planted grid with a method that reads the attention among patches",
        f"refused beforehand above {MOST_BYTES / 2**30:.0f} GiB, with what to do",
        "; ".join(seen),
        "GiB, computed" in seen[0] and "would take" in seen[-1],
    )


def killed(env: dict[str, str], home: Path, work: Path) -> Row:
    """kill -9 while a photo is read, and the next start."""
    bundle = work / "saved.npz"
    crossviz.explain(assets_dir() / "examples" / "cat.jpg", CAPTION).save(bundle)
    with serving(env) as server:
        client = Client(server.port)
        _, path = client.upload(picture(1))
        client.begin("explain", photo(path), CAPTION, "", "")
        left = set(os.listdir(home))
        os.kill(server.process, signal.SIGKILL)
        wait_for(lambda: ended(server.process))
    stayed = set(os.listdir(home)) == left
    with serving(env) as server:
        swept = not left & set(os.listdir(home))
        client = Client(server.port)
        old = client.ask("explain", photo(path), CAPTION, "", "").error
        _, again = client.upload(picture(1))
        works = client.ask("explain", photo(again), CAPTION, "", "").data is not None
    kept = crossviz.load(bundle).caption.text == CAPTION
    return Row(
        "kill -9 and restart",
        "killed while a question is answered, then started again",
        "the next start deletes what was left; it answers; an address of before gets a sentence; a saved file is whole",
        f"left: {len(left)} folder, {'swept' if swept and stayed else 'not swept'}; before's photo: {old[:60]!r}; "
        f"{'answers' if works else 'does not answer'}; the file {'loads' if kept else 'does not load'}",
        stayed and swept and works and kept and "no such uploaded photo" in old,
    )


def others_data(server: Server, home: Path, first: int) -> Row:
    """A stranger who guesses, beside somebody who has just sent a photo and asked."""
    ann, bob = Client(server.port), Client(server.port)
    content = picture(first)
    _, path = ann.upload(content, "holiday.jpg")
    _, event, _ = ann.begin("explain", photo(path), "my secret caption", "", "")
    tries, told = 0, []
    folder = str(Path(path).parent)
    names = [secrets.token_hex(16) for _ in range(20)]
    for target in [
        *(f"queue/data?session_hash={secrets.token_hex(6)}" for _ in range(100)),
        *(f"call/explain/{secrets.token_hex(16)}" for _ in range(100)),
        *(f"file={folder[: -len(Path(folder).name)]}{name}/holiday.jpg" for name in names),
        f"file={folder}",
        f"file={folder}/",
        f"file={folder}/photo.jpg",
        f"file={Path(folder).parent}",
        f"file={Path(folder).parent.parent}/lock",
        f"file={folder}/../../lock",
        "run-history/records",
    ]:
        tries += 1
        status, said, _ = bob.send("GET", target)
        if b"secret" in said or content in said or (status == 200 and b"not_found" not in said and b"404" not in said):
            told.append(f"{target}: {status} {said[:40]!r}")
    answer = ann.send("GET", f"call/explain/{event}")[1]
    return Row(
        "others' data",
        f"{tries} guesses: sessions, events, paths, folders",
        "nothing of anybody's; the one who asked gets the answer",
        f"{len(told)} told something {told[:2] or ''}; the asker {'got it' if b'secret' in answer else 'got nothing'}",
        not told and b"secret" in answer,
    )


def stopped(env: dict[str, str], home: Path) -> Row:
    """SIGTERM, as a container is stopped."""
    with serving(env) as server:
        client = Client(server.port)
        _, path = client.upload(picture(1))
        client.ask("export", photo(path), CAPTION, ".png", None, "", "")
        there = len(files_below(home))
        client.close()
        os.kill(server.process, signal.SIGTERM)
        gone = wait_for(lambda: ended(server.process), 30)
    left = os.listdir(home)
    return Row(
        "stopped",
        "SIGTERM after an upload and a saved figure",
        "the process ends, and nothing is left",
        f"{there} files before, {len(left)} afterwards; the process {'ended' if gone else 'goes on'}",
        gone and there >= 2 and not left,
    )
