"""`python -m engines.compiled.build FOLDER`: build the extension modules, with mypyc, into a fresh folder.

Run by the environment's own interpreter, from the checkout's root, with mypyc on the path and a file to log to.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from mypyc.build import mypycify
from setuptools import setup
from setuptools.command.build_ext import build_ext

from engines.compiled.modules import chosen

GROUP: Final = "loomgate_compiled"
"""The one library that holds all of the machine code, so that modules call each other directly."""
OPTIMIZATION: Final = "2"


class ParallelBuild(build_ext):  # type: ignore[misc]  # setuptools has no types
    """Compiles the sources of one extension side by side, which setuptools does for whole extensions only."""

    def build_extensions(self) -> None:
        """See `build_ext`."""
        compile_some = self.compiler.compile

        def compile_all(sources: Sequence[str], **options: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_some([source], **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_all
        super().build_extensions()


def build(root: Path, target: Path) -> None:
    """Compile everything, and move it to `target` when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as work:
        extensions = mypycify(
            ["--config-file=", "--strict", *chosen(root)],
            opt_level=OPTIMIZATION,
            debug_level="0",
            group_name=GROUP,
            multi_file=True,  # in one file they take a compiler twice as long
            target_dir=f"{work}/c",
        )
        setup(
            name="loomgate-compiled",
            packages=[],
            py_modules=[],
            ext_modules=extensions,
            script_args=["build_ext", "--build-lib", f"{work}/lib", "--build-temp", f"{work}/objects"],
            cmdclass={"build_ext": ParallelBuild},
        )
        shutil.rmtree(target, ignore_errors=True)
        Path(work, "lib").rename(target)


if __name__ == "__main__":
    build(Path.cwd(), Path(sys.argv[1]))
