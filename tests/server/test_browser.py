"""The demo's page in a real browser: Debian's Chromium, driven through Playwright."""

import re

import pytest
from playwright.sync_api import expect

from tests.helpers.tiny.server import image_bytes

QUESTION = "Is there a big sphere?"
pytestmark = pytest.mark.slow


def ask(page, question):
    page.fill("#question", question)
    page.click("#submit")


def cards(page):
    return page.locator("#timeline li")


def test_the_page_loads_with_samples_and_suggestions(page):
    assert page.locator(".strip .thumb:visible").count() >= 12
    for image in page.locator(".strip .thumb:visible img").all():
        assert "objects" in image.get_attribute("alt")
    assert page.locator("#suggestions button").count() >= 4
    expect(page.locator("#answer")).to_be_hidden()
    expect(page.locator("#model-state")).to_contain_text("% right")


def test_modules_beside_the_nine_have_their_names(page):
    page.select_option("#model", "own")
    ask(page, QUESTION)
    expect(page.locator("#step-name")).to_contain_text("Step 1 of 9: LongLong")
    expect(page.locator("#caption")).to_have_text("Minus the map, <b>whatever</b> it is.")
    assert page.locator("#modules li .name").all_inner_texts()[8:10] == ["Describe two", "Not"]
    page.select_option("#model", "vqa_gt_layout")
    ask(page, QUESTION)
    expect(page.locator("#modules li")).to_have_count(9)


def test_a_suggestion_is_answered_step_by_step(page):
    page.locator('.thumb input[value="scene-03"]').check(force=True)
    page.locator("#suggestions button").first.click()
    expect(page.locator("#answer-text")).not_to_be_empty()
    assert page.locator("#shares li").count() == 5
    expect(page.locator("#truth")).to_contain_text(re.compile("right|true answer"))
    # The last steps do nothing and share a card.
    folded = page.locator("#timeline .folded")
    expect(folded).to_have_count(1)
    before = cards(page).count()
    folded.click()
    assert page.locator("#timeline .folded").count() == 0
    assert cards(page).count() == 9 > before
    cards(page).nth(0).locator("button").click()
    expect(page.locator("#step-name")).to_contain_text("Step 1 of 9")
    assert page.locator("#stack li.pointer").count() == 1
    expect(page.locator("#moves")).to_contain_text("pushed 1 map")
    shades = page.locator("#words .word").evaluate_all(
        "words => words.map(word => Number(word.style.getPropertyValue('--share')))"
    )
    assert max(shades) > 0.5 > min(shades) >= 0
    assert page.locator("#modules li").count() == 9
    page.locator("#slider").fill("1")
    expect(page.locator('#timeline [data-step="1"]')).to_have_attribute("aria-current", "step")
    assert "Attention after step 2" in page.locator("#overlay").get_attribute("aria-label")


def test_words_and_modules_show_where_they_were_used(page):
    ask(page, "How many red cubes are there?")
    page.locator("#words .word", has_text="red").hover()
    expect(page.locator("#timeline li.used").first).to_be_visible()
    page.locator("#modules li", has_text="Describe one").hover()
    expect(page.locator("#timeline li.used .title").first).to_have_text("Describe one")
    page.mouse.move(0, 0)
    expect(page.locator("#timeline li.used, #timeline li.unused")).to_have_count(0)


def test_an_image_can_be_chosen_while_a_word_is_pointed_at(page):
    ask(page, QUESTION)
    page.locator("#words .word").first.hover()
    expect(page.locator("#timeline li.unused").first).to_be_visible()
    page.set_input_files(
        "#file", {"name": "a.png", "mimeType": "image/png", "buffer": image_bytes()}
    )
    expect(page.locator("#steps")).to_be_hidden()
    page.mouse.move(0, 0)
    ask(page, QUESTION)
    expect(page.locator("#answer")).to_be_visible()


def test_the_address_reproduces_the_view(page):
    page.locator('.thumb input[value="scene-05"]').check(force=True)
    ask(page, QUESTION)
    expect(page.locator("#answer")).to_be_visible()
    answer = page.locator("#answer-text").text_content()
    cards(page).nth(1).locator("button").click()
    expect(page).to_have_url(re.compile("sample=scene-05.*step=1"))
    page.reload()
    expect(page.locator("#answer-text")).to_have_text(answer)
    expect(page.locator("#step-name")).to_contain_text("Step 2")
    assert page.locator('.thumb input[value="scene-05"]').is_checked()
    ask(page, "How many cubes are there?")
    expect(page.locator("#words")).to_contain_text("many")
    page.go_back()
    expect(page.locator("#words")).to_contain_text("sphere")
    assert page.locator("#question").input_value() == QUESTION


def test_an_upload_is_answered_and_bad_ones_are_explained(page):
    png = {"name": "mine.png", "mimeType": "image/png", "buffer": image_bytes((300, 200))}
    page.set_input_files("#file", png)
    expect(page.locator(".thumb.own")).to_be_visible()
    ask(page, QUESTION)
    expect(page.locator("#answer-text")).to_have_text(re.compile("."))
    assert page.locator("#stage-image").get_attribute("src").startswith("blob:")
    assert "sample=" not in page.url
    page.set_input_files("#file", png | {"name": "a.txt", "mimeType": "text/plain"})
    expect(page.locator("#image-error")).to_contain_text("a.txt is not an image")
    page.set_input_files("#file", png | {"buffer": b"\0" * 600_000})
    expect(page.locator("#image-error")).to_contain_text("too large")


def test_an_image_can_be_dropped_and_pasted(page):
    for kind, field in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.locator('.thumb input[value="scene-02"]').check(force=True)
        page.evaluate(
            """async ([kind, field]) => {
                const response = await fetch("samples/scene-04.jpg");
                const carrier = new DataTransfer();
                carrier.items.add(new File([await response.blob()], "x.jpg", {type: "image/jpeg"}));
                const Event = kind === "drop" ? DragEvent : ClipboardEvent;
                document.body.dispatchEvent(new Event(kind, {bubbles: true, [field]: carrier}));
            }""",
            [kind, field],
        )
        expect(page.locator(".thumb.own input")).to_be_checked()


def test_unknown_words_are_explained_and_can_be_replaced(page):
    ask(page, "How many cubs are there?")
    error = page.locator("#question-error")
    expect(error).to_contain_text('"cubs"')
    expect(error).to_contain_text('"cubes"')
    expect(page.locator("#question")).to_have_attribute("aria-invalid", "true")
    page.locator("#nearest button").first.click()
    expect(page.locator("#answer")).to_be_visible()
    assert page.locator("#question").input_value() == "How many cubes are there?"
    expect(error).to_be_empty()
    ask(page, "<img src=x onerror=alert(1)> red?")
    expect(error).to_contain_text('"onerror"')


def test_a_referring_expression_draws_its_box(page):
    page.select_option("#model", "loc_gt_layout")
    expect(page.locator("#question-label")).to_have_text("Expression to find")
    page.locator("#suggestions button").first.click()
    expect(page.locator("#found-box")).to_be_visible()
    expect(page.locator("#true-box")).to_be_visible()
    expect(page.locator("#truth")).to_contain_text("Overlap with the true box")
    found, frame = (page.locator(name).bounding_box() for name in ("#found-box", "#frame"))
    assert frame["x"] - 1 <= found["x"]
    assert found["x"] + found["width"] <= frame["x"] + frame["width"] + 1
    page.select_option("#model", "joint_gt_layout")
    ask(page, QUESTION)
    expect(page.locator("#shares li")).to_have_count(5)
    expect(page.locator("#found-box")).to_be_hidden()


def test_the_theme_can_be_chosen_and_stays(page):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.locator("#theme")
    expect(button).to_have_attribute("aria-pressed", "false")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="dark")
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator('.thumb input[value="scene-02"]').is_checked()
    while not page.locator("#question").evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("How many cyl")
    completions = page.locator("#completions li")
    expect(completions).to_have_text(["cylinder", "cylinders"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("are there")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_be_visible()
    assert page.locator("#question").input_value() == "How many cylinders are there?"
    while not page.locator("#slider").evaluate("one => one === document.activeElement"):
        page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#step-name")).to_contain_text("Step 2")


def test_surprises_and_playing(page):
    page.click("#surprise")
    expect(page.locator("#answer")).to_be_visible()
    asked = page.locator("#question").input_value()
    assert asked in page.locator("#suggestions button").all_text_contents()
    page.click("#play")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Pause")
    expect(page.locator("#step-name")).to_contain_text("Step 2")
    page.click("#play")
    expect(page.locator("#play")).to_have_attribute("aria-label", "Play the steps")


def test_reasons_for_doubt_stand_beside_the_answer(page):
    page.locator('.thumb input[value="scene-05"]').check(force=True)
    ask(page, "How many things are the same color as the big sphere?")
    expect(page.locator("#in-words")).to_contain_text('find "big sphere" -> same "color" -> count')
    expect(page.locator("#marks")).to_be_hidden()
    expect(page.locator("#program")).to_contain_text("on the true scene")
    page.set_input_files(
        "#file", {"name": "a.png", "mimeType": "image/png", "buffer": image_bytes((240, 160))}
    )
    expect(page.locator("#trust")).to_be_hidden()
    ask(page, "red how what the the big?")
    expect(page.locator('#marks [data-mark="unlike_image"]')).to_contain_text("times as far")
    expect(page.locator('#marks [data-mark="no_sentence"]')).to_be_visible()
    expect(page.locator("#status")).to_contain_text("reasons for doubt")
    expect(page.locator("#program")).to_be_empty()
