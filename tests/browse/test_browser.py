"""The pages in headless Chromium."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def dom(url: str, profile: Path) -> str:
    """The page as it stands after its script ran."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
               "--virtual-time-budget=6000", "--dump-dom", url]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@needs_chromium
def test_pages_come_alive_and_all_pictures_load(site, tmp_path):
    text = dom(f"{site.url}/treatments?perturbation=taxol", tmp_path)
    assert '<body class="live">' in text
    slider = re.search(r'<input type="range" id="slider"[^>]*>', text)
    assert slider is not None
    assert "hidden" not in slider[0]
    assert "<script>alert" not in text


DRIVE = """
const until = async (done) => { while (!done()) await new Promise((next) => setTimeout(next, 20)); };
const put = (element, value, kind) => {
  element.value = value;
  element.dispatchEvent(new Event(kind, { bubbles: true }));
};
const heading = () => document.querySelector("h2").textContent;
(async () => {
  const notes = [heading()];
  const slider = document.getElementById("slider");
  slider.focus();
  for (const [at, dose] of [[0, "0.3"], [1, "1"]]) {
    put(slider, at, "input");
    await until(() => heading() === `taxol ${dose} µM`);
    notes.push(heading(), document.querySelector("#ladder [aria-current]").textContent);
  }
  notes.push(document.activeElement === slider && slider.isConnected ? "slider held" : "lost");
  put(document.getElementById("low"), 20, "input");
  await until(() => document.querySelector(".cells").src.includes("low=20"));
  document.getElementById("channel-1").click();
  await until(() => document.querySelector(".cells").src.includes("channel=DNA"));
  notes.push(heading(), location.search);
  const pictures = [...document.querySelectorAll("img.cells")];
  pictures.forEach((picture) => { picture.loading = "eager"; });
  await until(() => pictures.every((picture) => picture.complete));
  notes.push(`${pictures.filter((picture) => picture.naturalWidth === 16).length} of ${pictures.length} painted`);
  document.getElementById("perturbation").focus();
  put(document.getElementById("perturbation"), "KIF11", "change");
  await until(() => heading() === "KIF11");
  notes.push(document.activeElement.id, document.getElementById("slider").disabled ? "no doses" : "doses");
  document.body.dataset.notes = JSON.stringify(notes);
})();
"""


@needs_chromium
def test_the_slider_contrast_and_choices_change_what_is_shown(real, generated, serve, tmp_path, monkeypatch):
    from virtassay.browse import app

    (tmp_path / "browse.js").write_text(app.SCRIPT.read_text() + DRIVE)
    monkeypatch.setattr(app, "SCRIPT", tmp_path / "browse.js")
    site = serve(real, generated)
    text = dom(f"{site.url}/treatments?perturbation=taxol", tmp_path / "profile")
    found = re.search(r'data-notes="([^"]*)"', text)
    assert found is not None, text
    notes = json.loads(html.unescape(found[1]))
    assert notes == [
        "taxol 3 µM",
        *("taxol 0.3 µM", "0.3 µM", "taxol 1 µM", "1 µM", "slider held"),
        *("taxol 1 µM", "?perturbation=taxol&dose=1&channel=DNA&low=20&high=99.7", "42 of 42 painted"),
        *("perturbation", "no doses"),
    ]
