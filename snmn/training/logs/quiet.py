"""Keeps out of the terminal what is of no use to whoever trains."""

import logging
import warnings


def quiet_lightning() -> None:
    """Keep Lightning's advertisements and advice on defaults out of the terminal."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for module in ("pytorch_lightning", "lightning_fabric"):
        warnings.filterwarnings("ignore", module=module)
    # Of splits without answers: processes must all ask their metrics, whatever they have counted.
    warnings.filterwarnings(
        "ignore", message="The ``compute`` method of metric .* was called before"
    )
