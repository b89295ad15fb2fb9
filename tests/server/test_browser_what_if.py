"""The page's "what if" in a real browser: changes, the model's own beside them, links."""

import re

import pytest
from playwright.sync_api import expect

QUESTION = "What number of other things are the same size as the rubber ball?"
OWN, WITHOUT_TRANSFORM = "3", "1"

pytestmark = pytest.mark.slow


def ask(page, question=QUESTION, step=1):
    page.locator('.thumb input[value="scene-03"]').check(force=True)
    page.fill("#question", question)
    page.click("#submit")
    page.locator(f'#timeline [data-step="{step}"]').click()
    if not page.locator("#editor").evaluate("one => one.open"):
        page.click("#editor summary")


def in_address(page, edits):
    """Wait until the address keeps these edits, which "" says it does not."""
    pattern = rf"[?&]edits={re.escape(edits)}(&|$)" if edits else r"^(?!.*[?&]edits=)"
    expect(page).to_have_url(re.compile(pattern))


def test_a_step_is_removed_and_both_runs_are_shown(page):
    ask(page)
    expect(page.locator("#answer-text")).to_have_text(OWN)
    expect(page.locator("#own-answer, #own-look")).to_have_count(2)
    expect(page.locator("#own-answer")).to_be_hidden()
    page.click("#remove-step")
    expect(page.locator("#answer-text")).to_have_text(WITHOUT_TRANSFORM)
    expect(page.locator("#own-answer-text")).to_have_text(OWN)
    expect(page.locator("#own-answer-label")).to_have_text("The model's own, which differs")
    expect(page.locator("#status")).to_have_text(
        f"Answer with your changes: {WITHOUT_TRANSFORM}. The model's own: {OWN}."
    )
    in_address(page, "2m_NoOp")
    # Maps and stacks of both, with what differs in words.
    expect(page.locator("#step-differs")).to_contain_text("Nothing instead of Transform")
    label = page.locator("#own-map").get_attribute("aria-label")
    assert "attention after step 2, strongest at the" in label
    assert page.locator("#own-stack li.pointer").count() == 1
    card = page.locator('#timeline [data-step="1"]')
    expect(card.locator(".differs")).to_have_text("differs: module, map")
    expect(card.locator(".set")).to_have_text("set: module")
    expect(page.locator('#timeline [data-step="0"] .differs')).to_have_count(0)
    page.click("#undo-edits")
    expect(page.locator("#own-answer")).to_be_hidden()
    expect(page.locator("#answer-text")).to_have_text(OWN)
    in_address(page, "")


def test_a_link_and_going_back_keep_the_changes(page):
    ask(page)
    page.click("#remove-step")
    expect(page.locator("#own-answer")).to_be_visible()
    page.reload()
    expect(page.locator("#answer-text")).to_have_text(WITHOUT_TRANSFORM)
    expect(page.locator("#own-answer-text")).to_have_text(OWN)
    expect(page.locator("#step-name")).to_contain_text("Step 2")
    page.go_back()
    expect(page.locator("#own-answer")).to_be_hidden()
    expect(page.locator("#answer-text")).to_have_text(OWN)
    page.go_forward()
    expect(page.locator("#own-answer")).to_be_visible()
    # Another question begins without them.
    page.fill("#question", "How many cubes are there?")
    page.click("#submit")
    expect(page.locator("#own-answer")).to_be_hidden()
    in_address(page, "")


def test_words_by_the_keyboard(page):
    ask(page)
    token = page.locator("#edit-words button", has_text="rubber")
    token.focus()
    page.keyboard.press("Space")
    expect(token).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#own-answer")).to_be_visible()
    expect(token).to_be_focused()
    expect(page.locator('#timeline [data-step="1"] .heard')).to_have_text("“rubber”")
    in_address(page, "2w11")
    page.locator("#edit-words button", has_text="ball").click()
    expect(page.locator('#timeline [data-step="1"] .heard')).to_have_text("“rubber ball”")
    page.click("#own-words")
    expect(page.locator("#own-answer")).to_be_hidden()


def test_another_module_and_one_between(page):
    ask(page)
    page.select_option("#edit-module", "_Filter")
    expect(page.locator('#timeline [data-step="1"] .title')).to_have_text("Filter")
    page.select_option("#edit-module", "")
    expect(page.locator("#own-answer")).to_be_hidden()
    page.locator('#timeline [data-step="2"]').click()
    page.select_option("#insert-module", "_Filter")
    page.click("#insert-step")
    expect(page.locator('#timeline [data-step="3"] .title')).to_have_text("Describe one")
    titles = page.locator("#timeline [data-step] .title").all_inner_texts()
    assert titles == ["Find", "Transform", "Filter", "Describe one"]
    in_address(page, "3m_Filter*4m_DescribeOne*4f3")
    page.reload()
    expect(page.locator('#timeline [data-step="3"] .title')).to_have_text("Describe one")


def test_a_region_by_pointer_and_by_numbers(page):
    ask(page, step=0)
    draw = page.locator("#draw-region")
    draw.click()
    expect(draw).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(draw).to_have_attribute("aria-pressed", "false")
    draw.click()
    frame = page.locator("#frame").bounding_box()
    scale = frame["width"] / 480
    page.mouse.move(frame["x"] + 100 * scale, frame["y"] + 50 * scale)
    page.mouse.down()
    page.mouse.move(frame["x"] + 200 * scale, frame["y"] + 150 * scale, steps=3)
    page.mouse.up()
    expect(page.locator("#own-answer")).to_be_visible()
    expect(draw).to_have_attribute("aria-pressed", "false")
    expect(page).to_have_url(re.compile("edits=1b"))
    x, y, width, height = map(int, re.search(r"edits=1b([\d.]+)", page.url)[1].split("."))
    assert abs(x - 100) < 3 and abs(y - 50) < 3 and abs(width - 100) < 4 and abs(height - 100) < 4
    assert page.locator("#region-width").input_value() == str(width)
    expect(page.locator("#region")).to_be_visible()
    for side, value in (("x", 200), ("y", 150), ("width", 60), ("height", 40)):
        page.fill(f"#region-{side}", str(value))
    page.click("#set-region")
    in_address(page, "1b200.150.60.40")
    page.click("#own-region")
    expect(page.locator("#own-answer")).to_be_hidden()
    # A click stands for something as large as an object.
    draw.click()
    frame = page.locator("#frame").bounding_box()
    page.mouse.click(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    in_address(page, "1b213.133.54.54")


def test_layouts_of_the_expert_and_of_another_question(page):
    ask(page)
    page.click("#expert-layout")
    expect(page.locator("#edit-error")).to_have_text("The model runs that layout by itself.")
    page.fill("#other-question", "How many balls are there?")
    page.locator("#other-question").press("Enter")
    expect(page.locator("#own-answer")).to_be_visible()
    in_address(page, "2m_DescribeOne*3m_NoOp")
    page.fill("#question", "ball the of rubber ?")
    page.locator("#question").press("Enter")
    expect(page.locator("#own-answer")).to_be_hidden()
    page.click("#expert-layout")
    expect(page.locator("#edit-error")).to_contain_text("no sentence of the grammar")


def test_what_cannot_run_is_said_and_nothing_changes(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    ask(page, step=0)
    page.click("#remove-step")
    error = page.locator("#edit-error")
    expect(error).to_contain_text("Step 2, _Transform (the controller's choice), cannot run")
    expect(page.locator("#own-answer")).to_be_hidden()
    expect(page.locator("#edit-module")).to_have_value("")
    in_address(page, "")
    # A link that says so leads to the model's own run.
    page.goto(f"{page.url.replace('&step=0', '')}&edits=1m_NoOp*9z*hm*3w99&step=0")
    expect(page.locator("#answer-text")).to_have_text(OWN)
    expect(error).not_to_be_empty()
    page.close()


def test_the_box_of_an_expression_moves(page):
    page.select_option("#model", "loc_gt_layout")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#found-box")).to_be_visible()
    page.click("#editor summary")
    # An untrained model may choose what cannot run: words are nothing that the stack refuses.
    page.locator("#edit-words button").first.click()
    expect(page.locator("#own-answer")).to_be_visible()
    expect(page.locator("#own-box")).to_be_visible()
    page.locator('.thumb input[value="scene-02"]').check(force=True)
    expect(page.locator("#own-box, #own-answer, #own-look").locator("visible=true")).to_have_count(
        0
    )
    expect(page.locator("#editor")).to_be_hidden()
