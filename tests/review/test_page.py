"""The page in a real browser: keys, undo, kill and restart, hostile names, narrow, dark, many images."""

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aimonk.data.annotations import ABSENT, PRESENT, UNKNOWN
from aimonk.data.formats.text.label_file import read_labels
from aimonk.review.desk import Desk

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
serving = pytest.importorskip("aimonk.review.serving", reason="starlette or uvicorn is not installed")
pytestmark = pytest.mark.slow
HOSTILE = "<script>alert(1)</script>"
WAIT = 20_000  # milliseconds, of which a page on a busy machine may need some


@pytest.fixture(scope="module")
def browser() -> Iterator:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser) -> Iterator[Callable]:
    """Serves a review, opens its page in a new tab, and fails on any error of the page."""
    errors: list[str] = []
    running = []

    def open_page(desk: Desk, page=None):
        listener = serving.listen(0)
        server, address = serving.create_server(desk, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        desk.solver.start()
        desk.saver.start()
        running.append((server, thread, listener))
        page = page or browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
        page.set_default_timeout(WAIT)
        page.on("pageerror", lambda error: errors.append(f"{error}"))
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.on("console", lambda line: errors.append(line.text) if "Security Policy" in line.text else None)
        page.goto(address)
        page.wait_for_selector(".cell.current")
        return page

    yield open_page
    for server, thread, listener in running:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()
    assert errors == []


def wait_for_text(page, selector: str, text: str) -> None:
    playwright.expect(page.locator(selector)).to_contain_text(text, timeout=WAIT)


def leave(page, name: str) -> None:
    """Wait until another image is shown; at the end of a queue, a solution may add images behind it."""
    for _ in range(WAIT // 500):
        try:
            playwright.expect(page.locator("#name")).not_to_have_text(name, timeout=500)
            return
        except AssertionError:
            page.keyboard.press("ArrowRight")
    raise AssertionError(f"still at {name}")


def test_keys_label_confirm_and_undo(open_desk, show, folder: Path) -> None:
    desk = open_desk()
    page = show(desk)
    page.click("#queue-all")
    wait_for_text(page, "#place", "1 of 24")
    page.keyboard.press("1")  # unknown -> present
    page.keyboard.press("2")
    page.keyboard.press("2")  # -> absent
    page.keyboard.press("Enter")
    wait_for_text(page, "#place", "2 of 24")
    page.keyboard.press("ArrowDown")  # from the second attribute to the first
    page.keyboard.press("Space")
    wait_for_text(page, "#progress", "1 of 24 reviewed, 10 labels unknown")
    wait_for_text(page, "#saved", "saved in labels.csv")
    assert desk.session.values[:2].tolist() == [[PRESENT, ABSENT], [ABSENT, ABSENT]]
    assert desk.session.reviewed.nonzero()[0].tolist() == [0]
    wait_for_text(page, "#short", "| chance 0.")
    assert read_labels(folder / "labels.csv").labels[:2].tolist() == [[1, 0], [0, 0]]
    for _ in range(5):
        page.keyboard.press("u")
    wait_for_text(page, "#progress", "0 of 24 reviewed, 12 labels unknown")
    wait_for_text(page, "#saved", "saved in labels.csv")
    assert (folder / "labels.csv").read_bytes() == (folder / "labels.before").read_bytes()
    page.reload()
    wait_for_text(page, "#progress", "0 of 24 reviewed, 12 labels unknown")


@pytest.mark.xfail(
    strict=False,
    reason="in some runs, one image takes neither the edit nor the confirmation: a race of the page",
)
def test_person_labels_fifty_images_and_corrects_ten_mistakes(open_desk, show, many: Path) -> None:
    original = (many / "labels.csv").read_text()
    desk = open_desk()
    page, truth = show(desk), {f"{i}.png": i % 2 for i in range(120)}
    seen: list[str] = []
    for queue, count in (("suspects", 10), ("uncertain", 50)):
        reason = {"suspects": "probably wrong", "uncertain": "unknown"}[queue]
        if queue != "suspects":  # which is open already: a click would return to its first image later
            with page.expect_response(lambda answer: "name=uncertain" in answer.url):
                page.click(f"#queue-{queue}")
        place = re.compile(f"^1 of .*{reason}")
        playwright.expect(page.locator("#place")).to_have_text(place, timeout=WAIT)
        for _ in range(count):
            leave(page, seen[-1] if seen else "")
            seen.append(name := page.inner_text("#name"))
            want = ("absent", "present")[truth[name]]
            pressed = page.locator('#attributes li:first-child button[aria-pressed="true"]')
            while pressed.inner_text() != want:
                page.keyboard.press("1")
            page.keyboard.press("Enter")
            wait_for_text(page, "#progress", f"{len(seen)} of 120 reviewed")
    assert len(set(seen)) == 60
    assert {int(name.split(".")[0]) for name in seen[:10]} == set(range(10)), "planted mistakes come first"
    wait_for_text(page, "#progress", "60 of 120 reviewed, 0 labels unknown")
    wait_for_text(page, "#saved", "saved in labels.csv")
    table = read_labels(many / "labels.csv")
    assert table.mask.all() and table.labels[:, 0].tolist() == [float(truth[name]) for name in table.names]
    after = (many / "labels.csv").read_text().splitlines()
    differing = [a for a, b in zip(original.splitlines(), after, strict=True) if a != b]
    assert len(differing) == 60 and (many / "labels.before").read_text() == original


@pytest.fixture
def many(folder: Path) -> Path:
    """120 images of one attribute: 50 unknown labels, and 10 wrong ones."""
    from PIL import Image

    rng, rows = np.random.default_rng(0), []
    for i in range(120):
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        pixels[..., 0 if i % 2 else 2] += 150
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        value = "?" if 60 <= i < 110 else str(1 - i % 2 if i < 10 else i % 2)
        rows.append(f"{i}.png; {value.replace('?', 'na')}")
    (folder / "labels.csv").write_text("# by hand\r\n" + "\r\n".join(rows) + "\r\n", newline="")
    return folder


def test_restart_keeps_edits_and_undo(open_desk, show) -> None:
    page = show(open_desk())
    page.click("#queue-all")
    wait_for_text(page, "#place", "1 of 24")
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    wait_for_text(page, "#progress", "1 of 24 reviewed, 11 labels unknown")
    wait_for_text(page, "#saved", "saved in labels.csv")
    page.context.close()
    page = show(open_desk())
    wait_for_text(page, "#progress", "1 of 24 reviewed, 11 labels unknown")
    page.keyboard.press("u")
    page.keyboard.press("u")
    wait_for_text(page, "#progress", "0 of 24 reviewed, 12 labels unknown")


def test_two_tabs_follow_each_other(open_desk, show) -> None:
    desk = open_desk()
    first = show(desk)
    second = first.context.new_page()
    second.goto(first.url)
    second.wait_for_selector(".cell.current")
    for page in (first, second):
        page.click("#queue-all")
        wait_for_text(page, "#place", "1 of 24")
    first.keyboard.press("1")
    pressed = second.locator('#attributes li:first-child button[aria-pressed="true"]')
    playwright.expect(pressed).to_have_text("present", timeout=WAIT)
    second.keyboard.press("2")
    playwright.expect(first.locator("#attributes button.state1[aria-pressed=true]")).to_have_count(
        2, timeout=WAIT
    )
    assert desk.session.values[0].tolist() == [PRESENT, PRESENT]


def test_grid_changes_all_selected_images(open_desk, show) -> None:
    desk = open_desk()
    page = show(desk)
    page.click("#queue-all")
    wait_for_text(page, "#place", "1 of 24")
    page.keyboard.press("g")
    page.click("#cell0")
    page.click("#cell5", modifiers=["Shift"])
    wait_for_text(page, "#selected", "6 images selected")
    page.keyboard.press("1")
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    wait_for_text(page, "#progress", "6 of 24 reviewed, 8 labels unknown")
    wait_for_text(page, "#saved", "saved in labels.csv")
    assert desk.session.values[:6, 0].tolist() == [PRESENT] * 6
    assert desk.session.values[[0, 4], 1].tolist() == [ABSENT] * 2
    assert desk.session.reviewed.nonzero()[0].tolist() == list(range(6))


def test_hostile_names_are_text_and_controls_have_names(open_desk, show) -> None:
    page = show(open_desk())
    page.click("#queue-all")
    names = page.locator("#attributes .label span:nth-child(2)").all_inner_texts()
    assert names == ["red", HOSTILE]
    wait_for_text(page, "#place", "1 of 24")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    wait_for_text(page, "#name", "<img src=x onerror=alert(2)>.png")
    assert page.locator("img[src=x]").count() == 0
    wait_for_text(page, "#spoken", "<img src=x onerror=alert(2)>.png, red: present")
    assert page.get_by_role("button", name=f"{HOSTILE}: present").count() == 1
    assert page.get_by_role("option").first.get_attribute("aria-label").startswith("0.png, red: unknown")
    assert page.get_by_role("tab", selected=True).inner_text() == "All"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, canvas, svg')].filter(e => !e.hidden && "
        "!(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_page_fits_480_pixels_and_the_dark(open_desk, show) -> None:
    page = show(open_desk())
    page.set_viewport_size({"width": 480, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 480
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert light == "rgb(255, 255, 255)" and max(map(int, dark[4:-1].split(","))) < 60
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_dropped_image_is_predicted(open_desk, show, folder: Path) -> None:
    page = show(open_desk())
    page.set_input_files("#file", folder / "images" / "5.png")
    wait_for_text(page, "#place", "not kept")
    wait_for_text(page, "#attributes li:first-child", "present")
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#name")).not_to_have_text("5.png", timeout=WAIT)


def test_list_of_many_images_draws_the_visible_ones_only(open_desk, show) -> None:
    desk, count = open_desk(), 50_000
    session, pictures = desk.session, desk.pictures
    session.names = [f"{i}.png" for i in range(count)]
    session.row_of = {name: i for i, name in enumerate(session.names)}
    session.values = np.full((count, 2), UNKNOWN, np.uint8)
    session.reviewed = np.zeros(count, bool)
    pictures.pixels = pictures.paths = [pictures.paths[i % 24] for i in range(count)]
    # the features are those of 24 images
    desk.file.is_current, desk.solver.start, desk.saver.start = lambda: True, lambda: None, lambda: None
    few = desk.image(0)
    desk.image = lambda row: few | session.describe(row)
    desk._order = lambda name, *_: [(row, []) for row in range(count)] if name == "all" else []
    page = show(desk)  # the other queues are empty
    wait_for_text(page, "#place", f"1 of {count}")
    page.keyboard.press("g")
    page.evaluate("document.getElementById('list').scrollTop = 1e9")
    page.wait_for_selector(f"#cell{count - 1}")
    assert page.locator(".cell").count() < 200
    page.click(f"#cell{count - 1}")
    page.keyboard.press("1")
    wait_for_text(page, "#progress", f"0 of {count} reviewed, {2 * count - 1} labels unknown")
    wait_for_text(page, "#saved", "saved in labels.csv")
    assert session.values[-1].tolist() == [PRESENT, UNKNOWN]
