"""virtassay: train, sample and judge virtual assays, generative models of microscopy images under perturbation."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("virtassay")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
