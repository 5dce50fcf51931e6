"""The format 'onnx_int8': calibrated and measured on the data of the run."""

import dataclasses
import json
import sys
import types

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.batch import UNREADABLE, Batch
from resnet_jax.errors import UsageError
from resnet_jax.programs.export import onnx_int8
from resnet_jax.programs.export.export import METADATA, export
from resnet_jax.programs.export.formats import FORMATS
from resnet_jax.programs.export.onnx_file import open_session
from tests.programs.export.test_hub_folder import NAMES, made
from tests.tiny import tiny_config
from tests.weights.untrained_weights import untrained


def test_data_with_the_classes_of_the_outputs_are_needed(monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, sys)
    model = made({})
    with pytest.raises(UsageError, match="'onnx_int8' needs the data of the run"):
        FORMATS["onnx_int8"].check(model)

    def splits(names):
        loader = types.SimpleNamespace(source=types.SimpleNamespace(class_names=names))
        return onnx_int8.Splits(loader, loader)

    with pytest.raises(UsageError, match=r"whose classes are not the outputs of these weights: set config\.data"):
        FORMATS["onnx_int8"].check(dataclasses.replace(model, splits=splits(NAMES[::-1])))
    FORMATS["onnx_int8"].check(dataclasses.replace(model, splits=splits(list(NAMES))))


class Numbers:
    """A loader whose image k has the value k; the last batch is padded."""

    def __init__(self, count):
        self.source, self.batch_size = range(count), 8

    def batch(self, step):
        rows = np.arange(8 * step, 8 * step + 8)
        return types.SimpleNamespace(batch=Batch(rows, rows, rows < len(self.source)))


@pytest.mark.parametrize("count", [1, 8, 9, 250, 5003])
def test_calibration_images_are_spread_over_the_data(count):
    images = np.concatenate(list(onnx_int8._calibration_images(Numbers(count))))
    assert len(images) == len(set(images)) and images.max() == count - 1 and images.min() == 0
    assert len(images) == count if count <= 256 else 248 < len(images) <= 256
    assert np.diff(images).max(initial=0) <= max(1, count // 30)


def test_an_unreadable_image_is_wrong_and_does_not_count_as_the_same_class(monkeypatch):
    class OneUnreadable(Numbers):
        def batch(self, step):
            batch = super().batch(step).batch
            return types.SimpleNamespace(
                batch=batch._replace(label=np.where(batch.label == 2, UNREADABLE, batch.label))
            )

    session = types.SimpleNamespace(run=lambda _, inputs: [np.where(inputs["images"] == 3, 0, inputs["images"])])
    monkeypatch.setattr(onnx_int8, "open_session", lambda _: session)
    loader = OneUnreadable(10)
    model = types.SimpleNamespace(
        splits=onnx_int8.Splits(loader, loader), variables={}, step=lambda _, images: {"classes": images}
    )
    measured = onnx_int8.measure_int8("model_int8.onnx", model)
    assert (measured["images"], measured["same_class"]) == (10, 8)
    assert (measured["this_program"]["right"], measured["int8"]["right"]) == (9, 8)


@pytest.mark.slow
def test_an_int8_export_is_measured(tmp_path):
    pytest.importorskip("onnxruntime")
    inference, selected = untrained({}, devices=jax.devices()[:1])
    splits = onnx_int8.make_splits(experiment.open_splits(tiny_config()), inference.make_loader)
    source = splits.evaluation.source
    names = tuple(source.class_names)
    assert export(inference, selected, names, tmp_path / "export", ("onnx", "onnx_int8"), splits=splits) == 0
    assert {path.name for path in (tmp_path / "export").iterdir()} == {"model.onnx", "model_int8.onnx", METADATA}
    measured = json.loads((tmp_path / "export" / METADATA).read_text())["formats"]["onnx_int8"]["measured"]
    batches = list(onnx_int8._all_batches(splits.evaluation))
    images, labels, mask = (np.concatenate([getattr(b, n) for b in batches]) for n in ("image", "label", "mask"))
    assert measured["images"] == mask.sum() == len(source)
    found = {"int8": "model_int8.onnx", "this_program": "model.onnx"}
    for name, file in found.items():
        (classes,) = open_session(tmp_path / "export" / file).run(["classes"], {"images": images})
        assert abs(measured[name]["right"] - int(((classes == labels) & mask).sum())) <= (name == "int8")
    assert measured["same_class"] > 0.5 * measured["images"]
    import onnx

    kinds = {
        t.data_type for t in onnx.load(tmp_path / "export" / "model_int8.onnx").graph.initializer if len(t.dims) == 4
    }
    assert onnx.TensorProto.INT8 in kinds
