"""The page's server: what it answers, and what it refuses to anybody but the page."""

import io
import json
import math
import re
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
from starlette.testclient import TestClient

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.review.guard import Guard
from aimonk.review.server import FILES, PAGE, create_app

PORT = 8123
BASE = f"http://127.0.0.1:{PORT}"
ORIGIN = {"origin": BASE}
IMAGES = 24


@pytest.fixture
def desk(open_desk):
    return open_desk()


@pytest.fixture
def guard(desk) -> Guard:
    return Guard(create_app(desk), PORT)


@pytest.fixture
def stranger(guard: Guard) -> TestClient:
    """A client without the token."""
    return TestClient(guard, base_url=BASE)


@pytest.fixture
def page(guard: Guard) -> TestClient:
    """A client that has opened the address."""
    client = TestClient(guard, base_url=BASE)
    assert client.get(f"/?token={guard.token}").status_code == 200
    client.headers.update(ORIGIN)
    return client


def edit(page: TestClient, *edits: list[int], reviewed: tuple = (), client: str = "tab"):
    body = {"client": client, "edits": list(edits), "reviewed": list(reviewed)}
    return page.post("/api/edit", content=json.dumps(body))


def test_edit_undo_and_state(page: TestClient, desk) -> None:
    assert edit(page, [1, 0, PRESENT, ABSENT], reviewed=([1, 1],)).json() == {"seq": 1}
    state = page.get("/api/state?since=0").json()
    assert state["changes"] == [{"row": 1, "values": [ABSENT, ABSENT], "reviewed": True}]
    assert page.get("/api/state?since=1").json()["changes"] == []
    undone = page.post("/api/undo", content='{"client": "tab"}').json()
    assert undone["changes"] == [{"row": 1, "values": [PRESENT, ABSENT], "reviewed": False}]
    answer = page.post("/api/undo", content='{"client": "tab"}')
    assert (answer.status_code, answer.json()) == (409, {"error": "nothing to undo"})


def test_image_has_probabilities_neighbours_and_maps(page: TestClient, desk) -> None:
    found = page.get("/api/images/2").json()
    assert len(found["probs"]) == 2 and (found["width"], found["height"]) == (16, 16)
    assert 2 not in found["neighbours"] and 0 not in found["neighbours"]
    heat = page.get("/api/heat/2").json()
    assert [len(heat["maps"]), len(heat["maps"][0]), len(heat["maps"][0][0])] == [2, 4, 4]
    assert page.get("/images/2").headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(page.get("/thumbnails/2").content)).size == (112, 112)


def test_head_of_a_checkpoint_predicts_attributes_that_cannot_be_solved(open_desk, folder: Path) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(line.rsplit(",", 1)[0] + ",NA" for line in lines[2:]))
    desk = open_desk()
    desk.model = replace(desk.model, logits=np.full((IMAGES, 2), -2.0))
    head = desk.model.maps.classifier.head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(-2.0)
    own = 1 / (1 + math.exp(2))
    assert desk.image(1)["probs"][1] == pytest.approx(own) and desk.image(1)["probs"][0] > 0.5
    heat = desk.heat(1)
    assert heat["probs"][1] == pytest.approx(own) and not heat["maps"][1].any() and heat["maps"][0].any()


def test_page_files_have_no_inline_code_and_are_all_served(page: TestClient) -> None:
    assert {path.name for path in PAGE.iterdir()} == {name for name, _ in FILES.values()}
    text = page.get("/").text
    assert (
        "style=" not in text and not re.search(r"<script(?![^>]*src=)", text) and " on" + "click" not in text
    )
    for path in FILES:
        answer = page.get(path)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "innerHTML" not in answer.text and "http://" not in answer.text.replace(
            "http://www.w3.org/2000/svg", ""
        )


PATHS = [
    "/",
    "/page.js",
    "/api/start",
    "/api/queue?name=all",
    "/thumbnails/0",
    "/images/0",
    "/api/heat/0",
    "/no",
]


def test_nothing_is_served_without_the_token(stranger: TestClient, guard: Guard) -> None:
    assert stranger.get("/?token=wrong").status_code == 403
    for path in PATHS:
        assert stranger.get(path).status_code == 403
    stranger.cookies.set(guard.cookie, "wrong")
    for path in PATHS:
        assert stranger.get(path).status_code == 403
    assert stranger.get(f"/api/start?token={guard.token}").status_code == 403


@pytest.mark.parametrize("host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", ""])
def test_nothing_is_served_to_another_host(page: TestClient, host: str) -> None:
    for path in PATHS:
        assert page.get(path, headers={"host": host}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.example", "http://127.0.0.1:1", BASE.replace("http", "https")]
)
def test_nothing_is_served_to_another_origin(page: TestClient, desk, origin: str) -> None:
    for path in PATHS:
        assert page.get(path, headers={"origin": origin}).status_code == 403
    body = json.dumps({"client": "tab", "edits": [[1, 0, PRESENT, ABSENT]]})
    assert page.post("/api/edit", content=body, headers={"origin": origin}).status_code == 403
    assert page.get("/api/start", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    del page.headers["origin"]
    assert page.post("/api/edit", content=body).status_code == 403
    assert desk.session.seq == 0


OUTSIDE = [
    *("/images/-1", "/images/24", "/images/999999999999999999999", "/images/../labels.csv"),
    *("/images/%2e%2e%2flabels.csv", "/thumbnails/1.png", "/images//etc/passwd", "/page/../../desk.py"),
    *("/..%2f..%2fdesk.py", "/%00", "/images/1%00"),
]


def test_paths_lead_nowhere(page: TestClient) -> None:
    assert {path: page.get(path).status_code for path in OUTSIDE} == dict.fromkeys(OUTSIDE, 404)


MALFORMED = [
    *("", "[]", "null", "{", '{"client": "t", "edits": "all"}', "[" * 100_000),
    *('{"client": "t"}', '{"client": "t", "reviewed": [[0, 2]]}', '{"client": "", "edits": [[0, 0, 2, 1]]}'),
    *(
        f'{{"client": "t", "edits": {edits}}}'
        for edits in (
            *("[[0, 0, 2]]", "[[24, 0, 2, 1]]", "[[-1, 0, 2, 1]]", "[[0, 2, 2, 1]]", "[[0, 0, 2, 3]]"),
            *("[[0, 0, 2, true]]", "[[0, 0, 2, 1], [0, 0, 2, 0]]", "[[0, 0, NaN, 1]]"),
        )
    ),
]


def test_malformed_edits_change_nothing(page: TestClient, desk) -> None:
    for body in MALFORMED:
        assert page.post("/api/edit", content=body).status_code == 400, body[:80]
    assert desk.session.seq == 0


def test_dropped_image_is_predicted_and_not_kept(page: TestClient, folder) -> None:
    before = sorted(folder.rglob("*"))
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), (250, 0, 0)).save(buffer, "PNG")
    found = page.post("/api/drop", content=buffer.getvalue()).json()
    assert len(found["probs"]) == 2 and found["probs"][0] > 0.5 and len(found["maps"]) == 2
    assert found["thresholds"] == [0.5, 0.5]
    assert sorted(folder.rglob("*")) == before


def test_huge_drops_are_refused_undecoded(page: TestClient) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)  # 10^8 pixels
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    answer = page.post("/api/drop", content=png)
    assert answer.status_code == 413 and "pixels" in answer.json()["error"]
    assert page.post("/api/drop", content=bytes(20 * 2**20 + 1)).status_code == 413
    assert page.post("/api/drop", content=b"no image").status_code == 400
    assert page.post("/api/edit", content=bytes(4 * 2**20 + 1)).status_code == 413


def test_parallel_edits_are_all_kept(page: TestClient, desk, open_desk) -> None:
    def send(i: int) -> int:
        row, attribute = divmod(i, 2)
        old = int(values[row, attribute])
        return edit(page, [row, attribute, old, (old + 1) % 3], client=f"tab{i}").status_code

    values = desk.session.values.copy()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(send, range(48))) == [200] * 48
        assert list(pool.map(send, range(48))) == [409] * 48  # these saw outdated values
        assert {page.get("/api/state?since=0").status_code for _ in range(4)} == {200}
    assert (desk.session.values == (values + 1) % 3).all()
    assert (open_desk().session.values == (values + 1) % 3).all()


def test_two_tabs_see_each_other(page: TestClient) -> None:
    edit(page, [0, 0, UNKNOWN, PRESENT], client="one")
    refused = edit(page, [0, 0, UNKNOWN, ABSENT], client="two")
    assert refused.status_code == 409 and "changed elsewhere" in refused.json()["error"]
    assert page.get("/api/state?since=0").json()["changes"][0]["values"][0] == PRESENT
