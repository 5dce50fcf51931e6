"""The comparison with PyTorch on photographs: its folders, its table, and that both trainers do the same."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import resnet_jax as rj
from benchmarks import photographs
from benchmarks.photographs import Run, table, train_ours, train_pytorch, write_folders


@pytest.fixture
def package(tmp_path):
    """A directory like that of the package `elpv_dataset`, with 60 photographs."""
    images = tmp_path / "elpv_dataset" / "data" / "images"
    images.mkdir(parents=True)
    random, lines = np.random.default_rng(0), []
    for number in range(60):
        kind, probability = ("mono", "poly")[number % 2], (0.0, 0.333, 0.667, 1.0)[number // 2 % 4]
        pixels = random.integers(0, 120, (40, 40)).astype(np.uint8) + np.uint8(100 * (probability >= 0.5))
        Image.fromarray(pixels).save(images / f"cell{number:04}.png")
        lines.append(f"images/cell{number:04}.png  {probability}   {kind}\n")
    (images.parent / "labels.csv").write_text("".join(lines))
    return images.parent.parent


def test_the_folders_have_each_photograph_once_under_its_class(package, tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "NUM_EVAL", 12)
    write_folders(package, tmp_path / "data")
    files = sorted((tmp_path / "data").rglob("*.png"))
    assert len({file.name for file in files}) == len(files) == 60
    assert sum(file.parts[-3] == "val" for file in files) == 12
    (file,) = (tmp_path / "data").rglob("cell0004.png")
    assert file.parent.name == "mono_defective"  # 0.667
    write_folders(package, tmp_path / "data")
    assert sorted((tmp_path / "data").rglob("*.png")) == files


def test_the_difference_is_paired_by_seed():
    ours, pytorch = ([Run(top1, [1], [0.0], 2.0) for top1 in values] for values in ((0.7, 0.8), (0.69, 0.77)))
    lines = table(ours, pytorch).splitlines()
    assert "ours" in lines[2] and "75.0 %" in lines[2] and "70.0 - 80.0" in lines[2]
    # Differences of 1 and 3 points: mean 2, standard error 1, t quantile 12.706 with one degree of freedom.
    assert lines[-1] == "ours - PyTorch: +2.00 points (95 %: -10.71 to +14.71; 2 pairs)"


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["photographs.py", f"--out={tmp_path}"])
    monkeypatch.setattr(photographs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="^error: the package elpv_dataset is missing: pip install elpv-dataset$"):
        photographs.main()


@pytest.mark.slow
def test_without_flips_both_trainers_have_the_same_losses(package, tmp_path, monkeypatch):
    from benchmarks import photographs_pytorch  # PyTorch is installed for the slow tests only

    monkeypatch.setattr(photographs, "NUM_EVAL", 12)
    write_folders(package, tmp_path / "data")
    recipe = photographs_pytorch.Recipe.build(str(tmp_path / "data"), 0, **{"input.flip": False})
    found = photographs_pytorch.train(recipe, recipe.network())
    run, step = recipe.run, rj.compile_train_step(recipe.run, 32)
    state, losses = rj.initial_state(run), []
    for batch in rj.feed(run.data.train_loader, mesh=run.computation.mesh, stop=len(found)):
        state, totals = step(state, batch)
        losses.append(rj.scalars(totals.examples)["loss"])
    np.testing.assert_allclose(found, losses, rtol=1e-3)


@pytest.mark.slow
def test_a_run_of_each(package, tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "NUM_EVAL", 12)
    write_folders(package, tmp_path / "data")
    ours = train_ours(tmp_path / "data", 0, tmp_path / "ours")
    pytorch = train_pytorch(tmp_path / "data", 0, tmp_path / "pytorch.json")
    assert ours.steps == pytorch.steps and len(ours.losses) == len(pytorch.losses)
    assert json.loads((tmp_path / "pytorch.json").read_text())["top1"] == pytorch.top1
    assert train_pytorch(tmp_path / "data", 0, tmp_path / "pytorch.json") == pytorch
