"""The notebook of docs/, executed cell by cell in a copy of the project, made small."""

import base64
import io
import re
import sys

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from PIL import Image

from snmn.common.vocabulary import ANSWERS
from tests.helpers.paths import ROOT
from tests.helpers.working_copy import working_copy

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
IMAGES, STEPS = 16, 5


class ThisPython(AsyncKernelManager):
    """Starts the kernel in the interpreter of the tests, whatever kernels are installed."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="tests", language="python")


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Code cells after their execution; an error in any of them raises CellExecutionError."""
    copy = working_copy(tmp_path_factory.mktemp("notebook") / "snmn")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNMN_IMAGES", str(IMAGES))
        patch.setenv("SNMN_STEPS", str(STEPS))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PIP_NO_INDEX", "1")  # All is installed: nothing must be fetched.
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_manager_class=ThisPython,
            resources={"metadata": {"path": str(copy / "docs")}},
        )
        client.execute()
    return copy, [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cells, part: str) -> str:
    """What the one cell with this part in its source printed."""
    (cell,) = [cell for cell in cells if part in cell.source]
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


def pictures(cells) -> list[Image.Image]:
    found = [out.data for cell in cells for out in cell.outputs if "data" in out]
    shown = [base64.b64decode(data["image/png"]) for data in found if "image/png" in data]
    return [Image.open(io.BytesIO(data)) for data in shown]


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(executed):
    copy, cells = executed
    assert "%pip" in cells[0].source and not cells[0].outputs
    made = copy / "data" / "notebook"
    assert len(list((made / "clevr" / "images" / "train").glob("*.png"))) == IMAGES
    sheet, mine, bundled, asked = pictures(cells)
    assert sheet.size == (480, 320)
    for figure in (sheet, mine, bundled, asked):
        assert len(figure.convert("RGB").getcolors(2**24)) > 1000  # something is drawn

    assert printed(cells, '["questions"][:5]').count("scene > ") >= 5
    steps = re.findall(r"loss of answers (\d+\.\d+)", printed(cells, "metrics.csv"))
    assert len(steps) == STEPS
    assert re.search(rf"^all +{10 * (IMAGES // 4)} ", printed(cells, '"test.py"'), re.MULTILINE)
    said = [
        re.search(r"says (\w+), the scene (\w+)\.", printed(cells, part)).groups()
        for part in ("snmn.Predictor(", "Predictor.bundled")
    ]
    assert all(answer in ANSWERS for pair in said for answer in pair)
    assert said[1][0] == said[1][1]  # The trained model knows.
    shares = re.findall(r"^(0\.\d+|1\.0+) (\w+)$", printed(cells, "How many cubes"), re.MULTILINE)
    assert len(shares) == 3 and all(answer in ANSWERS for _, answer in shares)
    assert "step 1: Find" in printed(cells, "How many cubes")


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
