from __future__ import annotations

from pathlib import Path

import pytest

from engines.models import DEFAULT_MODEL, ModelUnavailable, choose


def test_nothing_said_means_the_default_model(tmp_path: Path) -> None:
    choice = choose(None, tmp_path)
    assert choice == choose(DEFAULT_MODEL, tmp_path)
    assert (choice.folder, choice.ready) == (tmp_path / DEFAULT_MODEL, False)
    assert choice.served.served_name == "smollm2"


def test_a_folder_is_served_as_it_is_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")

    choice = choose(str(folder), tmp_path / "models")

    assert choice.ready
    assert (choice.served.source, choice.served.served_name) == (str(folder), "my-model")


def test_a_hub_name_gets_a_folder_and_keeps_its_name(tmp_path: Path) -> None:
    choice = choose("Qwen/Qwen3-0.6B", tmp_path)
    assert choice.folder == tmp_path / "Qwen--Qwen3-0.6B"
    assert choice.served.served_name == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize("model", ["/no/such/folder", "./missing", "~/missing", "just-a-word", "a/b/c"])
def test_what_is_neither_folder_nor_hub_name_is_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no such folder"):
        choose(model, tmp_path)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        choose(str(tmp_path), tmp_path)
