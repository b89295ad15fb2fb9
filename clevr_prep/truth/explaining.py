"""What compares a model's steps with scenes and programs while it is tested."""

from collections.abc import Mapping

from clevr_prep.synthetic.language.grammar import read
from clevr_prep.truth.annotations import Annotations
from snmn.data.data_module import CLEVRDataModule
from snmn.evaluation.explanation_callback import Explainer
from snmn.evaluation.marks import Marker
from snmn.network.model import SNMN


def build_explainer(
    datasets: Mapping[str, str],
    splits: Mapping[str, str],
    data: CLEVRDataModule,
    model: SNMN,
    *,
    deleting: bool,
) -> Explainer:
    """For the questions that ``data`` tests a model on.

    Args:
        datasets: of each task the folder with scenes and programs.
        splits: of each task the split that is tested.
        data: whose test questions and features they are.
        model: what is tested.
        deleting: whether features are deleted, see `Explainer`.

    Raises DatasetError.
    """
    imdbs = data.questions("test")
    annotations = {
        task: Annotations(datasets[task], split, by_place=imdbs[task].numbered_by_place)
        for task, split in splits.items()
    }
    marker = Marker(model, data.feature_identity(), reads=lambda text: bool(read(text)))
    truths = {task: found.truth for task, found in annotations.items()}
    return Explainer(truths, marker=marker, deleting=deleting)
