"""Finds the splits of a folder of images: DIR/<split>/<class>/<image>, or DIR/<class>/<image> without splits.

The images of a split may also lie in DIR/<split> without class folders, beside a file of labels (`flat_folder.py`), and
the splits may be in ILSVRC/Data/CLS-LOC of Kaggle's copy of ImageNet (`kaggle.py`).
"""

import os
from pathlib import Path
from typing import NamedTuple

from resnet_jax.data.sources.image_folders import data_folder, holds_only_folders, list_folders, other_source_instead
from resnet_jax.data.sources.kaggle import image_root, label_folders
from resnet_jax.data.sources.splits import Split, parse_split
from resnet_jax.errors import UsageError
from resnet_jax.text import printable

EVAL_NAMES = ("val", "validation", "test", "valid")  # if eval_split is None, the first that exists is used
_TRAIN_NAME = "train"  # name of the only split of DIR/<class>/<image>
# Folders with these names are splits, not classes, if they hold folders. A class may be called 'train', too.
_SPLIT_NAMES = {_TRAIN_NAME, *EVAL_NAMES, "training", "testing", "eval", "evaluation"}


class Layout(NamedTuple):
    """The folders of the training and the evaluation split."""

    root: Path
    folders: list[str]  # names of the folders in `root`
    has_splits: bool  # False: the folders in `root` are classes, and `root` is the split 'train'
    train: Split
    evaluation: Split | None  # None: no evaluation folder was named or found
    label_folders: tuple[Path, ...]  # folders in which files of labels may be
    holds_out: bool  # whether part of the images of `train` is held out for evaluation

    def folder(self, name: str) -> Path:
        """Returns the folder of a split, given by name."""
        return self.root / name if self.has_splits else self.root

    def check(self, split: Split) -> None:
        """Raises UsageError if a part of a split has no folder; the error names the config key and the folders."""
        for part in split.parts:
            if self.has_splits and not os.path.isdir(self.root / part.name):  # noqa: PTH112  never raises
                raise UsageError(
                    f"{split}: {self.root} has no folder {part.name!r}, its folders are {_some(self.folders)}: name "
                    f"one with --config.data.{split.key}=NAME"
                )
            if not self.has_splits and part.name != _TRAIN_NAME:
                raise UsageError(
                    f"{split}: {self.root} has no folder {part.name!r}, its folders are classes "
                    f"({_some(self.folders)}): leave config.data.{split.key} unset, or name a slice of all images, "
                    f"such as {'train[:90%]' if split.key == 'train_split' else 'train[90%:]'}"
                )

    def no_evaluation(self) -> UsageError:
        """Returns the error for a missing evaluation split: `eval_split` is unset, and no folder has a usual name."""
        return UsageError(
            f"config.data.eval_split is unset, and {self.root} has no folder {', '.join(EVAL_NAMES)}, its folders are "
            f"{_some(self.folders)}: name one with --config.data.eval_split=NAME, or name slices, such as "
            "--config.data.train_split='train[:90%]' --config.data.eval_split='train[90%:]'"
        )


def find_layout(data_dir: str, train_split: str, eval_split: str | None) -> Layout:
    """Finds the folders of the splits.

    Args:
      data_dir: the folder that holds the splits, or the classes.
      train_split: names the training folder, see `parse_split`.
      eval_split: names the evaluation folder; None: the first that exists of `EVAL_NAMES`. If there is no folder other
        than the training folder, some of its images are held out.

    Raises:
      UsageError: `data_dir` or the training folder is missing, or a split is not in the syntax of `parse_split`.
    """
    root = image_root(data_folder(data_dir))
    train = parse_split("train_split", train_split)
    folders = list_folders(root)
    if not folders:
        raise UsageError(
            f"config.data.data_dir={root} has no folders: put the images of each class into a folder "
            f"{root}/<class>/{other_source_instead(root)}"
        )
    has_splits = not _are_classes(root, folders)
    names = {part.name for part in train.parts}
    others = [name for name in folders if name not in names] if has_splits else []
    if eval_split is None:
        eval_split = next((name for name in EVAL_NAMES if name in others), None)
    evaluation = None if eval_split is None else parse_split("eval_split", eval_split)
    holds_out = evaluation is None and not others
    layout = Layout(root, folders, has_splits, train, evaluation, label_folders(root), holds_out)
    layout.check(train)
    return layout


def _are_classes(root: Path, folders: list[str]) -> bool:
    """Whether the folders in `root` are classes, not splits.

    Raises:
      UsageError: `root` holds a single folder, in which the splits or classes are.
    """
    named_like_splits = [name for name in folders if name.lower() in _SPLIT_NAMES]
    if len(named_like_splits) == len(folders) or any(list_folders(root / name) for name in named_like_splits):
        return False
    if len(folders) == 1 and holds_only_folders(root / folders[0]):
        raise UsageError(
            f"config.data.data_dir={root} holds a single folder, {folders[0]}, with folders but no images in it: set "
            f"--config.data.data_dir={root / folders[0]}{other_source_instead(root)}"
        )
    return True


def _some(names: list[str]) -> str:
    """Joins the first five names, and says how many more there are."""
    return ", ".join(map(printable, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
