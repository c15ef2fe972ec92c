"""Drives the page of `nextscale serve` with headless Chromium: python page.py URL SCREENSHOTS

Exits with 1 if anything is not as it should be, also for a violation of the page's content security policy or an error in the
console. Needs `pip install selenium`, Chromium and chromedriver.
"""

import os
import shutil
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

PATIENCE = float(os.environ.get("PATIENCE", "120"))

# Before the page's own scripts: remembers violations of the policy, every picture that the large image has shown, and how many runs were
# started.
WATCH = """
window.started = 0;
const plain = window.fetch;
window.fetch = async (path, options) => {
  const answer = await plain(path, options);
  if (options?.method === "POST" && answer.status === 202) started++;
  return answer;
};
window.violations = [];
window.shown = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));
document.addEventListener("load", (event) => {
  if (event.target.matches?.(".frame > img")) shown.push(event.target.currentSrc.split("/").pop());
}, true);
"""

# Every control that is seen needs a name for screen readers.
NAMELESS = """
return [...document.querySelectorAll("button, input, select, textarea, [role=slider], [role=application]")]
  .filter((one) => one.checkVisibility() && !one.classList.contains("unseen"))
  .filter((one) => !one.getAttribute("aria-label") && !one.textContent.trim() && !(one.labels && [...one.labels].some((label) => label.textContent.trim())))
  .map((one) => one.outerHTML.slice(0, 120));
"""


class Page:
    def __init__(self, url, folder, width=1280, height=900, phone=False, dark=False):
        self.url, self.folder, self.names = url.rstrip("/"), Path(folder), []
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", f"--window-size={width},{height}"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = shutil.which("chromedriver")
        self.driver = webdriver.Chrome(options=options, service=Service(driver) if driver else Service())
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        if phone:
            self.cdp("Emulation.setTouchEmulationEnabled", enabled=True)
        if dark:
            self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        self.refusals = self.runs = 0
        self.open("image")

    def cdp(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def open(self, tab):
        """Loads the page anew, at a tab."""
        self.runs = 0
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/#{tab}")
        self.until(lambda: self.js("return document.querySelector('#tab-image select')?.options.length > 0"), "the models are listed")

    def go(self, tab):
        self.click_on(self.driver.find_element(By.CSS_SELECTOR, f"nav a[href='#{tab}']"))
        self.until(lambda: self.seen(f"#tab-{tab}"), f"the tab {tab} opens")

    def until(self, test, what, seconds=PATIENCE):
        end = time.time() + seconds
        while time.time() < end:
            try:
                if found := test():
                    return found
            except StaleElementReferenceException:
                pass
            time.sleep(0.05)
        self.picture("failure")
        raise AssertionError(f"not in {seconds:g} s: {what}. The page says: {self.texts('.message, .words, .link, .toast')}")

    def texts(self, selector):
        return [one.text for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed() and one.text]

    def seen(self, selector):
        found = [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
        return found[0] if found else None

    def button(self, text, inside="main"):
        found = [one for one in self.driver.find_elements(By.CSS_SELECTOR, f"{inside} button") if one.is_displayed() and one.text == text]
        return found[0] if found else None

    def click_on(self, element):
        self.js("arguments[0].scrollIntoView({ block: 'center' })", element)
        element.click()

    def click(self, text, inside="main"):
        self.click_on(self.until(lambda: self.button(text, inside), f"there is a button {text!r}"))

    def labelled(self, label, inside="main"):
        return self.until(lambda: self.js(
            "return [...document.querySelectorAll(`${arguments[1]} label`)].find((one) => one.textContent === arguments[0] && one.checkVisibility())?.control",
            label, inside), f"there is a field {label!r}")

    def write(self, label, text, inside="main"):
        field = self.labelled(label, inside)
        field.clear()
        field.send_keys(text)
        return field

    def slide(self, element, value):
        self.js("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', { bubbles: true }))", element, value)

    def finished(self, tab, what="is ready"):
        """Waits for the end of the run that was just started."""
        self.until(lambda: self.js("return window.started") > self.runs, "a run is started")
        self.runs = self.js("return window.started")
        self.until(lambda: any(what in text or "are ready" in text for text in self.texts(f"#tab-{tab} .view .words")), f"a run of the tab {tab} is over")

    def picture(self, name):
        self.driver.save_screenshot(str(self.folder / f"{name}.png"))

    def named(self, where):
        nameless = self.js(NAMELESS)
        assert not nameless, f"{where}: controls without a name: {nameless}"

    def drag(self, element, start, end):
        """Drags from one place to another, in shares of the element."""
        width, height = element.size["width"], element.size["height"]
        self.js("arguments[0].scrollIntoView({ block: 'center' })", element)
        chain = ActionChains(self.driver, duration=40).move_to_element_with_offset(element, (start[0] - 0.5) * width, (start[1] - 0.5) * height).click_and_hold()
        for part in (0.3, 0.6, 1):
            at = [(start[axis] + (end[axis] - start[axis]) * part - 0.5) for axis in (0, 1)]
            chain.move_to_element_with_offset(element, at[0] * width, at[1] * height)
        chain.release().perform()

    def touch(self, element, start, end):
        self.js("arguments[0].scrollIntoView({ block: 'center' })", element)
        left, top, width, height = self.js("const box = arguments[0].getBoundingClientRect(); return [box.left, box.top, box.width, box.height]", element)
        for step in range(11):
            at = [start[axis] + (end[axis] - start[axis]) * step / 10 for axis in (0, 1)]
            points = [{"x": left + at[0] * width, "y": top + at[1] * height}]
            self.cdp("Input.dispatchTouchEvent", type="touchMove" if step else "touchStart", touchPoints=points)
        self.cdp("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def close(self):
        """Ends the browser. Nothing may have been refused by the policy, or be in the console that was not provoked."""
        violations = self.js("return window.violations")
        lines = [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
        self.driver.quit()
        provoked = [line for line in lines if "status of 400" in line]
        others = [line for line in lines if line not in provoked]
        assert not violations, f"violations of the policy: {violations}"
        assert not others and len(provoked) <= self.refusals, f"errors in the console: {lines}"


def images(page):
    """A prompt grows into an image; the slider goes back; variation, several images, pipeline of the settings."""
    prompt = page.write("Prompt", "red apple")
    page.write("Seed", "7")
    prompt.send_keys(Keys.CONTROL, Keys.ENTER)
    page.until(lambda: page.seen("#tab-image .frame > img"), "the image grows")
    page.finished("image")
    shown = page.js("return [...new Set(window.shown)]")
    assert len(shown) >= 3, f"only these pictures were shown: {shown}"
    wide = page.js("return document.querySelector('#tab-image .frame > img').getBoundingClientRect().width")
    assert wide >= 384, f"the image is {wide} pixels wide"
    page.picture("01-image")
    page.named("the tab Image")
    slider = page.seen("#tab-image .scales input")
    page.slide(slider, 0)
    page.until(lambda: "scale" in page.js("return document.querySelector('#tab-image .frame > img').src"), "the slider shows an earlier scale", 10)
    page.picture("02-first-scale")
    slider.send_keys(Keys.END)
    page.click("Variation")
    page.click("Generate the variation")
    page.finished("image")
    page.write("How many", "3")
    page.click("Generate", "#tab-image")
    page.until(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#tab-image .thumbs img[src]")) == 3, "three images grow")
    page.finished("image", "are ready")
    page.until(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#tab-image .recent .tile")) >= 3, "the row of the latest runs")
    page.picture("03-three-images")
    page.write("How many", "1")
    page.click("Again", "#tab-image")
    page.finished("image")


def classes(page):
    """A model of classes has a list that is searched. Not every server has one."""
    page.go("image")
    name = page.js("return fetch('/api/models').then((answer) => answer.json()).then(({ models }) => models.find((one) => one.from === 'class')?.name)")
    if not name:
        return
    Select(page.labelled("Model", "#tab-image")).select_by_value(name)
    field = page.labelled("Class", "#tab-image")
    field.send_keys("o")
    page.until(lambda: page.seen("[role=option]"), "classes are listed", 10)
    page.picture("04-classes")
    field.send_keys(Keys.ARROW_DOWN, Keys.ENTER)
    assert field.get_attribute("value"), "no class was chosen"
    page.click("Generate", "#tab-image")
    page.finished("image")
    Select(page.labelled("Model", "#tab-image")).select_by_index(0)


def editing(page):
    """The image of the tab Image is edited by brush, box and beyond its edges."""
    page.click("Edit", "#tab-image")
    canvas = page.until(lambda: page.seen("canvas.mask"), "the brush is there")
    page.until(lambda: page.js("return document.querySelector('.stage img').naturalWidth > 0"), "the image to edit is shown")
    page.click("Generate", "#tab-edit")
    page.until(lambda: any("Paint" in text for text in page.texts("#tab-edit form .message")), "a missing mask is said", 10)
    page.drag(canvas, (0.3, 0.3), (0.7, 0.6))
    page.picture("05-mask")
    page.named("the tab Edit")
    generate_edit(page, "06-edited")
    slider = page.driver.find_element(By.CSS_SELECTOR, "#tab-edit .compare input")
    page.slide(slider, 90)
    assert "10%" in page.js("return document.querySelector('#tab-edit .before').style.clipPath"), "before and after did not move"
    page.click("Original", "#tab-edit")
    canvas.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.SPACE)
    page.click("Undo", "#tab-edit")
    page.click("Box", "#tab-edit")
    page.drag(page.seen(".boxlayer"), (0.25, 0.25), (0.75, 0.5))
    assert int(page.labelled("Width", "#tab-edit").get_attribute("value")) > 0, "the box has no numbers"
    generate_edit(page, "07-box")
    page.click("Original", "#tab-edit")
    page.click("Beyond the edges", "#tab-edit")
    page.drag(page.seen(".handle.left"), (0.5, 0.5), (3, 0.5))
    page.seen(".handle.top").send_keys(Keys.ARROW_DOWN * 4)
    assert page.seen(".handle.top").get_attribute("aria-valuenow") == "20", "the handle does not follow the keys"
    page.picture("08-handles")
    generate_edit(page, "09-outpainted")


def generate_edit(page, name):
    page.click("Generate", "#tab-edit")
    page.finished("edit")
    page.until(lambda: page.seen("#tab-edit .compare"), "before and after can be compared")
    page.picture(name)


def videos(page):
    """A prompt becomes a video, if the server has a model for it."""
    page.go("video")
    if page.js("return document.querySelector('#tab-video select').options.length") == 0:
        return
    if page.js("return document.querySelector('#tab-video .story').checkVisibility()"):
        page.js("return document.querySelector('#tab-video .story textarea')").send_keys("red apple bouncing")
    else:
        page.write("Prompt", "red apple bouncing", "#tab-video")
    page.click("Generate", "#tab-video")
    page.finished("video")
    page.until(lambda: page.js("const video = document.querySelector('#tab-video video'); return video.readyState > 1 && video.duration > 0"), "the video plays")
    page.picture("10-video")
    page.named("the tab Video")


def pipelines(page):
    """The pipeline of the last run is shown; a mistake is marked at its line; the corrected text runs."""
    page.go("image")
    page.click("Show as pipeline", "#tab-image")
    editor = page.until(lambda: page.seen(".cm-content"), "the editor is there")
    page.until(lambda: "red apple" in editor.text and "stages:" in editor.text, "the pipeline is shown")
    page.until(lambda: any("No mistakes" in text for text in page.texts("#tab-pipeline .words")), "the pipeline is checked")
    editor.send_keys(Keys.CONTROL, Keys.END)
    editor.send_keys("\n", Keys.HOME)
    editor.send_keys("dt")
    page.until(lambda: page.seen(".cm-tooltip-autocomplete li"), "keys are suggested", 20)
    page.picture("11-suggestions")
    editor.send_keys(Keys.ENTER, "f99")
    page.until(lambda: page.seen(".mistakes button"), "the mistake is listed")
    page.until(lambda: page.seen(".cm-lint-marker"), "the mistake is marked at its line", 20)
    assert page.texts(".mistakes button")[0].startswith("Line "), page.texts(".mistakes button")
    page.picture("12-mistake")
    page.named("the tab Pipeline")
    page.click("Run", "#tab-pipeline")
    page.refusals += 1
    page.until(lambda: page.seen("#tab-pipeline .note"), "the pipeline is refused", 20)
    editor.send_keys(Keys.CONTROL, Keys.END)
    editor.send_keys(Keys.BACKSPACE * len("dtype: f99"))
    page.until(lambda: any("No mistakes" in text for text in page.texts("#tab-pipeline .words")), "the mistake is gone")
    page.click("Run", "#tab-pipeline")
    page.finished("pipeline")
    page.picture("13-pipeline")


def gallery(page):
    """After a reload everything is in the gallery, is found, opened, used again, and dropped in."""
    page.open("gallery")
    page.until(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, "#tab-gallery .tile")) >= 5, "the gallery is filled")
    page.named("the tab Gallery")
    search = page.labelled("Search", "#tab-gallery")
    search.send_keys("no such words")
    page.until(lambda: any("Nothing fits" in text for text in page.texts("#tab-gallery .empty")), "nothing is found", 20)
    search.clear()
    search.send_keys("apple")
    page.until(lambda: page.seen("#tab-gallery .tile img[src]"), "the apples are found", 20)
    page.picture("14-gallery")
    tiles = [one for one in page.driver.find_elements(By.CSS_SELECTOR, "#tab-gallery .tile") if "video" not in one.text]
    page.click_on(tiles[-1])
    page.until(lambda: page.button("Use settings", "dialog"), "the run is opened")
    page.until(lambda: page.seen("dialog .frame > img[src]"), "its image is shown")
    page.picture("15-run")
    address = page.js("return document.querySelector('dialog .frame > img').src")
    page.click("Use settings", "dialog")
    page.until(lambda: page.seen("#tab-image") and page.labelled("Prompt", "#tab-image").get_attribute("value") == "red apple", "the settings are in the form", 20)
    assert page.labelled("Seed", "#tab-image").get_attribute("value"), "the seed is not in the form"
    page.write("Prompt", "something else", "#tab-image")
    drop(page, address)
    page.until(lambda: page.labelled("Prompt", "#tab-image").get_attribute("value") == "red apple", "the dropped image gives its settings back", 30)


def drop(page, address):
    page.js("""return fetch(arguments[0]).then((answer) => answer.blob()).then((blob) => {
      const data = new DataTransfer();
      data.items.add(new File([blob], "image.png", { type: "image/png" }));
      for (const name of ["dragenter", "dragover", "drop"]) document.body.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
    })""", address)


def phone(page):
    """A phone of 360 pixels, in the dark: nothing is wider than the screen, and a finger paints."""
    dark = page.js("return getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in dark[4:-1].split(",")[:3]) < 80, f"the page is not dark: {dark}"
    page.write("Prompt", "red apple")
    page.click("Generate", "#tab-image")
    page.finished("image")
    page.picture("16-phone")
    page.click("Edit", "#tab-image")
    canvas = page.until(lambda: page.seen("canvas.mask"), "the brush is there")
    page.until(lambda: page.js("return document.querySelector('.stage img').naturalWidth > 0"), "the image to edit is shown")
    page.touch(canvas, (0.3, 0.3), (0.7, 0.7))
    page.until(lambda: page.button("Clear", "#tab-edit").is_enabled(), "the finger has painted", 10)
    page.picture("17-phone-mask")
    generate_edit(page, "18-phone-edited")
    for tab in ("image", "edit", "video", "pipeline", "gallery"):
        page.go(tab)
        time.sleep(0.5)
        wide = page.js("return document.documentElement.scrollWidth")
        assert wide <= 360, f"the tab {tab} is {wide} pixels wide"
        page.picture(f"19-phone-{tab}")


def main():
    url, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    desk = Page(url, folder)
    for step in (images, editing, classes, videos, pipelines, gallery):
        print(step.__name__, flush=True)
        step(desk)
    desk.close()
    small = Page(url, folder, 360, 740, phone=True, dark=True)
    print("phone", flush=True)
    phone(small)
    small.close()
    print("ok")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(f"error: {error}")
