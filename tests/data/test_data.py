import pickle
from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import move_data_to_device

from clevr_prep.data.build_clevr_imdb import build_imdb
from clevr_prep.data.get_ground_truth_layout import write_layouts
from snmn.data.batch import Batch
from snmn.data.batch_orders import EvaluationOrder, ShuffledPasses, StagedPasses
from snmn.data.data_module import CLEVRDataModule
from snmn.data.datasets import DataError
from snmn.data.imdb import Imdb, ImdbError
from snmn.data.question_sources import StoredQuestions
from tests.helpers.tiny.dataset import (
    ATTRIBUTES,
    feature_maps,
    image_name,
    question,
    write_questions,
    write_store,
)

COUNTS = (3, 5, 3, 1, 5, 7)  # questions of each image
STORED = (9, 5, 4, 3, 2, 1, 0)  # images in the store: another order, and one that nobody asks for
SHAPE = {"grid": (2, 3), "feature_dim": 4}


def make_imdb(root, counts=COUNTS, *, layouts=True):
    """Images take turns, so that no image's questions stand together."""
    left = dict(enumerate(counts))
    questions = []
    while any(left.values()):
        for image in left:
            if left[image]:
                left[image] -= 1
                number = len(questions)
                questions.append(question(image, number, ("red", "blue")[number % 2], number % 3))
    write_questions(root, questions)
    if layouts:
        write_layouts(root, "tiny")
    build_imdb(root, "tiny", root / "imdb.h5", progress=False)
    return root / "imdb.h5"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return make_imdb(root), write_store(root / "features" / "tiny", STORED)


def make_module(files, **options):
    imdb, store = files
    splits = {split: {"vqa": (store, imdb)} for split in ("train", "val", "test")}
    module = CLEVRDataModule(**({"num_workers": 0, "batch_size": 8} | SHAPE | splits | options))
    module.setup()
    return module


def check_rows(batch: Batch, imdb: Imdb, steps=9):
    """Every question of the batch stands beside its own image, type, answer and layout."""
    rows = batch.question_index.numpy()
    words = batch.question.shape[1]
    assert words == batch.length.max()
    assert np.array_equal(batch.question, imdb.question[rows][:, :words])
    for column in ("length", "answer", "image", "question_type", "hops"):
        assert np.array_equal(getattr(batch, column), getattr(imdb, column)[rows]), column
    assert np.array_equal(batch.layout[:, :9], imdb.layout[rows][:, :steps])
    assert len(batch) % len(batch.image_features) == 0
    each = len(batch) // len(batch.image_features)
    names = [imdb.filenames[image] for image in batch.image[::each]]
    assert (batch.image.reshape(-1, each) == batch.image[::each, None]).all()
    numbers = [int(name[-10:-4]) for name in names]
    assert np.array_equal(batch.image_features.numpy(), feature_maps(numbers))


def given(batch: Batch) -> list[str]:
    """What the batch has at all."""
    return [field.name for field in fields(Batch) if getattr(batch, field.name) is not None]


def same(a: Batch, b: Batch) -> bool:
    return given(a) == given(b) and all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in given(a)
    )


class TestBatch:
    def test_lightning_moves_it_and_makes_features_float(self, files):
        batch = next(iter(make_module(files).train_dataloader()))
        assert batch.image_features.dtype == torch.float16
        moved = move_data_to_device(batch, torch.device("cpu"))
        assert isinstance(moved, Batch)
        assert moved.image_features.dtype == torch.float32
        assert torch.equal(moved.image_features, batch.image_features.float())
        integers = [name for name in given(batch) if name != "image_features"]
        assert all(getattr(moved, name).dtype == torch.int64 for name in integers)
        meta = batch.to("meta")
        assert all(getattr(meta, name).is_meta for name in given(batch))

    def test_without_layouts(self, tmp_path):
        imdb = make_imdb(tmp_path, layouts=False)
        files = imdb, write_store(tmp_path / "tiny", range(6))
        batch = next(iter(make_module(files).val_dataloader()))
        assert batch.layout is None
        assert batch.to("cpu").layout is None

    @pytest.mark.parametrize("steps", [6, 9, 12])
    def test_layouts_have_the_steps_asked_for(self, files, steps):
        batch = next(iter(make_module(files, steps=steps).val_dataloader()))
        assert batch.layout.shape == (len(batch), steps)
        assert not batch.layout[:, 9:].any()
        check_rows(batch, Imdb(files[0]), steps)


class TestPlainTraining:
    def test_a_pass_visits_every_question_once(self, files):
        imdb = Imdb(files[0])
        module = make_module(files, batch_size=4)
        loader = module.train_dataloader()
        assert len(loader) == 6
        seen = []
        for batch in loader:
            assert len(batch) == len(batch.image_features) == 4
            check_rows(batch, imdb)
            seen += batch.question_index.tolist()
        assert sorted(seen) == list(range(24))
        assert seen != sorted(seen)

    def test_a_last_batch_is_filled_up_from_the_pass(self, files):
        batches = [
            b.question_index.tolist() for b in make_module(files, batch_size=10).train_dataloader()
        ]
        assert [len(set(rows)) for rows in batches] == [10, 10, 10]
        assert Counter(sum(batches, [])).most_common()[0][1] == 2
        assert len(set(sum(batches, []))) == 24

    def test_fewer_questions_than_a_batch(self, files):
        loader = make_module(files, batch_size=50).train_dataloader()
        (batch,) = loader
        counts = Counter(batch.question_index.tolist())
        assert len(counts) == 24 and set(counts.values()) == {2, 3}

    def test_seed_decides_the_order(self, files):
        def order(seed):
            loader = make_module(files, seed=seed).train_dataloader()
            return [b.question_index.tolist() for b in loader]

        assert order(1) == order(1) != order(2)

    def test_passes_differ(self):
        order = ShuffledPasses(np.arange(24), size=8, seed=0)
        passes = [
            np.concatenate([order.request(s).items for s in (e, e + 1, e + 2)]) for e in (0, 3)
        ]
        assert sorted(passes[0]) == sorted(passes[1]) == list(range(24))
        assert passes[0].tolist() != passes[1].tolist()

    def test_stages_visit_other_items(self):
        few, all_items = np.arange(4), np.arange(24)
        first, last = ShuffledPasses(few, size=2, seed=0), ShuffledPasses(all_items, size=8, seed=0)
        order = StagedPasses([(0, first), (5, last)])
        requests = [order.request(step) for step in range(11)]
        assert [request.step for request in requests] == list(range(11)) and len(order) == 3
        for number, request in enumerate(requests):
            alone = (first, number) if number < 5 else (last, number - 5)
            assert request.items.tolist() == alone[0].request(alone[1]).items.tolist()


class TestTrainingByImage:
    def test_a_pass_visits_every_image_once(self, files):
        imdb = Imdb(files[0])
        seen = []
        for batch in make_module(files, batch_size=6, questions_per_image=3).train_dataloader():
            assert len(batch) == 6 and len(batch.image_features) == 2
            check_rows(batch, imdb)
            seen += batch.image[::3].tolist()
            for rows in batch.question_index.reshape(2, 3).tolist():
                available = COUNTS[imdb.image[rows[0]]]
                assert len(set(rows)) == min(3, available)
        assert sorted(seen) == list(range(6))

    def test_the_next_pass_draws_other_questions(self, files):
        draws = []
        loader = make_module(
            files, batch_size=6, questions_per_image=3, epoch_steps=6
        ).train_dataloader()
        for batch in loader:
            draws += [
                (int(i[0]), *sorted(r.tolist()))
                for i, r in zip(
                    batch.image.reshape(2, 3), batch.question_index.reshape(2, 3), strict=True
                )
            ]
        assert len(draws) == 12
        assert len({d for d in draws if COUNTS[d[0]] > 3}) > 3

    def test_workers_change_nothing(self, files):
        options = {"batch_size": 6, "questions_per_image": 3}
        alone = list(make_module(files, **options).train_dataloader())
        helped = list(make_module(files, num_workers=2, **options).train_dataloader())
        assert len(alone) == len(helped) == 3
        assert all(same(a, b) for a, b in zip(alone, helped, strict=True))

    def test_loading_leaves_the_random_numbers_alone(self, files):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        list(make_module(files, num_workers=1).train_dataloader())
        assert torch.equal(torch.rand(3), expected)

    def test_batch_size_must_be_a_multiple(self, files):
        with pytest.raises(DataError, match="batch of 8 questions .* 3 questions each"):
            make_module(files, questions_per_image=3)


class TestEvaluation:
    @pytest.mark.parametrize("size", [1, 3, 6, 10, 100])
    def test_every_question_once_by_image(self, files, size):
        imdb = Imdb(files[0])
        seen, reads = [], 0
        for batch in make_module(files, eval_batch_size=size).val_dataloader():
            assert len(batch) <= size
            check_rows(batch, imdb)
            seen += batch.question_index.tolist()
            reads += len(batch.image_features)
        assert sorted(seen) == list(range(24))
        if size >= max(COUNTS):
            assert reads == len(COUNTS)

    def test_length_is_known(self, files):
        imdb = Imdb(files[0])
        order = EvaluationOrder({"vqa": imdb}, batch_size=10)
        requests = list(order)
        # 7 questions once, 5 twice, 3 twice, 1 once
        assert [r.items.shape for r in requests] == [(1, 7), (2, 5), (2, 3), (1, 1)]
        assert len(order) == 4

    def test_an_image_with_a_single_name_unused(self, tmp_path):
        imdb = make_imdb(tmp_path, counts=(0, 2, 0, 1))
        files = imdb, write_store(tmp_path / "tiny", [1, 3])
        batches = list(make_module(files).test_dataloader())
        assert [len(b) for b in batches] == [2, 1]


class Recorder(LightningModule):
    """Notes what it is trained on; its one parameter counts steps."""

    def __init__(self, seen):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = seen

    def training_step(self, batch, index):
        assert batch.image_features.dtype == torch.float32
        self.seen.append(batch.question_index.tolist())
        return self.weight

    def validation_step(self, batch, index):
        assert len(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def fit(folder, files, steps, *, resume=None, trainer_options=(), **options):
    seen = []
    # Two checkpoints at most every step; file names carry the step.
    keep = ModelCheckpoint(dirpath=folder, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    trainer = Trainer(
        max_steps=steps,
        callbacks=[keep],
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        **dict(trainer_options),
    )
    data = make_module(files, **options)
    trainer.fit(Recorder(seen), data, ckpt_path=resume)
    return seen


@pytest.mark.filterwarnings("ignore:.*")
class TestResuming:
    OPTIONS = {"batch_size": 6, "questions_per_image": 3}  # 3 steps a pass

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "trainer_options",
        [
            {"val_check_interval": 4, "check_val_every_n_epoch": None},
            {"limit_train_batches": 2},
            {"check_val_every_n_epoch": 1},
        ],
    )
    @pytest.mark.parametrize("epoch_steps", [None, 5, 100])
    def test_at_any_step(self, files, tmp_path, trainer_options, epoch_steps):
        options = self.OPTIONS | {"epoch_steps": epoch_steps, "trainer_options": trainer_options}
        whole = fit(tmp_path, files, 8, **options)
        order = ShuffledPasses(np.arange(6), size=2, seed=0)
        imdb = Imdb(files[0])
        assert len(whole) == 8
        for step, rows in enumerate(whole):
            assert imdb.image[rows[::3]].tolist() == order.request(step).items.tolist()
        for step in range(1, 8):
            rest = fit(
                tmp_path / str(step),
                files,
                8,
                resume=tmp_path / f"step={step}.ckpt",
                **options,
            )
            assert rest == whole[step:], step

    @pytest.mark.slow
    def test_with_a_worker_that_reads_ahead(self, files, tmp_path):
        whole = fit(tmp_path, files, 8, num_workers=1, **self.OPTIONS)
        assert whole == fit(tmp_path / "alone", files, 8, **self.OPTIONS)
        for step in (2, 3):
            checkpoint = tmp_path / f"step={step}.ckpt"
            folder = tmp_path / str(step)
            rest = fit(folder, files, 8, resume=checkpoint, num_workers=1, **self.OPTIONS)
            assert rest == whole[step:]

    def test_a_finished_run_goes_on(self, files, tmp_path):
        whole = fit(tmp_path / "whole", files, 9, **self.OPTIONS)
        for first in (3, 4):
            folder = tmp_path / str(first)
            begun = fit(folder, files, first, **self.OPTIONS)
            rest = fit(
                folder / "rest", files, 9, resume=folder / f"step={first}.ckpt", **self.OPTIONS
            )
            assert begun + rest == whole


class TestSetup:
    def test_images_without_features(self, files, tmp_path):
        store = write_store(tmp_path / "val", [0])
        module = make_module(files, val={"vqa": (store, files[0])})
        with pytest.raises(DataError) as error:
            module.val_dataloader()
        message = str(error.value)
        assert "no features of 5 of the 6 images in imdb.h5" in message
        assert all(image_name(i) in message for i in (1, 2, 3))
        assert image_name(4) not in message
        assert "extract_resnet101_c4.py --split val" in message

    @pytest.mark.parametrize("wrong", [{"grid": (14, 14)}, {"feature_dim": 5}])
    def test_another_shape_of_features(self, files, wrong):
        with pytest.raises(DataError, match=r"tiny has features of \(H, W, D\) = \(2, 3, 4\)"):
            make_module(files, **wrong)

    def test_splits_with_features_of_different_weights(self, files, tmp_path):
        store = write_store(
            tmp_path / "val", STORED, attributes=ATTRIBUTES | {"weights_sha256": "1"}
        )
        with pytest.raises(DataError, match="weights_sha256"):
            make_module(files, val={"vqa": (store, files[0])})

    def test_layouts_longer_than_the_model(self, files):
        with pytest.raises(DataError, match="layouts of 6 steps, the model only 5"):
            make_module(files, steps=5)

    def test_required_layouts(self, tmp_path):
        files = make_imdb(tmp_path, layouts=False), write_store(tmp_path / "tiny", range(6))
        for questions in (files[0], StoredQuestions(Imdb(files[0]))):
            with pytest.raises(DataError, match="get_ground_truth_layout.py"):
                make_module(files, train={"vqa": (files[1], questions)}, require_layouts=True)

    def test_only_what_a_stage_needs_is_opened(self, files):
        module = CLEVRDataModule(test={"vqa": files[::-1]}, num_workers=0, **SHAPE)
        module.setup("test")
        assert sum(map(len, module.test_dataloader())) == 24
        assert module.train_dataloader() == module.val_dataloader() == []
        assert isinstance(module.questions("test")["vqa"], Imdb)
        with pytest.raises(ImdbError, match="no imdb"):
            CLEVRDataModule(val={"vqa": (files[1], "nowhere.h5")}).setup("fit")


class TestStoredQuestions:
    def test_hops_stay_within_the_limit_of_the_step(self, files):
        source = StoredQuestions(Imdb(files[0]), max_hops=[(0, 0), (10, 1), (20, None)])
        rng = np.random.default_rng(0)
        imdb = Imdb(files[0])
        for step, limit in ((0, 0), (9, 0), (10, 1), (20, 2)):
            drawn = np.concatenate([source.draw(5, 7, rng, step).hops for _ in range(5)])
            assert drawn.max() == limit
        # Where an image has nothing that easy, its easiest.
        easiest = [imdb.hops[source.rows(i)].min() for i in range(6)]
        assert max(easiest) > 0
        for image in range(6):
            assert set(source.draw(image, 2, rng, 0).hops) == {easiest[image]}

    def test_pickles_small(self, files):
        source = pickle.loads(pickle.dumps(StoredQuestions(Imdb(files[0]))))
        assert len(source.draw(1, 4, np.random.default_rng(0), 0)) == 4
