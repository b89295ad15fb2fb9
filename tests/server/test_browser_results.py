"""Two models side by side, and the walk through a test, in a real browser."""

import re
import shutil
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from server.main import create_app
from snmn.checkpoints.bundled import BUNDLED
from tests.helpers.browser import serving
from tests.helpers.tiny.results import QUESTIONS, rows, write_features, write_results
from tests.helpers.tiny.server import settings, write_models

QUESTION = "Is there a big sphere?"
ROWS = rows(marks=True)
WRONG = [number for number, row in enumerate(ROWS) if row["correct"] == 0]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A running server with the bundled model of questions, untrained others, and a test."""
    folder = write_models(tmp_path_factory.mktemp("models"), ["loc_gt_layout", "joint_gt_layout"])
    for suffix in ("ckpt", "json"):
        shutil.copy(BUNDLED / f"vqa_gt_layout.{suffix}", folder)
    root = tmp_path_factory.mktemp("tested")
    write_features(root / "features")
    write_results(root, folder / "vqa_gt_layout.ckpt", ROWS)
    write_results(root, folder / "loc_gt_layout.ckpt", rows(9, loc=True), split="loc_val")
    with serving(create_app(settings(folder, results=(root / "results",)))) as address:
        yield address


def compare(page, other="joint_gt_layout"):
    page.select_option("#model", "vqa_gt_layout")
    page.select_option("#other", other)
    page.fill("#question", QUESTION)
    page.click("#submit")
    expect(page.locator("#compared")).to_be_visible()


def compared(page):
    return page.locator("#compared-steps tr")


def test_two_models_stand_side_by_side_step_by_step(page):
    compare(page)
    expect(page.locator("#first-model")).to_have_text("Questions, trained with layouts")
    expect(page.locator("#second-model")).to_have_text("Both, trained with layouts")
    numbers = page.locator("#compared-steps th").all_inner_texts()
    assert numbers == [str(t + 1) for t in range(len(numbers))] and numbers
    # The left column is what is shown above.
    modules = [
        cell.inner_text() for cell in page.locator("#compared-steps td:nth-child(2) > strong").all()
    ]
    assert modules[0] == "Find"
    assert modules == [
        *page.locator("#timeline [data-step] .title").all_inner_texts(),
        *["Nothing"] * (len(modules) - page.locator("#timeline [data-step]").count()),
    ]
    # What differs is said in words, in each row and in all; an untrained model does much else.
    marked = page.locator("#compared-steps tr.differs")
    assert marked.count() == page.locator("#compared-steps tr:has(.chip)").count() > 0
    expect(marked.first.locator(".chip").first).to_contain_text("≠")
    state = page.locator("#comparison-state")
    expect(state).to_contain_text(f"{marked.count()} of {len(numbers)} steps differ")
    expect(state).to_contain_text(re.compile("^The answers (differ|are the same); "))
    # Each map has its text.
    assert "strongest at" in page.locator("#compared-steps td:nth-child(2)").first.text_content()


def test_the_same_model_does_not_differ(page):
    compare(page, "vqa_gt_layout")
    expect(page.locator("#comparison-state")).to_contain_text(
        "The answers are the same; no step differs, and after that both do nothing."
    )
    expect(page.locator("#comparison .differs")).to_have_count(0)


def test_a_link_keeps_the_second_model_and_so_does_going_on(page):
    compare(page)
    first = page.locator("#comparison-state").inner_text()
    assert parse_qs(urlsplit(page.url).query)["other"] == ["joint_gt_layout"]
    page.reload()
    expect(page.locator("#comparison-state")).to_have_text(first)
    assert page.locator("#other").input_value() == "joint_gt_layout"
    # Chosen later, without asking again.
    page.select_option("#other", "")
    expect(page.locator("#comparison")).to_be_hidden()
    assert "other" not in parse_qs(urlsplit(page.url).query)
    page.select_option("#other", "joint_gt_layout")
    expect(page.locator("#comparison-state")).to_have_text(first)
    # Another image has no answer yet.
    page.locator('.thumb input[value="scene-04"]').check(force=True)
    expect(page.locator("#comparison")).to_be_hidden()


def test_a_row_leads_to_its_step_by_keyboard(page):
    compare(page)
    expect(compared(page).first).to_have_attribute("aria-current", "step")
    button = page.get_by_role("button", name="Show step 2 above")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#step-name")).to_contain_text("Step 2 of 9")
    expect(compared(page).nth(1)).to_have_attribute("aria-current", "step")
    expect(compared(page).first).not_to_have_attribute("aria-current", "step")
    for role, name in (("columnheader", "Step"), ("rowheader", "Answer")):
        expect(page.get_by_role(role, name=name, exact=True)).to_be_visible()


def test_changes_of_the_first_stand_beside_the_second(page):
    compare(page)
    second = page.locator("#compared-steps td:nth-child(3) > strong").all_inner_texts()
    page.locator('#timeline [data-step="0"]').click()
    page.click("#editor summary")
    page.select_option("#edit-module", "_Scene")
    expect(page.locator("#first-model")).to_contain_text("with your changes")
    expect(page.locator("#compared-steps td:nth-child(2) > strong").first).to_have_text("Scene")
    after = page.locator("#compared-steps td:nth-child(3) > strong").all_inner_texts()
    assert after[: len(second)] == second[: len(after)]


def test_boxes_of_two_models_are_compared_by_their_overlap(page):
    page.select_option("#model", "loc_gt_layout")
    page.select_option("#other", "joint_gt_layout")
    page.fill("#question", "the big sphere")
    page.press("#question", "Enter")
    expect(page.locator("#compared-answers th")).to_have_text("Box")
    expect(page.locator("#compared-answers .box")).to_have_count(2)
    page.select_option("#other", "vqa_gt_layout")
    expect(page.locator("#compared-answers .chip")).to_have_text("≠ another kind of answer")


def test_a_second_model_that_refuses_says_why(page):
    # In the page: of a refusal that comes through the network, browsers log an error.
    page.evaluate(
        """() => {
            const fetch = window.fetch;
            const refusal = JSON.stringify({detail: "Too many questions.", code: "busy"});
            window.fetch = (path, options) =>
                options?.body?.get?.("model") === "joint_gt_layout"
                    ? Promise.resolve(new Response(refusal, {status: 429}))
                    : fetch(path, options);
        }"""
    )
    page.select_option("#other", "joint_gt_layout")
    page.fill("#question", QUESTION)
    page.click("#submit")
    expect(page.locator("#comparison-state")).to_have_text("Too many questions.")
    expect(page.locator("#compared")).to_be_hidden()
    expect(page.locator("#answer-text")).to_have_text(re.compile("."))


def open_list(page, **filters):
    page.click("nav >> text=Tests")
    page.select_option("#test", "val")
    page.click("text=Show")
    for name, value in filters.items():
        page.select_option(f"#{name}", value)
    page.click("text=Show")
    return page.locator(".questions li")


def test_a_test_is_walked_through(page):
    listed = open_list(page, verdict="wrong")
    expect(listed).to_have_count(len(WRONG))
    assert [link.inner_text() for link in page.locator(".questions a").all()] == [
        ROWS[number]["question"] for number in WRONG
    ]
    page.locator(".questions a").nth(1).click()
    expect(page.locator("#answer")).to_be_visible()
    title, verdict = page.locator("#walk-title"), page.locator("#walk-verdict")
    expect(title).to_have_text(f"Question {WRONG[1]} of val: 2 of {len(WRONG)} in the list")
    expect(verdict).to_contain_text("In the test the model said yes")
    expect(verdict).to_contain_text("wrong, it is no")
    expect(page.locator("#truth")).to_contain_text("The true answer is no")
    # Its image is the one that is shown, and what else the test asks about it is offered.
    source = page.locator("#stage-image").get_attribute("src")
    assert source.endswith(f"/api/results/val/images/{WRONG[1]}")
    assert page.locator("#stage-image").evaluate("one => one.naturalWidth") == 60
    expect(page.locator("#suggestions button").first).to_have_text(ROWS[WRONG[1]]["question"])
    page.click("#walk-next")
    expect(title).to_contain_text(f"Question {WRONG[2]} of val: 3 of")
    expect(page.locator("#answer")).to_be_visible()
    page.go_back()
    expect(title).to_contain_text(f"Question {WRONG[1]} of val")
    page.click("#walk-previous")
    expect(title).to_contain_text(f"Question {WRONG[0]} of val: 1 of")
    expect(page.locator("#walk-previous")).to_be_hidden()
    expect(page.locator("#question")).to_have_value(ROWS[WRONG[0]]["question"])
    page.click("#walk-list")
    expect(listed).to_have_count(len(WRONG))
    assert page.locator("#verdict").input_value() == "wrong"


def test_the_walk_keeps_the_chosen_models_and_ends_at_another_image(page):
    open_list(page, mark="unlike_image")
    expect(page.locator(".marks").first).to_contain_text("undecided step")
    page.locator(".questions a").first.click()
    expect(page.locator("#walk-marks .chip")).to_have_text(["undecided step", "unlike image"])
    expect(page.locator("#answer")).to_be_visible()
    page.select_option("#other", "joint_gt_layout")
    expect(page.locator("#compared")).to_be_visible()
    page.click("#walk-next")
    expect(page.locator("#walk-title")).to_contain_text("Question 5 of val: 2 of 30")
    expect(page.locator("#compared")).to_be_visible()
    assert page.locator("#other").input_value() == "joint_gt_layout"
    page.locator('.thumb input[value="scene-04"]').check(force=True)
    expect(page.locator("#walk")).to_be_hidden()
    page.locator(".thumb.tested input").check(force=True)
    expect(page.locator("#walk")).to_be_visible()
    page.click("#surprise")
    expect(page.locator("#walk")).to_be_hidden()


def test_a_question_is_asked_as_the_test_asked_it(page, address):
    """One of CLEVR's templates has no mark at its end, and a model may hear the difference."""
    (number,) = [n for n, row in enumerate(ROWS[:4]) if row["question"] == QUESTIONS[3]]
    page.goto(f"{address}?sample=val/{number}")
    expect(page.locator("#answer")).to_be_visible()
    expect(page.locator("#question")).to_have_value(QUESTIONS[3])
    assert page.locator("#words .word").all_inner_texts()[-1] == "cube"


def test_a_link_to_a_test_that_is_not_here_says_so(page, address):
    page.goto(f"{address}?sample=scene-99&question=Is+there+a+cube%3F")
    expect(page.locator("#image-error")).to_have_text("The link names a sample that is not here.")


def test_boxes_of_a_test_are_shown_with_the_true_one(page):
    page.goto(page.url + "results?test=loc_val")
    page.locator(".questions a").nth(1).click()
    expect(page.locator("#walk-verdict")).to_contain_text("right, overlap 90 %")
    expect(page.locator("#true-box")).to_be_visible()


def test_the_list_is_used_by_keyboard_and_known_to_screen_readers(page):
    page.goto(page.url + "results?test=val")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(".questions a").first).to_be_focused()
    for label in ("Test", "Type", "Prediction", "How sure", "Mark", "Layout", "Expert's layout"):
        expect(page.get_by_label(label, exact=True)).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages")).to_contain_text("Page 1 of 3")
    page.get_by_role("link", name="Next").press("Enter")
    expect(page.get_by_role("navigation", name="Pages")).to_contain_text("Page 2 of 3")
