"""Our networks and our training step against PyTorch's: the same weights, the same batches, float32."""

import copy
import functools
import re

import jax
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from resnet_jax.experiment.compile import initial_state
from resnet_jax.experiment.computation import make_model
from tests.tiny import tiny_config
from tests.training.test_steps import build

pytestmark = pytest.mark.slow

BATCH_SIZE, WARMUP_STEPS, TOTAL_STEPS, WEIGHT_DECAY, SMOOTHING = 8, 4, 12, 1e-4, 0.1
PEAK_LR = {18: 2e-3, 50: 5e-4}
IMAGE_SIZE = {18: 32, 50: 48}
SEED = {18: 0, 50: 31}  # seeds without close decisions, see `closest_decision`
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
TORCH_NAMES = {
    r"stage(\d)_block(\d+)": lambda match: f"layer{match[1]}.{int(match[2]) - 1}",
    "stem_conv": "conv1",
    "stem_bn": "bn1",
    "shortcut_conv": "downsample.0",
    "shortcut_bn": "downsample.1",
    "head": "fc",
    "kernel|scale": "weight",
    "mean|var": lambda match: f"running_{match[0]}",
    "/": ".",
}


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def changes(depth):
    """Returns the tiny config with a float32 network, and a schedule with warm-up and decay."""
    return {
        "seed": 3,
        "data.batch_size": BATCH_SIZE,
        "data.image_size": IMAGE_SIZE[depth],
        "data.synthetic.num_train": 2 * BATCH_SIZE,  # few images, so that the loss changes
        "data.train_crop.area": (1.0, 1.0),
        "data.train_crop.aspect": (1.0, 1.0),
        "input.flip": False,
        "model.name": "resnet",
        "model.depth": depth,
        "model.features": 64,
        "model.bn_group_size": None,
        "model.zero_init_last_bn": False,  # otherwise most gradients start at zero
        "loss.label_smoothing": SMOOTHING,
        "optimizer.weight_decay": WEIGHT_DECAY,
        "schedule.base_lr": PEAK_LR[depth],
        "schedule.base_batch_size": BATCH_SIZE,
        "schedule.warmup_epochs": WARMUP_STEPS / 2,
        "schedule.warmup_start": 0.2,
        "train.total_steps": TOTAL_STEPS,
    }


def random_state(built, depth):
    """Returns a state with random kernels, and random scales, biases and statistics in every norm.

    Branches end with small scales: gradients explode in a long chain of random branches. Biases keep the inputs of
    ReLUs away from 0, where the last bit decides whether a gradient passes, which is a thousandth of it in a small
    layer: even channels pass nearly everywhere, odd ones here and there.
    """
    random = np.random.default_rng(SEED[depth])
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(built.computation.init))
    flat = flatten_dict(state.variables, sep="/")
    for name in [name for name in flat if name.endswith("/kernel")]:
        shape = flat[name].shape
        flat[name] = np.float32(random.normal(0.0, (2 / np.prod(shape[:-1])) ** 0.5, shape))
    for name in [name for name in flat if name.endswith("/scale")]:
        norm, channels = name.removesuffix("/scale").removeprefix("params/"), len(flat[name])
        ends_branch = norm.endswith("/bn2" if depth == 18 else "/bn3")
        scale = random.uniform(0.5, 1.5, channels) * (0.3 if ends_branch else 1.0)
        flat[name] = np.float32(scale)
        flat[f"params/{norm}/bias"] = np.float32(2.5 * scale * np.resize([1, -1], channels))
        flat[f"batch_stats/{norm}/mean"] = np.float32(random.normal(0.0, 0.1, channels))
        flat[f"batch_stats/{norm}/var"] = np.float32(random.uniform(0.5, 1.5, channels))
    return state.replace(**unflatten_dict(flat, sep="/"))


def to_torch(torch, tree):
    """Translates a tree of parameters, or of the same structure, to the names and layouts of PyTorch."""
    arrays = {}
    for path, array in flatten_dict(jax.device_get(tree), sep="/").items():
        name = functools.reduce(lambda renamed, rule: re.sub(*rule, renamed), TORCH_NAMES.items(), path)
        axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
        arrays[name] = torch.tensor(array.transpose(axes).copy())
    return arrays


def torch_network(torch, depth, state):
    """Returns the network of `torch_resnet.py` with our variables."""
    from benchmarks.torch_resnet import ResNet

    network = ResNet(depth, classes=10)
    network.load_state_dict(to_torch(torch, state.params) | to_torch(torch, state.batch_stats))
    return network


def torch_batch(torch, batch):
    images = (batch.image.astype(np.float32) - MEAN) / STD
    return torch.tensor(images.transpose(0, 3, 1, 2).copy()), torch.tensor(batch.label, dtype=torch.int64)


def torch_optimizer(torch, network, peak_lr):
    """Returns SGD and its schedule: linear warm-up from a fifth of the peak, then a cosine."""
    kernels, others = ([p for p in network.parameters() if (p.ndim > 1) == is_kernel] for is_kernel in (True, False))
    groups = [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=peak_lr, momentum=0.9, nesterov=True)
    rates = torch.optim.lr_scheduler
    warmup = rates.LinearLR(optimizer, start_factor=0.2, total_iters=WARMUP_STEPS)
    cosine = rates.CosineAnnealingLR(optimizer, T_max=TOTAL_STEPS - WARMUP_STEPS)
    return optimizer, rates.SequentialLR(optimizer, [warmup, cosine], milestones=[WARMUP_STEPS])


def closest_decision(torch, network, images):
    """Returns the smallest distance of a ReLU input from 0, or of the maximum in a max-pool window from the next value.

    Where it is no more than rounding, gradients go different ways in two correct programs.
    """
    network, margins = copy.deepcopy(network), []

    def relu(module, inputs):
        margins.append(inputs[0].abs().min())

    def max_pool(module, inputs):
        flat = inputs[0].flatten(0, 1)[:, None]  # channels as images
        padded = torch.nn.functional.pad(flat, (1, 1, 1, 1))  # inputs are positive
        two = torch.nn.functional.unfold(padded, 3, stride=2).topk(2, dim=1).values
        margins.append((two[:, 0] - two[:, 1])[two[:, 0] > 0].min())

    hooks = {torch.nn.ReLU: relu, torch.nn.MaxPool2d: max_pool}
    for module in network.modules():
        if type(module) in hooks:
            module.register_forward_pre_hook(hooks[type(module)])
    with torch.no_grad():
        network(images)
    return float(min(margins))


def distances(ours, theirs):
    """Returns |ours - theirs| / |theirs| of every tensor."""
    assert ours.keys() == theirs.keys()
    return {name: float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in theirs}


def torch_losses(torch, network, batches, peak_lr, *, num_microbatches=1):
    """Trains, each gradient accumulated over micro-batches; yields the loss of every batch after its update."""
    optimizer, schedule = torch_optimizer(torch, network, peak_lr)
    for batch in batches:
        optimizer.zero_grad()
        loss = 0.0
        for images, labels in zip(
            *(tensor.chunk(num_microbatches) for tensor in torch_batch(torch, batch)), strict=True
        ):
            part_loss = (
                torch.nn.functional.cross_entropy(network(images), labels, label_smoothing=SMOOTHING) / num_microbatches
            )
            part_loss.backward()
            loss += part_loss.item()
        optimizer.step()
        schedule.step()
        yield loss


def batches_of(built, steps):
    return [built.data.train_loader.batch(step).batch for step in range(steps)]


def test_logits(torch):  # tests/weights/test_against_torch.py compares the evaluation of more networks
    depth = 18
    built = build(1, changes(depth))
    state = random_state(built, depth)
    model, network = make_model(tiny_config(changes(depth)), 10), torch_network(torch, depth, state)
    images, _ = torch_batch(torch, built.data.train_loader.batch(0).batch)
    for train in (False, True):
        apply = jax.jit(functools.partial(model.apply, train=train, mutable=["batch_stats"]))
        ours, _ = apply(state.variables, images.permute(0, 2, 3, 1).numpy())
        with torch.no_grad():
            theirs = network.train(train)(images).numpy()
        assert np.std(theirs) > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("depth", "steps"), [(18, TOTAL_STEPS), (50, 3)])
def test_gradients_statistics_and_losses(torch, depth, steps):
    built = build(1, changes(depth))
    state, batches = random_state(built, depth), batches_of(built, steps)
    network, train_step = torch_network(torch, depth, state).train(), jax.jit(built.computation.train_step)
    assert closest_decision(torch, network, torch_batch(torch, batches[0])[0]) > 2e-5
    theirs = torch_losses(torch, network, batches, PEAK_LR[depth])

    after, totals = train_step(state, batches[0])
    losses, expected = [float(totals.examples.loss) / BATCH_SIZE], [next(theirs)]
    assert losses == pytest.approx(expected, rel=1e-5)
    # The first velocity is the gradient plus the decay.
    decay = jax.tree.map(lambda leaf: WEIGHT_DECAY * leaf * (leaf.ndim > 1), state.params)
    velocity = optax.tree.get(after.opt_state, "trace")
    ours = to_torch(torch, jax.tree.map(np.subtract, velocity, decay))
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert max(distances(ours, gradients).values()) < 1e-3
    buffers = {name: buffer for name, buffer in network.named_buffers() if "running" in name}
    assert max(distances(to_torch(torch, after.batch_stats), buffers).values()) < 1e-5

    for batch in batches[1:]:
        after, totals = train_step(after, batch)
        losses.append(float(totals.examples.loss) / BATCH_SIZE)
    expected += theirs
    assert max(expected) > 1.2 * min(expected)
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_five_losses_with_two_microbatches(torch):
    depth, steps = 18, 5
    built = build(1, changes(depth) | {"train.accumulate": 2, "model.bn_group_size": BATCH_SIZE // 2})
    state, batches = random_state(built, depth), batches_of(built, steps)
    network, train_step = torch_network(torch, depth, state).train(), jax.jit(built.computation.train_step)
    losses = []
    for batch in batches:
        state, totals = train_step(state, batch)
        losses.append(float(totals.examples.loss) / BATCH_SIZE)
    expected = list(torch_losses(torch, network, batches, PEAK_LR[depth], num_microbatches=2))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_initial_weights_have_the_same_scale(torch):
    from benchmarks.torch_resnet import ResNet

    ours = to_torch(torch, initial_state(build(1, changes(18) | {"model.head_init": "torch"})).params)
    for name, parameter in ResNet(18, classes=10).named_parameters():
        assert ours[name].shape == parameter.shape
        if name != "fc.bias":  # too few numbers to compare their deviation
            assert ours[name].std() == pytest.approx(float(parameter.detach().std()), rel=0.05), name
