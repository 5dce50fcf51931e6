import pytest

from resnet_jax.data.crop_stages import CropStages
from resnet_jax.data.crops import Central
from resnet_jax.errors import UsageError

SMALL, MIDDLE, LARGE = (Central(size, 1.0) for size in (128, 160, 224))


def test_a_single_crop_has_no_end():
    stages = CropStages((LARGE,))
    assert stages.at(0) is stages.at(10**9) is LARGE
    assert stages.sizes == (224,)


def test_a_stage_ends_before_its_step():
    stages = CropStages((SMALL, MIDDLE, LARGE), end_steps=(10, 11))
    assert [stages.at(step) for step in (0, 9, 10, 11, 12)] == [SMALL, SMALL, MIDDLE, LARGE, LARGE]
    assert stages.sizes == (128, 160, 224)


def test_a_size_may_come_again():
    assert CropStages((SMALL, SMALL, LARGE, SMALL), end_steps=(1, 2, 3)).sizes == (128, 224)


@pytest.mark.parametrize("end_steps", [(10, 10), (10, 9), (0, 10), (-1, 5)])
def test_each_stage_has_a_step(end_steps):
    with pytest.raises(UsageError, match="config.data.progressive.until_epochs ends the sizes at steps .*, .*: each"):
        CropStages((SMALL, MIDDLE, LARGE), end_steps)


@pytest.mark.parametrize("end_steps", [(), (10,), (10, 20, 30)])
def test_each_stage_but_the_last_has_an_end(end_steps):
    with pytest.raises(
        UsageError, match=f"until_epochs has {len(end_steps)} entries, but config.data.progressive.sizes has 2"
    ):
        CropStages((SMALL, MIDDLE, LARGE), end_steps)
