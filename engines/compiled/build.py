"""`python -m engines.compiled.build FOLDER`: build the extension modules, with mypyc, into a fresh folder.

Run by the environment's own interpreter, from the checkout's root, with mypyc on the path and a file to log to.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from mypyc.build import mypycify
from setuptools import setup

from engines.compiled.modules import chosen

GROUP: Final = "loomgate_compiled"
"""The one library that holds all of the machine code, so that modules call each other directly."""
OPTIMIZATION: Final = "2"


def build(root: Path, target: Path) -> None:
    """Compile everything, and move it to `target` when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as work:
        extensions = mypycify(
            ["--config-file=", "--strict", *chosen(root)],
            opt_level=OPTIMIZATION,
            debug_level="0",
            group_name=GROUP,
            target_dir=f"{work}/c",
        )
        setup(
            name="loomgate-compiled",
            packages=[],
            py_modules=[],
            ext_modules=extensions,
            script_args=["build_ext", "--build-lib", f"{work}/lib", "--build-temp", f"{work}/objects", "-j2"],
        )
        shutil.rmtree(target, ignore_errors=True)
        Path(work, "lib").rename(target)


if __name__ == "__main__":
    build(Path.cwd(), Path(sys.argv[1]))
