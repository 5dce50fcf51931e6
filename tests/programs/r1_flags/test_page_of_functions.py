"""The page on migration names every function and hook of r1's files, and each name that it gives exists here."""

import re
import textwrap

import pytest

from resnet_jax.programs.r1_flags.translate import main
from tests import paths
from tests.programs.r1_flags.test_translate import table

# Functions, classes and hooks of r1's files at v2.1.0.
R1 = {
    "imagenet_main.py": "get_filenames _parse_example_proto parse_record input_fn get_synth_input_fn ImagenetModel "
    "_get_block_sizes imagenet_model_fn define_imagenet_flags run_imagenet main",
    "cifar10_main.py": "get_filenames parse_record preprocess_image input_fn get_synth_input_fn Cifar10Model "
    "cifar10_model_fn define_cifar_flags run_cifar main",
    "imagenet_preprocessing.py": "preprocess_image _decode_crop_and_flip _central_crop _mean_image_subtraction "
    "_smallest_size_at_least _aspect_preserving_resize _resize_image",
    "resnet_model.py": "batch_norm fixed_padding conv2d_fixed_padding _building_block_v1 _building_block_v2 "
    "_bottleneck_block_v1 _bottleneck_block_v2 block_layer Model",
    "resnet_run_loop.py": "process_record_dataset get_synth_input_fn image_bytes_serving_input_fn "
    "override_flags_and_set_envars_for_gpu_thread_pool learning_rate_with_decay resnet_model_fn resnet_main "
    "define_resnet_flags",
    "utils/flags/": "define_base define_performance define_image define_benchmark define_distribution define_device "
    "set_defaults parse_flags register_key_flags_in_core help_wrap to_choices_str get_nondefault_flags_as_str "
    "get_num_gpus get_tf_dtype get_loss_scale require_cloud_storage",
    "utils/logs/": "get_train_hooks get_logging_tensor_hook get_profiler_hook get_examples_per_second_hook "
    "ExamplesPerSecondHook get_logging_metric_hook LoggingMetricHook get_step_counter_hook get_benchmark_logger "
    "config_benchmark_logger BaseBenchmarkLogger BenchmarkFileLogger BenchmarkBigQueryLogger benchmark_context",
    "utils/export.py": "build_tensor_serving_input_receiver_fn apply_clean past_stop_threshold "
    "generate_synthetic_data get_distribution_strategy per_replica_batch_size configure_cluster",
}


def sections():
    """Returns file of r1 -> rows of its table: (names of r1, the cell that says where they are here)."""
    found, rows = {}, []
    for first, here in table("Functions"):
        if first.startswith("in `"):
            rows = found.setdefault(re.findall(r"`([^`]+)`", first)[0], [])
        else:
            rows.append((re.findall(r"`(\w+)`", first), here))
    return found


@pytest.mark.parametrize("file", R1)
def test_the_page_has_every_function(file):
    assert {name for names, _ in sections()[file] for name in names} == set(R1[file].split())


def test_what_the_page_names_exists():
    for rows in sections().values():
        for names, here in rows:
            (path, symbol), *_ = re.findall(r"`([\w/.]+)`(?:: `(\w+)`)?", here)
            text = (paths.ROOT / path).read_text()
            assert not symbol or re.search(rf"^\s*(def|class) {symbol}\b", text, re.MULTILINE), (names, here)
            for other in re.findall(r"`([\w/]+(?:\.py|/))`", here):
                assert (paths.ROOT / other).exists(), (names, other)


def test_the_page_names_only_files_of_r1_that_exist():
    files = "_base _performance _misc _benchmark _distribution _device core _conventions"
    page = (paths.ROOT / "docs" / "migrating_from_tf_r1.md").read_text()
    assert set(re.findall(r"`utils/flags/(\w+)\.py`", page)) == set(files.split())


def test_the_example_of_the_page_is_what_the_translator_prints(capsys):
    page = (paths.ROOT / "docs" / "migrating_from_tf_r1.md").read_text()
    words, printed = re.search(
        r"\$ python -m resnet_jax\.programs\.r1_flags (.*)\n((?:   .*\n)+?)   ```", page
    ).groups()
    main(words.split())
    assert capsys.readouterr().out == textwrap.dedent(printed)
