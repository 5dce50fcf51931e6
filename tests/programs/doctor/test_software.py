"""Checks of packages, driver and devices, with made-up versions and a made-up nvidia-smi."""

import pytest

from resnet_jax.programs.doctor import accelerators, software
from resnet_jax.programs.doctor.finding import ERROR, OK, WARNING
from resnet_jax.programs.doctor.software import installed

H100 = "NVIDIA H100 80GB HBM3, {driver}, 81559, {used}"


def with_versions(**versions):
    given = {name.replace("_", "-"): version for name, version in versions.items()}
    return lambda name: given.get(name, installed(name))


def test_the_packages_of_this_environment_fit():
    (found,) = software.packages()
    assert found.level == OK and f"jax {installed('jax')}" in found.text


def test_a_package_that_is_too_old_or_missing_is_an_error():
    (found,) = software.packages(version=with_versions(flax="0.10.0"))
    assert found.level == ERROR and "needs flax>=0.12.8, and 0.10.0 is installed: pip install 'flax" in found.text
    (found,) = software.packages(version=with_versions(grain=None))
    assert found.level == ERROR and "and none is installed" in found.text


def test_a_plugin_of_another_version_is_an_error(monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    own = installed("jaxlib")
    fits = with_versions(jax_cuda13_plugin=own, jax_cuda13_pjrt=own)
    assert [one.level for one in software.packages(version=fits)] == [OK]
    (found,) = software.packages(version=with_versions(jax_cuda13_plugin="0.5.0", jax_cuda13_pjrt=own))
    assert found.level == ERROR and found.text.endswith("pip install -e '.[cuda13]'")
    both = with_versions(jax_cuda13_plugin=own, jax_cuda13_pjrt=own, jax_cuda12_plugin=own, jax_cuda12_pjrt=own)
    assert [one.level for one in software.packages(version=both)] == [WARNING]
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/local/cuda/lib64")
    (found,) = software.packages(version=fits)
    assert found.level == WARNING and "unset LD_LIBRARY_PATH" in found.text


def test_libtpu_of_another_version_is_a_warning():
    (found,) = software.packages(version=with_versions(libtpu="0.0.1"))
    assert found.level == WARNING and "libtpu 0.0.1 is not the version of this JAX" in found.text


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Makes an nvidia-smi that prints some lines and ends with a status."""

    def make(*lines, status=0):
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path

    return make


def plugin(monkeypatch, *names):
    monkeypatch.setattr(accelerators, "_is_installed", lambda name: name in names)


def test_a_machine_without_gpus_has_no_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators.driver(devices=tmp_path) == []
    (tmp_path / "nvidia0").touch()
    (found,) = accelerators.driver(devices=tmp_path)
    assert found.level == ERROR and "nvidia-smi shows none: install NVIDIA's driver" in found.text


def test_the_driver_must_be_new_enough_for_the_plugin(smi, monkeypatch):
    directory = smi(H100.format(driver="550.54.15", used=4), H100.format(driver="550.54.15", used=4))
    plugin(monkeypatch)
    (found,) = accelerators.driver(devices=directory)
    assert found.level == ERROR and "2 x NVIDIA H100" in found.text and "pip install -e '.[cuda13]'" in found.text
    plugin(monkeypatch, "jax-cuda12-plugin")
    assert [one.level for one in accelerators.driver(devices=directory)] == [OK]
    plugin(monkeypatch, "jax-cuda13-plugin")
    (found,) = accelerators.driver(devices=directory)
    assert found.level == ERROR and "install driver 580 or newer, or pip install -e '.[cuda12]'" in found.text


def test_memory_that_others_use_is_a_warning(smi, monkeypatch):
    directory = smi(H100.format(driver="580.65.06", used=4), H100.format(driver="580.65.06", used=20000))
    plugin(monkeypatch, "jax-cuda13-plugin")
    (found,) = accelerators.driver(devices=directory)
    assert found.level == WARNING and "20,000 of 81,559 MB" in found.text


def test_a_driver_that_does_not_work_is_an_error(smi, monkeypatch):
    directory = smi("NVIDIA-SMI has failed because it could not communicate with the driver.", status=9)
    (found,) = accelerators.driver(devices=directory)
    assert found.level == ERROR and "nvidia-smi does not work (NVIDIA-SMI has failed because" in found.text


def test_jax_on_the_cpu_of_a_machine_with_a_gpu_is_an_error(monkeypatch):
    (found,) = accelerators.jax_devices()
    assert found.level == WARNING and found.text.startswith("8 x cpu, no accelerator")
    monkeypatch.setattr(accelerators, "has_accelerator", lambda: "GPU")
    (found,) = accelerators.jax_devices()
    assert found.level == ERROR and "and the machine has a GPU: unset JAX_PLATFORMS=cpu" in found.text


def test_kinds_of_accelerators_by_their_device_files(tmp_path):
    assert accelerators.has_accelerator(devices=tmp_path) == ""
    (tmp_path / "vfio").mkdir()
    (tmp_path / "vfio" / "vfio").touch()
    assert accelerators.has_accelerator(devices=tmp_path) == ""
    (tmp_path / "vfio" / "0").touch()
    assert accelerators.has_accelerator(devices=tmp_path) == "TPU"
    (tmp_path / "nvidia0").touch()
    assert accelerators.has_accelerator(devices=tmp_path) == "GPU"
