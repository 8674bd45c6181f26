"""Named data sets and known folders, as files that the public import reads."""

from lifeloop.events.datasets.dataset import Dataset, Part
from lifeloop.events.datasets.loading import dataset_names, load

__all__ = ["Dataset", "Part", "dataset_names", "load"]
