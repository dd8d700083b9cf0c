"""COCO, the dataset style networks are usually trained on: where it is looked for, and its download.

The archive is never unpacked; training reads it as it is. There are no official checksums, and the server's
certificate does not match its name, so the address is plain http: a download is checked by its size and by
the CRC of every picture in it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NamedTuple

from fast_nst.system.folders import user_cache_folder
from fast_nst.training.data.download import ProgressCallback, download

__all__ = [
    "ARCHIVES",
    "Archive",
    "download_coco",
    "find_coco",
    "how_to_get_it",
]


class Archive(NamedTuple):
    """One of COCO's zips of photographs: its exact bytes and number of pictures."""

    name: str
    bytes: int
    pictures: int

    @property
    def url(self) -> str:
        return f"http://images.cocodataset.org/zips/{self.name}.zip"


# Sizes as the server gives them. Johnson et al. 2016 trained on train2014; train2017 contains it.
ARCHIVES = {
    archive.name: archive
    for archive in (
        Archive("train2017", 19_336_861_798, 118_287),
        Archive("train2014", 13_510_573_713, 82_783),
        Archive("val2017", 815_585_330, 5_000),
    )
}


def search_paths() -> list[Path]:
    """The folders in which COCO is looked for, in this order. The first is also where it is downloaded to."""
    own = os.environ.get("FAST_NST_DATA")
    cache = user_cache_folder()
    # The second one is where earlier versions put it on every system.
    usual = [cache, Path.home() / ".cache" / "fast_nst", Path("data", "coco"), Path("coco")]
    named = [Path(own).expanduser(), Path(own, "coco").expanduser()] if own else []
    return list(dict.fromkeys([*named, *usual]))


def find_coco() -> Path | None:
    """A folder or zip of COCO's photographs, the largest set there is; ``None`` if there is none."""
    for name in ARCHIVES:
        for place in search_paths():
            folder, archive = place / name, place / f"{name}.zip"
            if folder.is_dir() and any(folder.iterdir()):
                return folder
            if archive.is_file():
                return archive
    return None


def how_to_get_it(name: str = "train2017") -> str:
    """One line for a person who has no COCO, with commands that work as they stand."""
    archive, target = ARCHIVES[name], search_paths()[0] / f"{name}.zip"
    looked = ", ".join(str(place) for place in search_paths())
    hint = "" if "FAST_NST_DATA" in os.environ else " (FAST_NST_DATA may name another place)"
    return (
        f"COCO is not in {looked}{hint}; add --download, or run: curl --create-dirs -C - -o "
        f"{shlex.quote(str(target))} {archive.url} ({archive.bytes / 1e9:.0f} GB, read without unpacking)"
    )


def download_coco(
    name: str = "train2017",
    *,
    progress: ProgressCallback | None = None,
    on_check: ProgressCallback | None = None,
) -> Path:
    """Fetch one of `ARCHIVES` to the first of `search_paths`, and return the path of the zip."""
    archive = ARCHIVES[name]
    target = search_paths()[0] / f"{name}.zip"
    download(archive.url, target, expected_size=archive.bytes, progress=progress, on_check=on_check)
    return target
