"""The base of the TFDS builders: one record an image, in the order of the official files."""
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from oscar.datasets import features

_KEYS = 2**128  # TFDS's shuffle keys are below this.


@dataclasses.dataclass
class RegionConfig(tfds.core.BuilderConfig):
  """A TFDS configuration with the width of the regions.

  Attributes:
    region_dim: numbers per region.
    part: 'documents' for that part of the pre-training corpus, else ''.
  """

  region_dim: int = features.REGION_DIM
  part: str = ''


def region_config(region_dim: int = features.REGION_DIM) -> RegionConfig:
  """Returns the configuration of images with regions of a width."""
  return RegionConfig(name=f'regions_{region_dim}', region_dim=region_dim)


@dataclasses.dataclass(frozen=True)
class RecordPlan:
  """A record before its regions are read.

  Attributes:
    texts: {field: value} of all fields but the regions.
    images: {field of regions: key of the image}.
  """

  texts: dict
  images: dict


# mypy does not see TFDS's __init_subclass__, which takes skip_registration.
class OfficialLayout(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Base class of the builders; subclasses define the splits and the fields of a record."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First.'}
  BUILDER_CONFIGS = [region_config()]
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'manual_dir is the folder in the official layout of microsoft/Oscar.'
  )

  def __init__(self, *, use_beam: bool = False, **kwargs: Any) -> None:
    self._use_beam = use_beam
    super().__init__(**kwargs)

  def _log_download_bytes(self) -> None:
    """Prints what happens, in place of TFDS' remark on a download, which there is none of."""
    print(f'Preparing {self.info.full_name} in {self.data_dir}', flush=True)

  def _log_download_done(self) -> None:
    """Prints nothing more."""

  def _info(self):
    regions = tfds.features.Tensor(
      shape=(None, self.builder_config.region_dim), dtype=np.float32, encoding='bytes'
    )
    return tfds.core.DatasetInfo(
      builder=self,
      description=type(self).__doc__,
      homepage='https://github.com/microsoft/Oscar',
      features=tfds.features.FeaturesDict(self._record(regions)),
      metadata=tfds.core.MetadataDict(),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager):
    folder = os.fspath(dl_manager.manual_dir)
    splits = list(self._splits(folder))
    if not splits:
      raise FileNotFoundError(
        f'{folder} has none of the files of {self.name}; is it the right folder?'
      )
    return {
      split.replace('+', '_').replace('-', '_'): self._generate_examples(folder, split)
      for split in splits
    }

  def _generate_examples(self, folder, split):
    regions, count, plans = self._read(folder, split, self.builder_config.region_dim)
    if not count:
      raise ValueError(
        f'{folder}: the split {split!r} of {self.name} is empty; nothing to prepare.'
      )
    # Without Beam, TFDS sorts in 1,000 buckets, equal ranges of all possible keys, each in memory:
    # spread the keys evenly. Beam's integers end at 2^63, and its buckets adapt to the keys.
    step = 1 if self._use_beam else _KEYS // count
    keyed = ((number * step, plan) for number, plan in enumerate(plans))
    make = functools.partial(record_of, regions)
    if not self._use_beam:
      return map(make, keyed)
    beam = tfds.core.lazy_imports.apache_beam
    return beam.Create(list(keyed)) | beam.Reshuffle() | beam.Map(make)

  def _splits(self, folder):
    """Returns the names of the splits that have their files in the folder, an iterable."""
    raise NotImplementedError

  def _record(self, regions):
    """Returns {field: TFDS feature} of a record; `regions` is the feature of an image's regions."""
    raise NotImplementedError

  def _read(self, folder, split, dim):
    """Returns ({image key: regions}, number of plans, iterable of plans in record order)."""
    raise NotImplementedError


def record_of(
  regions: Mapping[str, Any], keyed_plan: tuple[int, RecordPlan]
) -> tuple[int, dict[str, Any]]:
  """Returns (key, record) for a (key, plan): reads the regions."""
  key, plan = keyed_plan
  return key, plan.texts | {name: regions[image] for name, image in plan.images.items()}


def in_file_order(regions: Any, plans: Iterable[RecordPlan]) -> tuple[Any, int, list[RecordPlan]]:
  """Returns the value of `_read`, plans sorted so that (first) images are read front to back.

  Args:
    regions: `region_files.RegionFile`.
    plans: the plans of a split.
  """
  plans = sorted(plans, key=lambda plan: regions.position(next(iter(plan.images.values()))))
  return regions, len(plans), plans


def group(items: Iterable[Any], key_of: Callable[[Any], Any]) -> dict[Any, list]:
  """Groups items by key: {key: [item]} in order of first appearance."""
  groups: dict[Any, list] = {}
  for item in items:
    groups.setdefault(key_of(item), []).append(item)
  return groups


def yaml_splits(folder: str) -> list[str]:
  """Returns NAME for each NAME.yaml in the folder, sorted."""
  return [name[:-5] for name in sorted(os.listdir(folder)) if name.endswith('.yaml')]
