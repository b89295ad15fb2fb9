"""SNMN: the Stack Neural Module Network (Hu et al., ECCV 2018) in PyTorch."""

from snmn.checkpoint import load_model
from snmn.model import SNMN, SNMNOutput, build_model

__all__ = ["SNMN", "SNMNOutput", "build_model", "load_model"]
