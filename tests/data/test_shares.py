"""Training on a share of layouts and of images: snmn/data/shares.py, TRAIN.LAYOUT_SHARE."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import train
from snmn.common.reading_order import NOBODY
from snmn.data.batch import Batch
from snmn.data.data_module import CLEVRDataModule
from snmn.data.imdb import Imdb
from snmn.data.question_sources import NO_LAYOUT, EncodedQuestions, StoredQuestions
from snmn.data.shares import LayoutShare, chosen_images, chosen_rows
from snmn.training.losses import SNMNLoss
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import DIM, GRID, write_experiment

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    root = tmp_path_factory.mktemp("shares")
    return root, write_experiment(root)


def test_a_smaller_share_is_part_of_a_larger_one():
    rows = {share: set(chosen_rows(1000, share, 5).tolist()) for share in (0.001, 0.01, 0.1, 1)}
    assert [len(found) for found in rows.values()] == [1, 10, 100, 1000]
    assert rows[0.001] < rows[0.01] < rows[0.1] < rows[1] == set(range(1000))
    assert set(chosen_rows(1000, 0.1, 6).tolist()) != rows[0.1]
    assert np.array_equal(chosen_rows(1000, 0.1, 5), sorted(rows[0.1]))
    images = np.arange(40) * 3
    assert set(chosen_images(images, 0.1, 5)) < set(chosen_images(images, 0.5, 5)) < set(images)


def fresh(words: np.ndarray) -> EncodedQuestions:
    n = len(words)
    return EncodedQuestions(
        question=words,
        length=np.full(n, words.shape[1]),
        answer=np.zeros(n, dtype=int),
        layout=np.ones((n, 3), dtype=int),
        question_index=np.full(n, -1),
        question_type=np.zeros(n, dtype=int),
        hops=np.zeros(n, dtype=int),
    )


def test_whether_a_new_question_has_a_layout_follows_from_its_words():
    questions = fresh(np.random.default_rng(0).integers(0, 82, (4000, 8)))
    known = {share: LayoutShare(share, 0).known(questions) for share in (0.01, 0.1, 0.5)}
    for share, found in known.items():
        assert abs(found.mean() - share) < 3.5 * (share * (1 - share) / 4000) ** 0.5
    assert not (known[0.01] & ~known[0.1]).any() and not (known[0.1] & ~known[0.5]).any()
    assert not np.array_equal(known[0.5], LayoutShare(0.5, 1).known(questions))
    # Padding says nothing.
    padded = fresh(np.pad(questions.question, ((0, 0), (0, 3))))
    padded.length[:] = 8
    assert np.array_equal(known[0.5], LayoutShare(0.5, 0).known(padded))


def data_module(root, **how) -> CLEVRDataModule:
    stored = {"vqa": (root / "features" / "train", root / "imdb" / "imdb_train.h5")}
    data = CLEVRDataModule(
        train=stored, batch_size=8, num_workers=0, grid=GRID, feature_dim=DIM, epoch_steps=9, **how
    )
    data.setup()
    return data


@pytest.mark.parametrize("per_image", [1, 4])
def test_batches_have_the_layouts_of_the_chosen_questions(tiny, per_image):
    imdb = Imdb(tiny[0] / "imdb" / "imdb_train.h5")
    chosen = set(chosen_rows(len(imdb), 0.25, 2).tolist())
    how = {"layout_share": 0.25, "share_seed": 2, "questions_per_image": per_image}
    seen = set()
    for batch in data_module(tiny[0], **how).train_dataloader():
        for row, layout, following in zip(
            batch.question_index.tolist(), batch.layout, batch.next_read, strict=True
        ):
            seen.add(row)
            if row in chosen:
                expected = torch.from_numpy(imdb.layout[row].astype(np.int64))
                assert torch.equal(layout, expected)
            else:
                assert (layout == NO_LAYOUT).all() and (following == NOBODY).all()
    assert seen == set(range(len(imdb)))


@pytest.mark.parametrize("per_image", [1, 4])
def test_batches_are_of_the_chosen_images(tiny, per_image):
    imdb = Imdb(tiny[0] / "imdb" / "imdb_train.h5")
    chosen = chosen_images(np.unique(imdb.image), 0.5, 1)
    assert len(chosen) == 3
    how = {"image_share": 0.5, "share_seed": 1, "questions_per_image": per_image}
    batches = list(data_module(tiny[0], **how).train_dataloader())
    assert {image for batch in batches for image in batch.image.tolist()} == set(chosen.tolist())


def test_layouts_that_are_cut_or_padded_stay_unknown():
    questions = fresh(np.ones((2, 4), dtype=int))
    questions.layout[1] = NO_LAYOUT
    features = np.zeros((2, *GRID, DIM), dtype=np.float16)
    for steps in (2, 3, 5):
        batch = Batch.collate(questions, np.arange(2), features, steps)
        assert (batch.layout[1] == NO_LAYOUT).all() and batch.layout.shape == (2, steps)
        assert (batch.layout[0] == torch.tensor([1, 1, 1, 0, 0])[:steps]).all()


class Labels:
    """Two questions with layouts of two steps, of which the first is read first."""

    question, length = torch.tensor([[3, 4, 5], [6, 7, 8]]), torch.tensor([3, 3])
    answer = box_cell = box_offset = None

    def __init__(self, *layouts):
        self.layout = torch.tensor(layouts)
        self.next_read = torch.full_like(self.layout, NOBODY)
        self.next_read[:, 0] = torch.where(self.layout[:, 0] == NO_LAYOUT, NOBODY, 1)


def test_losses_average_over_the_questions_that_have_a_layout():
    torch.manual_seed(0)
    loss = SNMNLoss(answer_weight=None, layout_weight=1.0, reading_order_weight=1.0)
    logits = torch.randn(2, 2, 9)
    attention = torch.softmax(torch.randn(2, 2, 3), dim=2)

    class Reading:
        module_logits, question_attention = logits, attention

    both = loss.of_reading(Reading, Labels([1, 2], [1, 2]))
    first = loss.of_reading(Reading, Labels([1, 2], [NO_LAYOUT, NO_LAYOUT]))
    second = loss.of_reading(Reading, Labels([NO_LAYOUT, NO_LAYOUT], [1, 2]))
    for name, value in both.items():
        torch.testing.assert_close((first[name] + second[name]) / 2, value)
    expected = F.cross_entropy(logits[0], torch.tensor([1, 2]))
    torch.testing.assert_close(first["layout"], expected)
    none = loss.of_reading(Reading, Labels(*[[NO_LAYOUT, NO_LAYOUT]] * 2))
    assert none["layout"] == none["reading_order"] == 0


def test_training_writes_which_stored_questions_have_layouts(tiny):
    config = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
    how = ["TRAIN.LAYOUT_SHARE", "0.3", "TRAIN.SHARE_SEED", "4", "TRAIN.IMAGE_SHARE", "0.5"]
    train.main([config, *tiny[1], *how, "EXP_NAME", "share", "--logger", "none"])
    rows = [int(line) for line in (tiny[0] / "runs" / "share" / "layouts_vqa.txt").open()]
    count = len(Imdb(tiny[0] / "imdb" / "imdb_train.h5"))
    assert rows == chosen_rows(count, 0.3, 4).tolist() and len(rows) == round(0.3 * count)
    train.main([config, *tiny[1], "EXP_NAME", "all", "--logger", "none"])
    assert not (tiny[0] / "runs" / "all" / "layouts_vqa.txt").exists()


def test_a_first_stage_without_a_chosen_image_has_all_of_them(tiny):
    imdb = Imdb(tiny[0] / "imdb" / "imdb_train.h5")
    source = StoredQuestions(imdb)
    chosen = chosen_images(source.images, 0.2, 0)
    source.stages = [(0, np.setdiff1d(source.images, chosen)[:1]), (3, source.images)]
    features = tiny[0] / "features" / "train"
    data = CLEVRDataModule(
        train={"vqa": (features, source)},
        batch_size=4,
        questions_per_image=4,
        num_workers=0,
        grid=GRID,
        feature_dim=DIM,
        image_share=0.2,
        epoch_steps=6,
    )
    data.setup()
    seen = [batch.image.tolist() for batch in data.train_dataloader()]
    assert len(seen) == 6 and {image for images in seen for image in images} == set(chosen.tolist())
