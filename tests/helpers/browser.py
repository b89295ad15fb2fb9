"""Fixtures of tests of the demo's page: Debian's Chromium, driven through Playwright."""

import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from server.main import create_app
from snmn.checkpoints.bundled import BUNDLED
from tests.helpers.tiny.server import settings, write_models
from tests.server.test_own_modules import Not, write_own

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = """
--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync
""".split()
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# The name of the last is too long for any place on the page.
OWN = {"_Not": Not, "_" + "Long" * 15: Not}

expect.set_options(timeout=30_000)  # A machine may have other things to do.


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A running server with the bundled model of questions and untrained others."""
    folder = write_models(tmp_path_factory.mktemp("models"), ["loc_gt_layout", "joint_gt_layout"])
    write_own(folder, OWN)
    for suffix in ("ckpt", "json"):
        shutil.copy(BUNDLED / f"vqa_gt_layout.{suffix}", folder)
    with serving(create_app(settings(folder, max_upload_bytes=500_000, modules=OWN))) as address:
        yield address


@contextmanager
def serving(app):
    """Serve an app on a free port; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(request, browser, address):
    """The loaded page; afterwards: no error in the console, nothing asked of another host."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(60_000)
    page = context.new_page()
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda one: requests.append(one.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    assert problems == []
    assert all(url.startswith((address, "blob:")) for url in requests), requests
    # Nothing is wider than the window.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
