import unicodedata

import numpy as np
import pytest

from resnet_jax.data.sources.hash_split import fingerprint, held_out, name_hash, name_hashes, stratified_order

SIZES = (1, 2, 3, 7, 40, 101)


def classes(sizes=SIZES):
    """Returns the labels and the hashes of classes of given sizes."""
    names = [f"class{label}/{number}.jpg" for label, size in enumerate(sizes) for number in range(size)]
    return np.repeat(np.arange(len(sizes)), sizes), name_hashes(names)


def test_a_hash_of_a_name_is_that_of_sha_256_on_every_machine():
    assert name_hash("a/1.jpg") == int("35f4aeeb54d23214", 16)  # echo -n a/1.jpg | sha256sum | head -c 16
    composed = "caf\u00e9/1.jpg"
    assert name_hash(composed) == name_hash(unicodedata.normalize("NFD", composed))
    assert name_hash("\udcff.jpg") != name_hash("\udcfe.jpg")  # bytes that are no UTF-8


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.25, 0.5, 0.99])
def test_each_class_gives_its_share_and_keeps_at_least_one_image_on_either_side(fraction):
    labels, hashes = classes()
    mask = held_out(labels, hashes, fraction)
    for label, size in enumerate(SIZES):
        count = mask[labels == label].sum()
        assert count == (0 if size == 1 else min(max(int(fraction * size + 0.5), 1), size - 1))
        inside, outside = hashes[mask & (labels == label)], hashes[~mask & (labels == label)]
        assert not len(inside) or inside.max() < outside.min()


def test_an_added_image_moves_at_most_one_other_of_its_class():
    labels, hashes = classes()
    before = held_out(labels, hashes, 0.1)
    moved = []
    for added in range(200):
        label = added % len(SIZES)
        more = np.append(hashes, np.uint64(name_hash(f"class{label}/added{added}.jpg")))
        after = held_out(np.append(labels, label), more, 0.1)[:-1]
        changed = np.flatnonzero(before != after)
        assert len(changed) <= 1 and all(labels[changed] == label)
        moved.append(len(changed))
    assert 0 < sum(moved) < 100


def test_the_division_does_not_depend_on_the_order_of_the_files():
    labels, hashes = classes()
    order = np.random.default_rng(0).permutation(len(labels))
    np.testing.assert_array_equal(held_out(labels, hashes, 0.2)[order], held_out(labels[order], hashes[order], 0.2))
    sliced = set(hashes[stratified_order(labels, hashes)[:30]].tolist())
    assert sliced == set(hashes[order][stratified_order(labels[order], hashes[order])[:30]].tolist())
    assert fingerprint(hashes) == fingerprint(hashes[order]) != fingerprint(hashes[1:])


def test_every_slice_of_the_stratified_order_has_the_proportions_of_the_classes():
    labels, hashes = classes((20, 40, 200))
    order = stratified_order(labels, hashes)
    assert sorted(order.tolist()) == list(range(260))
    for start in range(0, 260, 26):
        counts = np.bincount(labels[order[start : start + 26]], minlength=3)
        np.testing.assert_allclose(counts, (2, 4, 20), atol=1)
