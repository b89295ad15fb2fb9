"""Where the project lies, and data that some tests use where they are present."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SNMN_SHARED_DIR", ROOT.parent / "shared"))
