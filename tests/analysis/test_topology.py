import importlib.metadata
import importlib.util
import json
import re
import tomllib

import jaxlib
import pytest

from resnet_jax.analysis import gpu_topology
from resnet_jax.analysis.gpu_topology import GPUS, gpu_devices, gpu_of_kind
from resnet_jax.analysis.roofline import PEAKS
from resnet_jax.analysis.topology import topology_devices
from resnet_jax.errors import UsageError
from tests.analysis.cuda_plugin import needs_cuda_plugin, run_with_plugin
from tests.paths import ROOT

TARGETS = ROOT / "resnet_jax" / "analysis" / "gpu_targets"


def with_plugin(monkeypatch, **versions):
    """Makes `importlib.metadata` list only these packages, with '-' instead of '_' in their names."""

    def version(package):
        try:
            return versions[package.replace("-", "_")]
        except KeyError:
            raise importlib.metadata.PackageNotFoundError(package) from None

    monkeypatch.setattr(gpu_topology.importlib.metadata, "version", version)


@pytest.mark.parametrize("gpu", ["a100", "h100", "h200"])
def test_each_gpu_has_a_description_with_the_figures_of_the_roofline(gpu):
    text = (TARGETS / f"{gpu}.txtpb").read_text()
    figures = dict(re.findall(r"^  ?(\w+): (.*)$", text, re.MULTILINE))
    peaks = PEAKS[figures["name"].strip('"')]
    assert int(figures["memory_bandwidth"]) == pytest.approx(peaks.hbm_bytes_per_second, rel=0.001)
    assert int(figures["device_memory_size"]) == pytest.approx(peaks.memory, rel=0.08)
    assert f"device_description_str: {figures['name']}" in text
    assert "openxla/xla" in text.split("gpu_device_info")[0]  # names its source


def test_all_descriptions_are_offered_and_part_of_the_package():
    assert GPUS == ("a100", "h100", "h200")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["resnet_jax.analysis"] == ["gpu_targets/*.txtpb"]


def test_a_gpu_is_found_by_the_name_that_its_driver_gives_it():
    assert [gpu_of_kind(kind) for kind in ("NVIDIA H200", "NVIDIA A100-SXM4-80GB", "cpu")] == ["h200", "a100", None]


def test_the_extra_installs_the_plugin_without_nvidia_packages():
    (extra,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gpu-plan"]
    assert extra.startswith("jax[cuda13-local]")
    wanted = [line for line in importlib.metadata.requires("jax") if 'extra == "cuda13-local"' in line]
    assert sorted(re.match(r"[\w-]+", line)[0] for line in wanted) == ["jax-cuda13-plugin", "jaxlib"]
    assert not any("with-cuda" in line for line in wanted)


@pytest.mark.parametrize("name", ["h100:0", "h100:12", "a100:x", "h200:2x2", "h100:"])
def test_the_number_of_gpus_is_checked_before_anything_else(name):
    with pytest.raises(UsageError, match="is not a topology: give one of a100, h100, h200 and the number of devices"):
        gpu_devices(name)


@pytest.mark.parametrize("name", ["b200:8", "gpu", "4x4"])
def test_an_unknown_device_lists_what_there_is(name):
    with pytest.raises(UsageError, match=r"for example v5e:4x4, or .* h100:8; GPUs: a100, h100, h200"):
        topology_devices(name)


def test_a_gpu_needs_the_plugin(monkeypatch):
    with_plugin(monkeypatch)
    with pytest.raises(UsageError, match=r"'h100:8' needs JAX's CUDA plugin.*: pip install -e '\.\[gpu-plan\]'"):
        topology_devices("h100:8")
    with_plugin(monkeypatch, jax_cuda13_plugin=jaxlib.__version__)  # without its compiler
    with pytest.raises(UsageError, match="needs JAX's CUDA plugin"):
        topology_devices("h100:8")


def test_the_plugin_has_the_version_of_jaxlib(monkeypatch):
    with_plugin(monkeypatch, jax_cuda12_plugin="0.4.1", jax_cuda12_pjrt="0.4.1")
    with pytest.raises(UsageError, match=rf"plugin has version 0.4.1 and jaxlib {jaxlib.__version__}; they must be"):
        topology_devices("h100:8")


def test_a_plugin_that_cannot_compile_without_a_gpu_is_one_line(monkeypatch):
    def get_topology_desc(*_, **__):
        raise RuntimeError("FAILED_PRECONDITION: no such field\nand more")

    with_plugin(monkeypatch, jax_cuda13_plugin=jaxlib.__version__, jax_cuda13_pjrt=jaxlib.__version__)
    monkeypatch.setattr(gpu_topology.topologies, "get_topology_desc", get_topology_desc)
    with pytest.raises(UsageError, match=r"cannot compile for a GPU that is not attached \(FAILED.*field\): ") as error:
        gpu_devices("h100")
    assert "\n" not in str(error.value)


@needs_cuda_plugin
@pytest.mark.slow
def test_the_step_of_the_main_recipe_on_eight_h100(tmp_path):
    path = tmp_path / "plan.json"
    keys = {"data.source": "synthetic", "data.batch_size": 1024, "plan.topology": "h100:8", "plan.json": path}
    printed = run_with_plugin(
        *("main.py", "--mode=plan", "--config=configs/resnet50.py"),
        *(f"--config.{name}={value}" for name, value in keys.items()),
    )
    found = json.loads(path.read_text())
    assert (found["devices"], found["device_kind"]) == (8, "NVIDIA H100 80GB HBM3")
    # 24.5 GFLOP of the model, without products with padding, and with the covariances of the fused norms.
    assert found["per_device"]["flops"] / 128 == pytest.approx(24.5e9, rel=0.05)
    assert 200e6 < found["hbm_bytes_per_image"] < 410e6
    # Some 1,300 kernels on one device, and 360 small ones that unpack what several devices have summed.
    assert found["small_kernels"] < found["kernels"] < 1700
    assert found["per_device"]["fits"] and found["per_device"]["peak_memory_bytes"] > 1e9
    assert found["collectives"]["all-reduce"]["bytes"] > 25.5e6 * 4  # the gradients in float32
    assert found["images_per_second_cautious"] < found["images_per_second_ideal"] < found["images_per_second_bound"]
    assert found["estimated_cycles"] is None
    assert "kernels" in printed and "it was not measured" in printed
