"""The page in Chromium: seconds to the first stylized picture, pictures a second of its camera, and memory.

    fast-nst export-page site/
    python benchmarks/page.py site/ --photo photo.jpg
    python benchmarks/page.py site/ --photo photo.jpg --minutes 5
    python benchmarks/page.py http://127.0.0.1:8000/ --photo photo.jpg --side 640      # of `fast-nst web`
    python benchmarks/page.py http://127.0.0.1:8000/ --photo photo.jpg --side 640 --against starry-night

The first opening finds nothing in the browser's cache, later ones do. The camera is Chromium's fake one. With
--minutes it runs that long, and printed at the end of each minute are the pictures a second, the megabytes
that the page's scripts hold and those of all of Chromium's processes together. With --against the page's
camera and the loop of ``fast-nst stylize 0 --style STYLE`` (frames of 640 x 480, no window) take turns; a
frame is behind by the pictures that are shown between its coming and its being shown. Needs the extra web,
the package selenium, chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from web import frames, in_the_loop

from fast_nst.inference.stylizer import Stylizer

PORT = 8137
FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "enable-precise-memory-info")
CAMERA = ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")
LATENCY = "Number(document.getElementById('result').dataset.latency)"
FRAMES = "Number(document.getElementById('result').dataset.frames ?? 0)"


def wait(browser: webdriver.Chrome, expression: str) -> None:
    """Until a JavaScript expression is true."""
    while not browser.execute_script(f"return {expression}"):
        time.sleep(0.02)


def opened(browser: webdriver.Chrome, address: str, query: str = "") -> None:
    """Open the page."""
    browser.get(f"{address}{query}")
    wait(browser, "document.body.dataset.ready === 'yes'")


@contextmanager
def served(site: str) -> Iterator[str]:
    """The address of the page: of a server that runs, or of a folder that is served meanwhile."""
    if site.startswith("http"):
        yield site
        return
    command = [sys.executable, str(Path(site) / "serve.py"), str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield f"http://127.0.0.1:{PORT}/"
    finally:
        server.terminate()


def megabytes() -> float:
    """Memory that Chromium's processes share with no other, on Linux."""
    used = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if b"chromium" in (folder / "cmdline").read_bytes():
                text = (folder / "smaps_rollup").read_text(encoding="ascii")
                used += sum(int(kilobytes) for kilobytes in re.findall(r"Private_\w+:\s+([0-9]+) kB", text))
    return used / 1024


def rate(browser: webdriver.Chrome, seconds: float) -> float:
    """Pictures of the camera that are shown in a second."""
    before, began = browser.execute_script(f"return {FRAMES}"), time.monotonic()
    time.sleep(seconds)
    shown: int = browser.execute_script(f"return {FRAMES}") - before
    return shown / (time.monotonic() - began)


def start_camera(browser: webdriver.Chrome, address: str, side: int) -> None:
    """Open the page and let its camera run, with frames of one width."""
    opened(browser, address, f"?side={side}")
    browser.find_element("id", "use-camera").click()
    wait(browser, f"{FRAMES} > 5")


def against(browser: webdriver.Chrome, address: str, given: argparse.Namespace) -> None:
    """The page's camera and the command's in turn."""
    stylizer, pixels = Stylizer.load(given.against), frames()
    in_the_loop(stylizer, pixels, given.seconds / 2)
    ratios = []
    for _ in range(given.rounds):
        start_camera(browser, address, given.side)
        page = rate(browser, given.seconds)
        latency = browser.execute_script(f"return {LATENCY}") * page / 1000
        browser.get("about:blank")
        loop, _ = in_the_loop(stylizer, pixels, given.seconds)
        ratios.append(page / loop)
        print(
            f"page {page:.1f} pictures a second, {latency:.1f} frames behind, command {loop:.1f}", flush=True
        )
    print(f"page over command: {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})")


def main() -> None:
    """Parse the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("site", help="the exported page, or the address of a server")
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--side", type=int, default=320, help="width of the camera's frames")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of the camera")
    parser.add_argument("--minutes", type=int, default=0, help="let the camera run that long")
    parser.add_argument("--against", metavar="STYLE", help="measure the camera command in turn")
    parser.add_argument("--rounds", type=int, default=5, help="of --against")
    given = parser.parse_args()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, *CAMERA):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        with served(given.site) as address:
            for _ in range(4):
                began = time.monotonic()
                opened(browser, address)
                browser.find_element("id", "file").send_keys(str(given.photo.resolve()))
                wait(browser, "document.body.classList.contains('painted')")
                print(f"first stylized picture after {time.monotonic() - began:.2f} s", flush=True)
            if given.against:
                against(browser, address, given)
                return
            start_camera(browser, address, given.side)
            for _ in range(3):
                print(f"camera: {rate(browser, given.seconds):.1f} pictures a second", flush=True)
            for minute in range(given.minutes):
                shown = rate(browser, 60)
                heap = browser.execute_script("return performance.memory.usedJSHeapSize") / 1e6
                whole = megabytes()
                print(
                    f"minute {minute + 1}: {shown:.1f} a second, scripts {heap:.0f} MB, all {whole:.0f} MB",
                    flush=True,
                )
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
