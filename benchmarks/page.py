"""The exported page in Chromium: seconds to the first stylized picture, and pictures a second of its camera.

    fast-nst export-page site/
    python benchmarks/page.py site/ --photo photo.jpg

The first opening finds nothing in the browser's cache, later ones do. The camera is Chromium's fake one, 320
pixels wide, stylized in the browser. Needs the package selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PORT = 8137
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage")
CAMERA = ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")


def wait(browser: webdriver.Chrome, expression: str) -> None:
    """Until a JavaScript expression is true."""
    while not browser.execute_script(f"return {expression}"):
        time.sleep(0.02)


def opened(browser: webdriver.Chrome, query: str = "") -> None:
    """Open the page."""
    browser.get(f"http://127.0.0.1:{PORT}/{query}")
    wait(browser, "document.body.dataset.ready === 'yes'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("site", type=Path, help="the exported page")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of the camera")
    given = parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, *CAMERA):
        options.add_argument(f"--{flag}")
    server = subprocess.Popen([sys.executable, given.site / "serve.py", str(PORT)], stdout=subprocess.DEVNULL)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        time.sleep(1)
        for _ in range(4):
            began = time.monotonic()
            opened(browser)
            browser.find_element("id", "file").send_keys(str(given.photo.resolve()))
            wait(browser, "document.body.classList.contains('painted')")
            print(f"first stylized picture after {time.monotonic() - began:.2f} s")
        opened(browser, "?side=320")
        browser.find_element("id", "use-camera").click()
        frames = "Number(document.getElementById('result').dataset.frames ?? 0)"
        wait(browser, f"{frames} > 5")
        for _ in range(3):
            before, began = browser.execute_script(f"return {frames}"), time.monotonic()
            time.sleep(given.seconds)
            count = browser.execute_script(f"return {frames}") - before
            print(f"camera: {count / (time.monotonic() - began):.1f} pictures a second")
    finally:
        browser.quit()
        server.terminate()


if __name__ == "__main__":
    main()
